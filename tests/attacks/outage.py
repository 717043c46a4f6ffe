"""The running product on an operator's Vault, and honest stations that stay connected meanwhile.

`Scene` is made once for all tests that take Vault away; each gives it back as it was. What the
stations saw is in `Standing`: whether the connection ever dropped, how long each Heartbeat took,
when which certificate came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.attacks.sizes import SIZES
from tests.fixtures.operators_vault import OperatorsVault, operators_vault
from tests.fixtures.peer import Key, basic, trusting
from tests.fixtures.product import Product, make_product
from tests.system.test_A_security import enrolled

T = TypeVar("T")
BEAT_SECONDS = 1.0
# A guard against an answer that never comes, not a benchmark.
PATIENCE = 30.0
ANSWERED_WITHIN = 60.0  # P03: every Accepted CSR, after Vault is back
TOLD_WITHIN = 10.0  # P04: /readyz
_OVERFLOW = 3
_ON_PROFILE_3 = 3


@dataclass
class Standing:
    """One station on one connection, answering what it is asked and sending Heartbeats."""

    identity: str
    serial_number: str
    key: Key
    socket: ClientConnection
    beats: list[float] = field(default_factory=list)  # seconds until the answer
    signed: list[float] = field(default_factory=list)  # when a certificate came
    chain: str = ""
    triggered: int = 0
    dropped: str = ""
    _waiting: dict[str, asyncio.Future[list[Any]]] = field(default_factory=dict)
    _calls: int = 0

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        message_id = f"{self.identity}-{id(self)}-{self._calls}"
        answer = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = answer
        await self.socket.send(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(PATIENCE):
            frame = await answer
        assert frame[0] == 3, frame
        result: dict[str, Any] = frame[2]
        return result

    async def boot(self) -> None:
        station = {"model": "Peer", "vendorName": "Tests", "serialNumber": self.serial_number}
        boot = {"reason": "PowerUp", "chargingStation": station}
        assert (await self.call("BootNotification", boot))["status"] == "Accepted"

    async def beat(self) -> None:
        """For ever; a Heartbeat that is not answered is a drop."""
        while not self.dropped:
            began = time.monotonic()
            try:
                await self.call("Heartbeat", {})
            except (ConnectionClosed, TimeoutError) as error:
                self.dropped = f"no answer to Heartbeat: {error!r}"
                return
            self.beats.append(time.monotonic() - began)
            await asyncio.sleep(BEAT_SECONDS)

    async def listen(self) -> None:
        try:
            async for text in self.socket:
                await self._take(json.loads(text))
        except ConnectionClosed as error:
            self.dropped = repr(error)
        else:
            self.dropped = self.dropped or "closed"

    async def _take(self, frame: list[Any]) -> None:
        if frame[0] != 2:
            self._waiting.pop(frame[1]).set_result(frame)
            return
        if frame[2] == "CertificateSigned":
            self.signed.append(time.monotonic())
            self.chain = frame[3]["certificateChain"]
        elif frame[2] == "TriggerMessage":
            self.triggered += 1
        await self.socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))

    async def ask_for_a_certificate(self) -> dict[str, Any]:
        """With a key of its own each time."""
        self.key = Key(self.key.directory)
        csr = self.key.csr(self.serial_number)
        kind = "ChargingStationCertificate"
        return await self.call("SignCertificate", {"csr": csr, "certificateType": kind})


class Fleet:
    """Stations in a thread of their own."""

    def __init__(self, product: Product, directory: Path) -> None:
        self._product = product
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fleet")
        self._thread.start()
        self._tasks: list[asyncio.Task[None]] = []
        self.standing: list[Standing] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE)

    def connect(self, station: dict[str, Any], key: Key | None = None) -> Standing:
        """By password, or by certificate. Raises what the library raises for a refusal."""
        standing = self.do(self._connected(station, key))
        self.standing.append(standing)
        return standing

    async def _connected(self, station: dict[str, Any], key: Key | None) -> Standing:
        identity = str(station["identity"])
        socket = await connect(
            f"{self._product.ocpp(2 if key is None else 3)}/{identity}",
            ssl=trusting(self._product.root_pem, key),
            additional_headers=basic(identity, station["password"]) if key is None else None,
            subprotocols=[Subprotocol("ocpp2.0.1")],
            proxy=None,
            open_timeout=PATIENCE,
            close_timeout=1,
        )
        own = self._directory / identity
        own.mkdir(exist_ok=True)
        standing = Standing(identity, str(station["serial_number"]), key or Key(own), socket)
        self._tasks.append(self._loop.create_task(standing.listen()))
        await standing.boot()
        self._tasks.append(self._loop.create_task(standing.beat()))
        return standing

    def stop(self) -> None:
        self.do(self._stopped())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _stopped(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for standing in self.standing:
            await standing.socket.close()


@dataclass(frozen=True, slots=True)
class Load:
    """What the product's process holds."""

    threads: int
    descriptors: int


@dataclass
class Scene:
    vault: OperatorsVault
    product: Product
    directory: Path
    # Registered while Vault was there, since a password needs the pepper.
    stations: list[dict[str, Any]]
    spare: list[dict[str, Any]]
    by_certificate: list[tuple[dict[str, Any], Key]]

    @contextlib.contextmanager
    def fleet(self) -> Iterator[Fleet]:
        """All stations connected, on profiles 2 and 3; none may have dropped at the end."""
        fleet = Fleet(self.product, self.directory)
        try:
            for station in self.stations:
                fleet.connect(station)
            for station, key in self.by_certificate:
                fleet.connect(station, key)
            yield fleet
            dropped = {one.identity: one.dropped for one in fleet.standing if one.dropped}
            assert not dropped
            assert all(one.beats for one in fleet.standing)
        finally:
            fleet.stop()

    def ready(self) -> dict[str, Any]:
        """What /readyz says; never that it is not ready."""
        url = self.product.endpoints["metrics"] + "/readyz"
        answer = httpx2.get(url, trust_env=False, timeout=PATIENCE)
        said: dict[str, Any] = answer.json()
        assert (answer.status_code, said["status"]) == (200, "ready"), said
        return said

    def told(self, *, degraded: bool) -> float:
        """Seconds until /readyz says so; within ten."""
        began = time.monotonic()
        while ("vault" in self.ready()["degraded"]) is not degraded:
            assert time.monotonic() - began < TOLD_WITHIN, self.ready()
            time.sleep(0.1)
        return time.monotonic() - began

    def ask_for_token(self) -> tuple[int, float]:
        """(status, seconds) of a new access token; a 503 must say so in the form's own words."""
        client = self.product.client_file()
        began = time.monotonic()
        with self.product.http() as http:
            answer = http.post(
                client["token_endpoint"],
                data={"grant_type": "client_credentials"},
                auth=(client["client_id"], client["client_secret"]),
            )
        if answer.status_code != 200:
            assert answer.json()["error"] == "temporarily_unavailable"
            assert answer.headers["Retry-After"]
        return answer.status_code, time.monotonic() - began

    def load(self) -> Load:
        assert self.product.process is not None
        status = Path(f"/proc/{self.product.process.pid}/status").read_text()
        threads = next(line for line in status.splitlines() if line.startswith("Threads:"))
        descriptors = Path(f"/proc/{self.product.process.pid}/fd").iterdir()
        return Load(int(threads.split()[1]), len(list(descriptors)))

    def all_ask(self, fleet: Fleet) -> list[Standing]:
        """One CSR after the other, in this order, and all of them Accepted."""
        asking = fleet.standing[: len(self.stations)]
        for one in asking:
            one.signed.clear()
            assert fleet.do(one.ask_for_a_certificate()) == {"status": "Accepted"}, one.identity
        return asking

    def all_are_answered(self, asking: list[Standing]) -> float:
        """Every one of them, once, within a minute of now; how long it took."""
        began = time.monotonic()
        self.product.eventually(lambda: all(one.signed for one in asking), seconds=ANSWERED_WITHIN)
        for one in asking:
            assert len(one.signed) == 1, one
            assert "BEGIN CERTIFICATE" in one.chain
        return time.monotonic() - began

    def refusals(self, standing: Standing) -> list[str]:
        """The reasons of a station's refused certificate requests, of the audit log."""
        subject = f"station:{standing.identity.lower()}"
        path = f"/api/v1/audit/entries?action=certificate.request&subject={subject}"
        entries = self.product.api("GET", path).json()["items"]
        return [entry["reason"] for entry in entries if entry["outcome"] == "refused"]

    def events(self, standing: Standing) -> list[str]:
        path = f"/api/v1/security-events?station={standing.identity}"
        return [event["type"] for event in self.product.api("GET", path).json()["items"]]

    def no_secret_is_logged(self) -> None:
        said = self.product.log_file.read_text()
        passwords = {str(station["password"]) for station in [*self.stations, *self.spare]}
        secrets = self.vault.secrets() | passwords | {self.product.client_file()["client_secret"]}
        assert not [secret for secret in secrets if secret in said]
        assert "hvs." not in said
        assert '"s.' not in said


def displacement(asking: list[Standing]) -> int:
    """By how many places anybody was served out of the order in which they asked."""
    served = sorted(asking, key=lambda one: one.signed[0])
    return max(abs(served.index(one) - place) for place, one in enumerate(asking))


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("outage")
    data, own_vault = directory / "data", directory / "vault"
    data.mkdir()
    own_vault.mkdir()
    with operators_vault(own_vault) as vault:
        product = make_product(
            data,
            **vault.settings,
            CSMS_GATEWAY__MAX_OPEN_CERTIFICATE_REQUESTS=str(SIZES.vault_stations),
        )
        provisioned = subprocess.run(
            [sys.executable, "-m", "csms", "vault", "apply", "--ceremony"]
            + ["--secrets-dir", str(vault.secrets_dir)],
            env={**os.environ, **product.environment, "VAULT_TOKEN": vault.root_token},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE * 2,
            cwd=data,
        )
        assert provisioned.returncode == 0, provisioned.stderr
        product.start()
        try:
            by_certificate = []
            for number in range(_ON_PROFILE_3):
                station = product.station()
                (directory / f"enrolled{number}").mkdir()
                key = enrolled(product, station, directory / f"enrolled{number}")
                by_certificate.append((station, key))
            yield Scene(
                vault,
                product,
                directory,
                stations=[product.station() for _ in range(SIZES.vault_stations)],
                spare=[product.station() for _ in range(_OVERFLOW)],
                by_certificate=by_certificate,
            )
        finally:
            vault.thaw()
            product.stop()
