"""B04, P10, P11: a revoked or expired certificate ends what it let in, and lets nobody in again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from csms.domain.certificate import RevocationReason
from csms.domain.station import Station
from csms.operations.revoke_certificate import Revoked, revoke_certificate
from csms.ports.bus import BusError, Json
from csms.ports.store import StoreUnavailable
from tests.attacks.entering import (
    OPERATOR,
    Credential,
    Talker,
    certified,
    enter,
    request_of,
    tls_of,
    visit,
)
from tests.attacks.hostile import HostileStation, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Row, Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import World

TLS_1_2 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
TLS_1_3 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
A_GUARD = 30.0  # against hanging; what is promised is one second, and ten without the hint


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


async def _revoke(fort: Keep, credential: Credential, reason: RevocationReason) -> Revoked:
    around = fort.home.gateway._around
    assert credential.record is not None
    return await revoke_certificate(
        fort.home.store,
        fort.home.bus,
        credential.record.id,
        reason,
        principal=OPERATOR,
        clock=around.clock,
        randomness=around.randomness,
    )


def revoke(
    fort: Keep,
    credential: Credential,
    reason: RevocationReason = RevocationReason.KEY_COMPROMISE,
) -> Revoked:
    """As the API does it, to the end."""
    return fort.do(_revoke(fort, credential, reason))


@dataclass(frozen=True)
class Resumable:
    """A TLS 1.2 session with the credential's certificate in it, and the context it belongs to."""

    context: ssl.SSLContext
    session: ssl.SSLSession


def resumable(fort: Keep, credential: Credential) -> Resumable:
    """Got by a request that leads nowhere. OpenSSL forgets a session without a close_notify."""
    context = tls_of(fort, credential, versions=TLS_1_2)
    with visit(fort, 3, credential, context=context) as wire:
        wire.send(upgrade("/nowhere"))
        assert b" 404 " in wire.socket.recv(400)
        session = wire.session
        assert session is not None
        with contextlib.suppress(OSError):
            wire.tls.unwrap()
    fort.records()
    return Resumable(context, session)


def resume(fort: Keep, resumable: Resumable) -> HostileStation:
    wire = fort.visit(3, context=resumable.context, session=resumable.session)
    assert wire.resumed, "or this test shows nothing"
    return wire


def stays_out(fort: Keep, credential: Credential) -> None:
    fort.records()
    with visit(fort, 3, credential) as visitor:
        refused(fort, credential, visitor)


def refused(fort: Keep, credential: Credential, visitor: HostileStation) -> None:
    assert visitor.ask(request_of(credential)).status == 403
    assert fort.refusals() == ["certificate_revoked"]


def ended(talker: Talker, began: float, row: Row) -> None:
    assert talker.ends(A_GUARD).code == 1008
    row.measure(f"{(talker.ended_at - began) * 1000:.0f} ms")


@pytest.mark.parametrize("reason", list(RevocationReason))
def test_each_reason_ends_the_session_and_shuts_the_door_also_to_a_resumed_one(
    world: World, tmp_path: Path, scoreboard: Scoreboard, reason: RevocationReason
) -> None:
    row = scoreboard.row("B04 P10", f"revoked while connected: {reason.value}")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        station = fort.add("CS001", "SN001")
        credential = certified(fort, station)
        kept = resumable(fort, credential)
        with row.attempt():
            talker = Talker(enter(fort, 3, credential), "revoked")
            began = time.monotonic()
            answer = revoke(fort, credential, reason)
            assert [node["closed"] for node in answer.nodes] == [1]
            ended(talker, began, row)
            stays_out(fort, credential)
            with resume(fort, kept) as visitor:
                refused(fort, credential, visitor)
            assert fort.session_of(station) is None


def test_a_session_resumed_in_tls_is_ended_and_shut_out_just_so(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """M1: OpenSSL looks at no certificate when it resumes. The door does."""
    row = scoreboard.row("B04 P10", "revoked while resumed (TLS 1.2), and while resuming")
    with keep(world, tmp_path) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        credential = certified(fort, station)
        kept = resumable(fort, credential)
        with row.attempt():
            wire = resume(fort, kept)
            # Another is through TLS by then, resumed too, and has not asked yet.
            with resume(fort, kept) as waiting:
                assert wire.ask(request_of(credential)).status == 101
                talker, began = Talker(wire, "resumed"), time.monotonic()
                revoke(fort, credential)
                ended(talker, began, row)
                fort.records()
                refused(fort, credential, waiting)
            stays_out(fort, credential)


class Paused:
    """A TLS handshake in the client's hands: one flight at a time."""

    def __init__(self, wire: HostileStation, context: ssl.SSLContext) -> None:
        self._wire = wire
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._from_peer, self._to_peer, server_hostname="localhost")

    def step(self) -> bool:
        """Whether the handshake is done; what it wants to send waits for `flight`."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def flight(self) -> None:
        self._wire.send(self._to_peer.read())

    def hear(self) -> None:
        self._from_peer.write(self._wire.socket.recv(65_536))

    def ask(self, request: bytes) -> bytes:
        """The answer, after what is left of the handshake."""
        self.tls.write(request)
        self.flight()
        said = b""
        while True:
            try:
                while part := self.tls.read(65_536):
                    said += part
            except ssl.SSLWantReadError:
                more = self._wire.socket.recv(65_536)
                if not more:
                    return said
                self._from_peer.write(more)
            else:
                return said


@pytest.mark.parametrize("versions", [TLS_1_2, TLS_1_3], ids=["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("point", ["before the last flight", "before the request", "mid-request"])
def test_revoked_between_two_flights_of_the_handshake(
    world: World,
    tmp_path: Path,
    scoreboard: Scoreboard,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion],
    point: str,
) -> None:
    """The client holds its breath, as if it were stopped, until its certificate is revoked."""
    row = scoreboard.row("B04 P10", f"revoked {point}, {versions[0].name}")
    with keep(world, tmp_path, handshake_timeout_seconds=10.0) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        credential = certified(fort, station)
        fort.records()
        request = request_of(credential)
        with row.attempt(), HostileStation(fort.port(3)) as wire:
            paused = Paused(wire, tls_of(fort, credential, versions=versions))
            assert not paused.step()
            paused.flight()
            while not paused.step():
                if paused._to_peer.pending:  # TLS 1.2: the certificate and its proof
                    break
                paused.hear()
            if point == "before the last flight":
                revoke(fort, credential)
            paused.flight()
            while not paused.step():
                paused.hear()
            if point == "before the request":
                revoke(fort, credential)
            elif point == "mid-request":
                paused.tls.write(request[:40])
                paused.flight()
                revoke(fort, credential)
                request = request[40:]
            answer = paused.ask(request)
            assert answer.startswith(b"HTTP/1.1 403 "), answer
            assert fort.refusals() == ["certificate_revoked"]
        assert fort.session_of(station) is None


def test_without_the_hint_the_outbox_ends_it(
    world: World, tmp_path: Path, scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P11: the bus delivers nothing, or is not there at all."""
    row = scoreboard.row("B04 P11", "revoked, and no hint arrives")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        for number, is_down in enumerate((False, True)):
            station = fort.add(f"CS00{number}", f"SN00{number}")
            credential = certified(fort, station)
            talker = Talker(enter(fort, 3, credential), "unhinted")
            deafen(fort, monkeypatch, is_down=is_down)
            with row.attempt():
                began = time.monotonic()
                assert revoke(fort, credential).nodes == []
                ended(talker, began, row)
                stays_out(fort, credential)


def deafen(fort: Keep, monkeypatch: pytest.MonkeyPatch, *, is_down: bool) -> None:
    async def survey(topic: str, message: Json, *, timeout: float) -> Sequence[Json]:
        del topic, message, timeout
        if is_down:
            raise BusError("the bus is down")
        return []

    async def publish(topic: str, message: Json) -> None:
        await survey(topic, message, timeout=0)

    monkeypatch.setattr(fort.home.bus, "survey", survey)
    monkeypatch.setattr(fort.home.bus, "publish", publish)


@pytest.mark.timeout(240)
def test_many_revoked_at_once_all_end_and_nobody_else_does(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    count = SIZES.revocations_at_once
    row = scoreboard.row("B04 P10", "revoked at once, all connected")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag(), ExitStack() as stack:
        revoked: list[Credential] = []
        talkers: list[Talker] = []
        others: list[tuple[Station, Credential]] = []
        for number in range(count):
            station = fort.add(f"cs{number}", f"SN{number}")
            credential = certified(fort, station)
            revoked.append(credential)
            talkers.append(Talker(enter(fort, 3, credential), str(number)))
        for number in range(3):  # and some with a predecessor that is revoked
            station = fort.add(f"renewed{number}", f"RN{number}")
            revoked.append(certified(fort, station))
            others.append((station, certified(fort, station)))
        wires = [stack.enter_context(enter(fort, 3, one)) for _, one in others]
        before = [fort.session_of(station) for station, _ in others]

        async def all_at_once() -> None:
            async with asyncio.TaskGroup() as group:
                for credential in revoked:
                    group.create_task(_revoke(fort, credential, RevocationReason.KEY_COMPROMISE))

        began = time.monotonic()
        fort.do(all_at_once(), seconds=120)
        assert {talker.ends(A_GUARD).code for talker in talkers} == {1008}
        took = sorted(talker.ended_at - began for talker in talkers)
        row.measure(f"{count}: median {took[count // 2]:.2f} s, last {took[-1]:.2f} s")
        for credential in revoked[:count]:
            stays_out(fort, credential)
        row.count(count)
        assert [fort.session_of(station) for station, _ in others] == before
        assert [wire.call("Heartbeat", {})[0] for wire in wires] == [3] * 3


@pytest.mark.timeout(240)
def test_a_revocation_in_the_very_moment_of_a_connection_is_never_lost(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Whichever comes first, at whatever step of the door: in the end nobody is in."""
    row = scoreboard.row("B04 P10", "revoked while being let in, at random moments")
    moments = random.Random(4)
    admitted = 0
    with keep(world, tmp_path) as fort, Witness(fort):
        for number in range(SIZES.revocations_at_once):
            station = fort.add(f"cs{number}", f"SN{number}")
            credential = certified(fort, station)
            wire = visit(fort, 3, credential)
            delay = moments.uniform(0, 0.1)

            async def soon(credential: Credential = credential, delay: float = delay) -> None:
                await asyncio.sleep(delay)
                await _revoke(fort, credential, RevocationReason.KEY_COMPROMISE)

            with row.attempt():
                revoking = asyncio.run_coroutine_threadsafe(soon(), fort._loop)
                status = wire.ask(request_of(credential)).status
                assert status in {101, 403}
                if status == 101:
                    admitted += 1
                    assert Talker(wire, str(number)).ends(A_GUARD).code == 1008
                wire.close()
                revoking.result(A_GUARD)
                stays_out(fort, credential)
        row.measure(f"{admitted} were let in and cut off")


def test_a_session_does_not_outlive_its_certificate(
    world: World, tmp_path: Path, scoreboard: Scoreboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the database hangs; and by that certificate nobody comes back."""
    row = scoreboard.row("P10", "the certificate of a live session expires; the database hangs")
    with keep(world, tmp_path) as fort, Witness(fort):
        for number, hangs in enumerate((False, True)):
            station = fort.add(f"CS00{number}", f"SN00{number}")
            ends_at = datetime.now(UTC) + timedelta(seconds=1.5)
            credential = certified(fort, station, not_after=ends_at)
            talker = Talker(enter(fort, 3, credential), "expiring")
            with row.attempt(), monkeypatch.context() as patch:
                if hangs:
                    patch.setattr(fort.home.store, "reading", never)
                assert talker.ends(A_GUARD).code == 1008
                patch.undo()
                late = datetime.now(UTC) - ends_at
                assert late >= timedelta(0), "before its time"
                row.measure(f"{late.total_seconds() * 1000:.0f} ms late")
                fort.records()
                with visit(fort, 3, credential) as visitor:
                    assert visitor.ask(request_of(credential)).status == 403
                assert fort.refusals() == ["certificate_expired"]


@asynccontextmanager
async def never() -> AsyncIterator[None]:
    """A unit of work that does not begin for as long as the test looks."""
    await asyncio.sleep(5)
    raise StoreUnavailable("as the driver gives up")
    yield
