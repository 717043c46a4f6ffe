"""P34, B01-B11: certificates that are wrong in one thing, shown in full and resumed handshakes.

What TLS refuses is on record with OpenSSL's words, measured here on the OpenSSL that runs; what it
lets through, and that is more than one thinks (M2, M3), is decided by the record and by what the
certificate says, on every upgrade (M1). Each certificate has a record that admits it unless its
row says otherwise, so that nothing else can be the reason.

    root (pathlen 1) → Stations (pathlen 0), the only trust anchor → the station
"""

from __future__ import annotations

import ssl

import pytest

from csms.domain.station import Station
from tests.attacks.forge import (
    Case,
    Forge,
    Neighbourhood,
    Shown,
    besieged,
    context_of,
    keep_record,
    our_world,
    recorded,
)
from tests.attacks.hostile import upgrade
from tests.attacks.keep import Keep
from tests.attacks.matrix import TLS_1_2, TLS_1_3, Matrix, proven, session_from
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.attacks.wrong_certificates import LENIENT, TABLE, rsa_key
from tests.fixtures.gateway_house import World
from tests.fixtures.pki_small import SmallCA

OPENSSL = ssl.OPENSSL_VERSION.partition(" (")[0]


def show(matrix: Matrix, why: str, case: Case, station: Station, shown: Shown | None) -> None:
    """In a full handshake of either version, and in a resumed one where TLS gave a session."""
    fort, identity = matrix.fort, case.path or str(station.identity)
    request = upgrade(f"/ocpp/{identity}")

    def knock(how: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
        resumes = session is not None
        matrix.knock(
            f"{why} ({how})",
            case.expected,
            request,
            profile=3,
            names=(identity,),
            context=context,
            session=session,
            resumes=resumes,
        )

    knock("TLS 1.3", context_of(fort, shown, TLS_1_3), None)
    context = context_of(fort, shown, TLS_1_2)
    knock("TLS 1.2", context, None)
    session = session_from(fort, 3, context, source=matrix.address())
    by_tls_itself = case.expected.reason == "tls_handshake"
    assert (session is None) == by_tls_itself, (why, case.expected)
    if session is not None:
        knock("resumed", context, session)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return our_world(tmp_path_factory.mktemp("world"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", SIZES.loops)
def test_a_certificate_is_refused_for_the_one_thing_that_is_wrong_with_it(
    loop: str, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row(
        "P34 B01-B10", f"certificates wrong in one thing, full and resumed; {loop}"
    )
    with besieged(world, tmp_path_factory.mktemp("keep"), loop) as fort:
        row.count(show_all(fort, Forge(world), TABLE))
    row.measure(f"{len(TABLE)} certificates, {OPENSSL}, loop at most {fort.worst_lag:.3f} s late")


@pytest.mark.parametrize("loop", SIZES.loops)
def test_below_a_careless_issuer_the_record_still_decides(
    loop: str, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """M2: without a path length, a CA:TRUE leaf is a CA of the whole fleet to OpenSSL."""
    row = scoreboard.row("P34 B08 B10", f"an issuer without path length; MD5 and SHA-1; {loop}")
    careless = World(tmp_path_factory.mktemp("world"))
    careless.stations = SmallCA("Stations", key=rsa_key(2048))
    with besieged(careless, tmp_path_factory.mktemp("keep"), loop) as fort:
        row.count(show_all(fort, Forge(careless), LENIENT))


def show_all(fort: Keep, forge: Forge, table: dict[str, Case]) -> int:
    """How many were shown; each was answered as its row says."""
    matrix, stations = Matrix(fort), Neighbourhood(fort)
    settled = []
    for why, case in table.items():
        station = stations.new(blocked=case.blocked)
        shown = case.make(forge, station.serial_number)
        if shown is not None and case.recorded:
            owner = stations.another if case.of_another else station
            keep_record(fort, recorded(owner, shown, forge.now, **case.record))
        show(matrix, why, case, station, shown)
        settled.append((station, case))
    matrix.verdict()
    matrix.is_uniform()
    reached = proven(fort, [*(station for station, _ in settled), stations.another])
    assert reached.pop("another") is None
    for station, case in settled:
        assert (reached[station.identity] is not None) == case.expected.admitted
    return len(matrix)
