"""A06, P37: the door does not tell which identities exist, by what it says or by how long it takes.

P33, P34 and P36 compare the bytes of every refusal of theirs as well.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import NormalDist, median, quantiles
from typing import Any

import pytest

import csms.domain.password
from csms.domain.certificate import CertificateRecord, CertificateStatus
from csms.domain.station import SecurityProfile, Station, StationIdentity
from csms.gateway.handshake import REFUSAL_SECONDS
from csms.store.prepared import Prepared, Values
from csms.store.sqlite import SQLiteReadingConnection
from csms.store.stations import StationRepository
from tests.attacks.hostile import HostileStation, basic, client_tls, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.matrix import TLS_1_3, Matrix, Verdict, tls
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World

WRONG = "x" * 40
SETTINGS = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
BASIC, BY_CERTIFICATE = SecurityProfile.BASIC, SecurityProfile.TLS_CERTIFICATE
# Identities of one length, so that the requests are of one length.
UNKNOWN, KNOWN, BLOCKED, HIGH, CHANGING, BARE = (f"station-{n}" for n in range(6))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@contextmanager
def town(world: World, factory: pytest.TempPathFactory, loop: str = "uvloop") -> Iterator[Keep]:
    """One station of each kind that a stranger might want to tell from an unknown one."""
    with keep(world, factory.mktemp("keep"), loop=loop, **SETTINGS) as fort, Witness(fort):
        fort.add(KNOWN, "SN1", minimum=BASIC)
        fort.add(BLOCKED, "SN2", minimum=BASIC, blocked=True)
        fort.add(HIGH, "SN3", minimum=BY_CERTIFICATE)
        changing = fort.add(CHANGING, "SN4", minimum=BASIC)
        fort.set_passwords(changing, PASSWORD, "y" * 40, "z" * 40)
        bare = fort.add(BARE, "SN5", minimum=BY_CERTIFICATE)
        fort.set_passwords(bare)
        yield fort


def knock(user: str, password: str, identity: str) -> bytes:
    return upgrade(f"/ocpp/{identity}", f"Authorization: {basic(user, password)}")


PASSWORD_REFUSALS = {
    "an unknown identity": (knock(UNKNOWN, WRONG, UNKNOWN), "unknown_station"),
    "a wrong password": (knock(KNOWN, WRONG, KNOWN), "password"),
    "a wrong user": (knock(UNKNOWN, PASSWORD, KNOWN), "user_name"),
    "a wrong user of an unknown identity": (knock(KNOWN, PASSWORD, UNKNOWN), "user_name"),
    "no password": (upgrade(f"/ocpp/{KNOWN}"), "credentials_missing"),
    "no password of an unknown identity": (upgrade(f"/ocpp/{UNKNOWN}"), "credentials_missing"),
    "no Basic": (upgrade(f"/ocpp/{KNOWN}", "Authorization: Bearer x"), "credentials_malformed"),
    "a blocked station": (knock(BLOCKED, PASSWORD, BLOCKED), "blocked"),
    "a blocked station, wrong password": (knock(BLOCKED, WRONG, BLOCKED), "password"),
    "too low a profile": (knock(HIGH, PASSWORD, HIGH), "profile_too_low"),
    "too low a profile, wrong password": (knock(HIGH, WRONG, HIGH), "password"),
    "a station without any password": (knock(BARE, PASSWORD, BARE), "password"),
    "a password change under way": (knock(CHANGING, WRONG, CHANGING), "password"),
}


@pytest.mark.parametrize("profile", [1, 2])
def test_whatever_is_wrong_with_identity_or_password_is_one_401(
    profile: int, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P37 A06", "unknown, blocked, too low, wrong user, wrong password: bytes")
    with town(world, tmp_path_factory) as fort, fort.bounded_lag():
        matrix = Matrix(fort)
        context = client_tls(fort.trust) if profile == 2 else None
        for what, (request, reason) in PASSWORD_REFUSALS.items():
            names = (UNKNOWN, KNOWN, BLOCKED, HIGH, CHANGING, BARE)
            expected = Verdict(401, reason)
            matrix.knock(what, expected, request, profile=profile, names=names, context=context)
        assert len({answer.raw for answer in matrix.verdict()}) == 1
        matrix.is_uniform()
        row.count(len(matrix))


def test_whatever_is_wrong_with_identity_or_certificate_is_one_403(
    world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """Only who holds a certificate of ours gets that far, and learns nothing of other stations."""
    row = scoreboard.row("P37 A06", "the same on profile 3, with a certificate of ours")
    with town(world, tmp_path_factory) as fort, fort.bounded_lag():
        matrix = Matrix(fort)
        leaf = world.stations.station("SN1")
        revoked = world.stations.station("SN1")
        nobodys = world.stations.station("SN1")
        station = fort.station(KNOWN)
        fort.do(fort.home.certify(station, leaf))
        fort.do(fort.home.certify(station, revoked, status=CertificateStatus.REVOKED))
        table = [
            (leaf, UNKNOWN, "unknown_station"),
            (leaf, BLOCKED, "certificate_of_another_station"),
            (leaf, HIGH, "certificate_of_another_station"),
            (revoked, KNOWN, "certificate_revoked"),
            (revoked, UNKNOWN, "unknown_station"),
            (nobodys, KNOWN, "certificate_unknown"),
            (nobodys, UNKNOWN, "certificate_unknown"),
        ]
        for shown, identity, reason in table:
            matrix.knock(
                reason,
                Verdict(403, reason),
                knock(identity, PASSWORD, identity),
                profile=3,
                names=(identity,),
                context=tls(fort, TLS_1_3, shown),
            )
        assert len({answer.raw for answer in matrix.verdict()}) == 1
        matrix.is_uniform()
        row.count(len(matrix))


# The work


@dataclass
class Work:
    reads: int = 0
    digests: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Counts what the real parts do."""
    counted = Work()
    fetch, digest = SQLiteReadingConnection.fetch, csms.domain.password._digest

    async def counting_fetch(
        self: SQLiteReadingConnection, prepared: Prepared, values: Values
    ) -> Sequence[Sequence[Any]]:
        counted.reads += 1
        return await fetch(self, prepared, values)

    def counting_digest(password: str, salt: bytes, pepper: bytes) -> bytes:
        counted.digests += 1
        return digest(password, salt, pepper)

    monkeypatch.setattr(SQLiteReadingConnection, "fetch", counting_fetch)
    monkeypatch.setattr(csms.domain.password, "_digest", counting_digest)
    return counted


def test_the_same_work_is_done_whether_the_identity_exists_or_not(
    work: Work, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """Also for a station without a password, and for one with a password change under way."""
    row = scoreboard.row("P37 A06", "the same, by reads of the store and digests of passwords")
    with town(world, tmp_path_factory) as fort:
        done, addresses = {}, Matrix(fort)
        for what, (request, reason) in PASSWORD_REFUSALS.items():
            before = replace(work)
            with fort.visit(1, source=addresses.address()) as visitor:
                assert visitor.ask(request).status == 401
            done[what] = (work.reads - before.reads, work.digests - before.digests)
            assert fort.refusals() == [reason]
        without = {done.pop(what) for what in list(done) if what.startswith("no ")}
        assert len(set(done.values())) == 1, done
        assert len(without) == 1
        ((reads, digests),) = set(done.values())
        row.count(len(PASSWORD_REFUSALS))
        row.measure(f"{reads} reads and {digests} digests each")


# The time


def seconds_until_answered(fort: Keep, source: str, request: bytes) -> float:
    with HostileStation(fort.port(1), source=source) as peer:
        began = time.perf_counter()
        peer.send(request)
        peer.socket.recv(1)
        return time.perf_counter() - began


@pytest.mark.timeout(300)
def test_the_time_to_a_refusal_does_not_tell_an_unknown_identity_from_a_known_one(
    world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """Measured where it is easiest, on loopback without TLS; the figures are for the reader."""
    row = scoreboard.row("P37 A06", "time to the 401: known and unknown identities, interleaved")
    kinds = {
        "unknown": knock(UNKNOWN, WRONG, UNKNOWN),
        "unknown again": knock(f"{UNKNOWN[:-1]}x", WRONG, f"{UNKNOWN[:-1]}x"),
        "known": knock(KNOWN, WRONG, KNOWN),
        "blocked": knock(BLOCKED, WRONG, BLOCKED),
    }
    rounds = SIZES.identity_probes // len(kinds)
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    with town(world, tmp_path_factory) as fort, fort.bounded_lag():
        order = random.Random(datetime.now(UTC).timestamp())
        addresses = Matrix(fort)
        for _ in range(rounds):
            for kind in order.sample(sorted(kinds), len(kinds)):
                probe = seconds_until_answered(fort, addresses.address(), kinds[kind])
                taken[kind].append(probe)
        fort.refusals(rounds * len(kinds))
    reference = taken.pop("unknown")
    low, *_, high = quantiles(reference, n=20)
    row.measure(f"unknown {micro(median(reference))}, 5 % to 95 % {micro(low)} to {micro(high)}")
    for kind, times in taken.items():
        apart = median(times) - median(reference)
        slower, p = mann_whitney(reference, times)
        row.measure(f"{kind} {micro(apart)} apart, slower in {slower:.0%} (p={p:.2g})")
        # Far from exact: no more than what single requests differ by themselves.
        assert abs(apart) < high - low
    row.count(rounds * len(kinds))


EXTRA_SECONDS = 0.002


@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", SIZES.loops)
def test_even_two_milliseconds_more_for_a_known_station_do_not_come_out(
    loop: str,
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
    scoreboard: Scoreboard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The refusal's time is counted from the request. Busy neighbours only ever add to a time, and
    more to more work: it is the shortest times that are compared."""
    row = scoreboard.row("P37 A06", f"reading a known station takes 2 ms more; {loop}")
    read = StationRepository.for_admission

    async def slower(
        self: StationRepository, identity: StationIdentity, fingerprint_sha256: str | None
    ) -> tuple[Station | None, CertificateRecord | None]:
        found = await read(self, identity, fingerprint_sha256)
        until = time.perf_counter() + (EXTRA_SECONDS if found[0] else 0)
        while time.perf_counter() < until:
            pass
        return found

    monkeypatch.setattr(StationRepository, "for_admission", slower)
    kinds = {"unknown": knock(UNKNOWN, WRONG, UNKNOWN), "known": knock(KNOWN, WRONG, KNOWN)}
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    with town(world, tmp_path_factory, loop) as fort:
        addresses = Matrix(fort)
        for _ in range(SIZES.slowed_probes):
            for kind, request in kinds.items():
                taken[kind].append(seconds_until_answered(fort, addresses.address(), request))
        fort.refusals(SIZES.slowed_probes * len(kinds))
    least = {kind: min(times) for kind, times in taken.items()}
    assert least["unknown"] >= REFUSAL_SECONDS
    assert abs(least["known"] - least["unknown"]) < EXTRA_SECONDS / 2, least
    row.count(SIZES.slowed_probes * len(kinds))
    row.measure(f"{micro(least['known'] - least['unknown'])} come out")


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """How often one of `second` is above one of `first`, and the two-sided p of that (no ties)."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum = sum(rank for rank, (_, which) in enumerate(ranked, start=1) if which)
    n, m = len(first), len(second)
    u = rank_sum - m * (m + 1) / 2
    deviation = (n * m * (n + m + 1) / 12) ** 0.5
    p = 2 * NormalDist().cdf(-abs(u - n * m / 2) / deviation)
    return u / (n * m), p
