"""P26: our certificates rotate under load, and nobody notices.

A gateway, the real PKI on a real OpenBao, and the real keepers, for both key types (the TLS policy
`ocpp-certification`). The stations live on a loop and in a thread of their own.

The alarm of B14 is `tests/unit/csms/adapters/test_own_certificate.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from csms.adapters.clock import SystemClock, SystemRandomness
from csms.adapters.own_certificate import CertificateKeeper, for_listener
from csms.domain.station import RegistrationStatus
from pki.authority.service import Authority
from pki.wiring import open_authority, run_ceremony
from tests.attacks.hostile import HostileStation, client_tls
from tests.attacks.scoreboard import Row, Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World, basic, house, run
from tests.fixtures.pki_parts import OpenBao, authority_settings, running_openbao

EVERY_SECONDS: Final = 5.0
HEARTBEAT_SECONDS: Final = 4.0
NEWCOMERS: Final = 4  # come and go all the time, each with a context of its own
AT_ONCE: Final = 32  # connections being made; a source may have 200 strangers
SECONDS: Final = 30.0  # a guard against hanging
ORDINARY, RSA = "ECDSA", "RSA"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("bao")) as running:
        for key in ("csms-root-rsa", "csms-issuer-servers-rsa"):
            running.request("POST", f"transit/keys/{key}", {"type": "rsa-3072"})
        yield running


@dataclass
class Served:
    """Serial numbers of one key type, the one that is served now last."""

    context: ssl.SSLContext  # of a client that asks for this type
    serials: list[int] = field(default_factory=list)
    seen_after: list[float] = field(default_factory=list)  # each renewal, in seconds

    def renewed(self, file: Path) -> None:
        leaf = x509.load_pem_x509_certificates(file.read_bytes())[0]
        assert isinstance(leaf.public_key(), rsa.RSAPublicKey) == ("rsa" in file.name)
        self.serials.append(leaf.serial_number)

    def look(self, port: int) -> None:
        """One handshake right after a renewal: it must be the new one. Blocking."""
        began = time.monotonic()
        with HostileStation(port, context=self.context, seconds=SECONDS) as visitor:
            assert serial_of(visitor.tls.getpeercert(binary_form=True)) == self.serials[-1]
        self.seen_after.append(time.monotonic() - began)


def serial_of(der: bytes | None) -> int:
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def contexts(trust: str) -> dict[str, ssl.SSLContext]:
    tls12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    static_rsa = client_tls(trust, versions=tls12, ciphers="AES128-GCM-SHA256")
    return {ORDINARY: client_tls(trust), RSA: static_rsa}


@dataclass
class Fleet:
    """The stations; `main` runs in a thread of its own until `stop` is set."""

    port: int
    trust: str
    served: dict[str, Served]
    size: int
    stop: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)
    failed: list[str] = field(default_factory=list)
    heartbeats: int = 0
    handshakes: int = 0

    async def main(self) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        try:
            async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
                arriving = [
                    tasks.create_task(self._arrived(stack, gate, n)) for n in range(self.size)
                ]
                wires = await asyncio.gather(*arriving)
                for number in range(NEWCOMERS):
                    tasks.create_task(self._comes_and_goes(number))
                for wire in wires:
                    tasks.create_task(self._beats(wire))
                self.ready.set()
        finally:
            self.ready.set()

    async def _arrived(
        self, stack: AsyncExitStack, gate: asyncio.Semaphore, number: int
    ) -> ClientConnection:
        async with gate:
            opening = self._connection(f"st{number}", client_tls(self.trust))
            return await stack.enter_async_context(opening)

    def _connection(self, identity: str, context: ssl.SSLContext) -> connect:
        return connect(
            f"wss://localhost:{self.port}/ocpp/{identity}",
            ssl=context,
            host="127.0.0.1",
            additional_headers={"Authorization": basic(identity, PASSWORD)},
            subprotocols=[Subprotocol("ocpp2.0.1")],
            ping_interval=None,
            open_timeout=SECONDS,
            close_timeout=5,
        )

    async def _beats(self, wire: ClientConnection) -> None:
        for number in itertools.count():
            if self.stop.is_set():
                return
            try:
                await heartbeat(wire, str(number))
            except Exception as error:
                self.failed.append(f"dropped: {error!r}")
                return
            self.heartbeats += 1
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _comes_and_goes(self, number: int) -> None:
        """Every second newcomer speaks static RSA, so both certificates are asked for."""
        kind = RSA if number % 2 else ORDINARY
        context = contexts(self.trust)[kind]
        while not self.stop.is_set():
            newest = self.served[kind].serials[-1]
            try:
                async with self._connection(f"new{number}", context) as wire:
                    self._saw(kind, newest, wire)
                    await heartbeat(wire, "new")
            except Exception as error:
                self.failed.append(f"newcomer of {kind}: {error!r}")
            self.handshakes += 1

    def _saw(self, kind: str, newest: int, wire: ClientConnection) -> None:
        """Nothing older than what was served when the handshake began."""
        served = self.served[kind]
        shown = wire.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        at = served.serials.index(serial_of(shown))
        assert at >= served.serials.index(newest), "an old key is served"


async def heartbeat(wire: ClientConnection, message_id: str) -> None:
    await wire.send(json.dumps([2, message_id, "Heartbeat", {}]))
    async with asyncio.timeout(SECONDS):
        assert json.loads(await wire.recv())[:2] == [3, message_id]


@asynccontextmanager
async def real_pki(bao: OpenBao, directory: Path) -> AsyncIterator[Authority]:
    settings = authority_settings(directory, bao.approle("csms-pki")).model_copy(
        update={"with_rsa": True}
    )
    await run_ceremony(settings, bao.approle("csms-ceremony"))
    async with open_authority(settings) as authority:
        yield authority


def listener(authority: Authority, directory: Path, *, with_rsa_key: bool) -> CertificateKeeper:
    return for_listener(
        authority,
        directory,
        host_names=["localhost"],
        ip_addresses=["127.0.0.1"],
        clock=SystemClock(),
        randomness=SystemRandomness(),
        with_rsa_key=with_rsa_key,
    )


@pytest.mark.timeout(SIZES.rotation_seconds + 180)
def test_certificates_rotate_under_load_and_nobody_is_dropped(
    bao: OpenBao, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row(
        "P26", f"both certificates renewed every 5 s under {SIZES.rotation_stations} stations"
    )

    async def main() -> None:
        async with real_pki(bao, tmp_path) as authority:
            keepers = {
                ORDINARY: listener(authority, tmp_path / "tls", with_rsa_key=False),
                RSA: listener(authority, tmp_path / "tls", with_rsa_key=True),
            }
            for keeper in keepers.values():
                await keeper.ensure()
            world = World(tmp_path)
            world.listener = keepers[ORDINARY].chain_file
            async with house(
                world,
                tmp_path,
                tls_policy="ocpp-certification",
                rsa_file=keepers[RSA].chain_file,
                handshake_timeout_seconds=SECONDS,
            ) as home:
                for number in range(SIZES.rotation_stations):
                    station = await home.add(f"st{number}", f"SN{number}")
                    await home.booted(station, RegistrationStatus.ACCEPTED)
                for number in range(NEWCOMERS):
                    station = await home.add(f"new{number}", f"SNN{number}")
                    await home.booted(station, RegistrationStatus.ACCEPTED)
                anchors = await authority.trust_anchors()
                served = {
                    kind: Served(context) for kind, context in contexts(anchors.roots_pem).items()
                }
                for kind, keeper in keepers.items():
                    served[kind].renewed(keeper.chain_file)
                    keeper.on_renewed(home.gateway.reload_certificate)
                    # After the reload: from here on the old one must not be seen any more.
                    keeper.on_renewed(partial(served[kind].renewed, keeper.chain_file))
                fleet = Fleet(home.ports["2"], anchors.roots_pem, served, SIZES.rotation_stations)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(asyncio.to_thread(asyncio.run, fleet.main()))
                    try:
                        await asyncio.to_thread(fleet.ready.wait)
                        await rotate(keepers, served, home.ports["2"])
                        assert home.gateway.health().sessions >= SIZES.rotation_stations
                    finally:
                        fleet.stop.set()
        judge(fleet, row)

    with row.attempt():
        run("uvloop", main)


async def rotate(
    keepers: dict[str, CertificateKeeper], served: dict[str, Served], port: int
) -> None:
    ends = time.monotonic() + SIZES.rotation_seconds
    while time.monotonic() < ends:
        due = time.monotonic() + EVERY_SECONDS
        for kind, keeper in keepers.items():
            await keeper.renew()
            await asyncio.to_thread(served[kind].look, port)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def judge(fleet: Fleet, row: Row) -> None:
    assert fleet.failed == []
    for served in fleet.served.values():
        assert len(served.serials) >= 3
        assert len(set(served.serials)) == len(served.serials)
        assert len(served.seen_after) == len(served.serials) - 1
    row.count(fleet.handshakes)
    seen = max(after for served in fleet.served.values() for after in served.seen_after)
    rotations = sum(len(served.serials) - 1 for served in fleet.served.values())
    row.measure(f"{rotations} renewals, {fleet.heartbeats} heartbeats, seen within {seen:.2f} s")
