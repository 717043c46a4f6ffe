"""M1, B04, B05: what a TLS session remembers counts for nothing.

TLS 1.2 resumes by session id whatever is set, and never looks at the certificate again: what has
changed since is seen by the record alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from csms.domain.certificate import CertificateStatus, RevocationReason
from csms.domain.station import Station
from csms.store import tables
from tests.attacks.forge import (
    Forge,
    Neighbourhood,
    Shown,
    besieged,
    by_tls,
    context_of,
    forbidden,
    our_world,
)
from tests.attacks.hostile import upgrade
from tests.attacks.keep import Keep, keep
from tests.attacks.matrix import OPEN, TLS_1_2, TLS_1_3, Matrix, Verdict, session_from
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import World

SECOND = timedelta(seconds=1)
S = CertificateStatus
Change = Callable[[Keep, Station, Shown], None]


def record_becomes(**values: Any) -> Change:
    def change(fort: Keep, _: Station, shown: Shown) -> None:
        _update(fort, tables.certificates.c.fingerprint_sha256 == shown.fingerprint, values)

    return change


def record_moves(fort: Keep, _: Station, shown: Shown) -> None:
    witness = fort.station("witness")
    _update(
        fort,
        tables.certificates.c.fingerprint_sha256 == shown.fingerprint,
        {"station_id": witness.id},
    )


def _update(fort: Keep, where: Any, values: dict[str, Any]) -> None:
    """Straight into the table: no operation of ours would do this to a certificate in use."""
    statement = update(where.left.table).where(where).values(**values)

    async def write() -> None:
        async with fort.home.store.writing() as work:
            assert await work._transaction.count(statement) == 1
            await work.commit()

    fort.do(write())


def station_becomes(**values: Any) -> Change:
    return lambda fort, station, _: fort.do(fort.home.change(station, **values))


def station_goes(fort: Keep, station: Station, _: Shown) -> None:
    async def delete() -> None:
        async with fort.home.store.writing() as work:
            await work.stations.delete(station.id)
            await work.commit()

    fort.do(delete())


def station_goes_and_another_takes_its_name(fort: Keep, station: Station, shown: Shown) -> None:
    station_goes(fort, station, shown)
    fort.add(station.identity, station.serial_number)


CHANGES: dict[str, tuple[Change, Verdict]] = {
    "nothing": (lambda *_: None, OPEN),
    **{
        f"its record is {status}": (record_becomes(status=status), forbidden("not_admissible"))
        for status in (S.SUPERSEDED, S.REJECTED, S.ABANDONED, S.EXPIRED)
    },
    **{
        f"it is revoked: {reason}": (
            record_becomes(status=S.REVOKED, revocation_reason=reason),
            forbidden("revoked"),
        )
        for reason in RevocationReason
    },
    "its record ends": (
        record_becomes(not_after=datetime.now(UTC) - SECOND),
        forbidden("expired"),
    ),
    "its record moves to the witness": (record_moves, forbidden("of_another_station")),
    "its station is blocked": (station_becomes(blocked=True), Verdict(403, "blocked")),
    "its station has another serial number": (
        station_becomes(serial_number="SN-NEW"),
        forbidden("common_name"),
    ),
    "its station is deleted": (station_goes, Verdict(403, "unknown_station")),
    "its station is deleted and registered again": (
        station_goes_and_another_takes_its_name,
        forbidden("of_another_station"),
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return our_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("loop", SIZES.loops)
def test_what_changed_since_the_full_handshake_counts_in_a_resumed_one(
    loop: str, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """M1, B04. Full handshakes are refused as well, and a request held back behind one."""
    row = scoreboard.row("P34 B04 M1", f"the record changes behind a full handshake; {loop}")
    forge = Forge(world)
    with besieged(world, tmp_path_factory.mktemp("keep"), loop) as fort:
        matrix, stations = Matrix(fort), Neighbourhood(fort)
        for number, (what, (change, expected)) in enumerate(CHANGES.items()):
            station, shown = stations.with_leaf(forge)
            identity = str(station.identity)
            request = upgrade(f"/ocpp/{identity}")
            knock = partial(matrix.knock, request=request, profile=3, names=(identity,))
            context = context_of(fort, shown, TLS_1_2)
            # A session each: OpenSSL forgets one when a connection on it is cut off.
            sessions = [session_from(fort, 3, context, source=matrix.address()) for _ in range(3)]
            assert all(sessions)
            knock(f"{what}: before", OPEN, context=context)
            # Else the refusal below would prove nothing.
            knock(
                f"{what}: before, resumed",
                OPEN,
                context=context,
                session=sessions[0],
                resumes=True,
            )
            resumed = bool(number % 2)  # behind a resumed handshake, or behind a full one
            knock(
                f"{what}: meanwhile",
                expected,
                context=context if resumed else context_of(fort, shown, TLS_1_3),
                session=sessions[1] if resumed else None,
                resumes=resumed,
                meanwhile=partial(change, fort, station, shown),
            )
            knock(what, expected, context=context, session=sessions[2], resumes=True)
            knock(f"{what}: TLS 1.2", expected, context=context)
            knock(f"{what}: TLS 1.3", expected, context=context_of(fort, shown, TLS_1_3))
        matrix.verdict()
        row.count(len(matrix))


@pytest.mark.parametrize("loop", SIZES.loops)
def test_a_session_is_resumed_on_its_own_port_of_its_own_node_alone(
    loop: str, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """B05: each listener has a cache of its own, and TLS 1.3 gives no tickets."""
    row = scoreboard.row(
        "P34 B05", f"a TLS session on another port, of another node or station; {loop}"
    )
    forge = Forge(world)
    with (
        besieged(world, tmp_path_factory.mktemp("keep"), loop) as fort,
        keep(world, tmp_path_factory.mktemp("other node"), loop=loop) as elsewhere,
    ):
        matrix, stations = Matrix(fort), Neighbourhood(fort)
        station, shown = stations.with_leaf(forge)
        identity = str(station.identity)
        request = upgrade(f"/ocpp/{identity}")
        knock = partial(matrix.knock, request=request, names=(identity,))
        context, bare = context_of(fort, shown, TLS_1_2), context_of(fort, None, TLS_1_2)

        def session(profile: int, of: ssl.SSLContext = context) -> ssl.SSLSession:
            given = session_from(fort, profile, of, source=matrix.address())
            assert given is not None
            return given

        knock("on its own port", OPEN, profile=3, context=context, session=session(3), resumes=True)
        knock("of port 2 on 3", OPEN, profile=3, context=context, session=session(2), resumes=False)
        knock(
            "of port 2 on 3, no certificate",
            by_tls("PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            profile=3,
            context=bare,
            session=session(2, bare),
        )
        missing = Verdict(401, "credentials_missing")
        knock(
            "of port 3 on 2", missing, profile=2, context=context, session=session(3), resumes=False
        )
        matrix.knock(
            "for another station",
            forbidden("of_another_station"),
            upgrade("/ocpp/another"),
            profile=3,
            names=("another",),
            context=context,
            session=session(3),
            resumes=True,
        )
        later = context_of(fort, shown, TLS_1_3)
        knock(
            "of TLS 1.3", OPEN, profile=3, context=later, session=session(3, later), resumes=False
        )
        other_node = Matrix(elsewhere)
        other_node.knock(
            "of another node",
            forbidden("unknown"),
            request,
            profile=3,
            names=(identity,),
            context=context,
            session=session(3),
            resumes=False,
        )
        matrix.verdict()
        other_node.verdict()
        row.count(len(matrix) + len(other_node))
