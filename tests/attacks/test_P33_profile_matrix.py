"""P33: which door opens for whom, over all doors.

Three listeners, what the client speaks, what it shows, the subprotocol, how the station stands:
each with each. What is expected comes from the requirements of OCPP 2.0.1 block A, cited at
each rule, and never from the product: `expected` knows nothing of `csms.domain.admission`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import product

import pytest

from csms.domain.certificate import CertificateStatus
from csms.domain.station import SecurityProfile, Station
from tests.attacks.hostile import basic, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.matrix import OPEN, TLS_1_2, TLS_1_3, Matrix, Verdict, proven, session_from, tls
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World
from tests.fixtures.pki_small import Leaf, SmallCA

OTHER = "other"  # a station that nobody knocks for, whose credentials are known


class Speaks(Enum):
    PLAIN = "plain"
    TLS_1_2 = "TLS 1.2"
    TLS_1_2_RESUMED = "TLS 1.2, resumed"
    TLS_1_3 = "TLS 1.3"
    TLS_1_3_AGAIN = "TLS 1.3, trying to resume"


class Shows(Enum):
    NOTHING = "nothing"
    PASSWORD = "its password"
    WRONG_PASSWORD = "a wrong password"
    PASSWORD_OF_ANOTHER = "user and password of another"
    CERTIFICATE = "its certificate"
    CERTIFICATE_OF_ANOTHER = "the certificate of another"
    REVOKED = "its revoked certificate"
    UNKNOWN = "a certificate nobody recorded"
    FOREIGN = "a certificate of another CA"
    BOTH = "its certificate and its password"
    CERTIFICATE_WRONG_PASSWORD = "its certificate and a wrong password"


class Stands(Enum):
    PROFILE_1 = "registered on profile 1"
    PROFILE_2 = "registered on profile 2"
    PROFILE_3 = "registered on profile 3"
    RAISED = "registered on profile 2, its minimum raised to 3"
    PROVED = "registered on profile 2, once admitted on 3"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


class Offers(Enum):
    OURS = "ocpp2.0.1"
    NONE = "nothing"
    OTHERS = "ocpp1.6"


PASSWORDS = {
    Shows.PASSWORD,
    Shows.WRONG_PASSWORD,
    Shows.PASSWORD_OF_ANOTHER,
    Shows.BOTH,
    Shows.CERTIFICATE_WRONG_PASSWORD,
}
WITHOUT_CERTIFICATE = (
    Shows.NOTHING,
    Shows.PASSWORD,
    Shows.WRONG_PASSWORD,
    Shows.PASSWORD_OF_ANOTHER,
)
OVER_TLS = tuple(speaks for speaks in Speaks if speaks is not Speaks.PLAIN)


@dataclass(frozen=True, slots=True)
class Cell:
    listener: int
    speaks: Speaks
    shows: Shows
    stands: Stands
    offers: Offers = Offers.OURS

    def __str__(self) -> str:
        words = (self.speaks, self.shows, self.stands, self.offers)
        return " / ".join([f"port {self.listener}", *(str(word.value) for word in words)])


def cells() -> Iterator[Cell]:
    """Whatever a client can say to that port; a certificate cannot be shown without TLS."""
    for shows, stands in product(WITHOUT_CERTIFICATE, Stands):
        yield Cell(1, Speaks.PLAIN, shows, stands)
    for listener, speaks, shows, stands in product((2, 3), OVER_TLS, Shows, Stands):
        yield Cell(listener, speaks, shows, stands)
    # The wrong language altogether
    for shows in WITHOUT_CERTIFICATE:
        for listener in (2, 3):
            yield Cell(listener, Speaks.PLAIN, shows, Stands.PROFILE_1)
        for speaks in (Speaks.TLS_1_2, Speaks.TLS_1_3):
            yield Cell(1, speaks, shows, Stands.PROFILE_1)
    # Right and wrong in all else, but for the subprotocol
    others = (Offers.NONE, Offers.OTHERS)
    standings = (Stands.PROFILE_1, Stands.PROFILE_3, Stands.UNKNOWN)
    for shows, stands, offers in product(WITHOUT_CERTIFICATE[:2], standings, others):
        yield Cell(1, Speaks.PLAIN, shows, stands, offers)
    shown = (Shows.NOTHING, Shows.BOTH, Shows.REVOKED)
    for listener, speaks, shows, stands, offers in product(
        (2, 3), OVER_TLS, shown, standings, others
    ):
        yield Cell(listener, speaks, shows, stands, offers)


# The model


def expected(cell: Cell) -> Verdict:
    if (cell.listener == 1) != (cell.speaks is Speaks.PLAIN):
        # A00.FR.312, 415: the channel of profiles 2 and 3 is TLS; profile 1 knows none.
        return Verdict(0, "http" if cell.listener == 1 else "tls_handshake")
    by_certificate = cell.listener == 3
    if by_certificate and cell.shows in {*WITHOUT_CERTIFICATE, Shows.FOREIGN}:
        # A00.FR.401, 403, 407: no certificate, or no path to our issuer: TLS ends it.
        return Verdict(0, "tls_handshake")
    if cell.offers is not Offers.OURS:  # TC_B_58
        return Verdict(400, "subprotocol")
    if by_certificate:
        reason = by_the_certificate(cell) or standing(cell)
        return Verdict(403, reason) if reason else OPEN
    reason = by_the_password(cell) or standing(cell)
    return Verdict(401, reason) if reason else OPEN


def by_the_password(cell: Cell) -> str | None:
    """A00.FR.202-207, 301-304, 324. A certificate is not asked for, so it does not help."""
    if cell.shows not in PASSWORDS:
        return "credentials_missing"
    if cell.shows is Shows.PASSWORD_OF_ANOTHER:
        return "user_name"  # A00.FR.204, 303: the user is the identity in the URL
    if cell.stands is Stands.UNKNOWN:
        return "unknown_station"
    wrong = cell.shows in {Shows.WRONG_PASSWORD, Shows.CERTIFICATE_WRONG_PASSWORD}
    return "password" if wrong else None


def by_the_certificate(cell: Cell) -> str | None:
    """A00.FR.403-405, 427, 702: a certificate of ours, on record, of this station, not revoked."""
    if cell.shows is Shows.CERTIFICATE_OF_ANOTHER:
        unknown = cell.stands is Stands.UNKNOWN
        return "unknown_station" if unknown else "certificate_of_another_station"
    if cell.shows is Shows.UNKNOWN or cell.stands is Stands.UNKNOWN:
        return "certificate_unknown"  # an unknown station has no certificate on record
    return "certificate_revoked" if cell.shows is Shows.REVOKED else None


def standing(cell: Cell) -> str | None:
    if cell.stands is Stands.BLOCKED:
        return "blocked"
    lowest = {Stands.PROFILE_1: 1, Stands.PROFILE_2: 2}.get(cell.stands, 3)
    # A00.FR.002, A05.FR.07: never below what is asked of it, or what it has reached.
    return "profile_too_low" if cell.listener < lowest else None


# The world


class Street:
    """A station for each cell: being let in changes how it stands (A05.FR.07)."""

    def __init__(self, world: World, fort: Keep) -> None:
        self._world, self._fort = world, fort
        self._foreign = SmallCA("Stations")  # the name of ours, the key of somebody else
        self.other = fort.add(OTHER, "SN-OTHER")
        self.others_leaf = self._certified(self.other, world.stations.station("SN-OTHER"))

    def settle(self, number: int, stands: Stands) -> tuple[str, Station | None]:
        identity = f"cs{number:04}"
        if stands is Stands.UNKNOWN:
            return identity, None
        return identity, self._fort.do(self._settled(identity, number, stands))

    async def _settled(self, identity: str, number: int, stands: Stands) -> Station:
        registered = {Stands.PROFILE_1: 1, Stands.PROFILE_3: 3}.get(stands, 2)
        minimum = 3 if stands is Stands.RAISED else registered
        home = self._fort.home
        station = await home.add(
            identity,
            f"SN{number:04}",
            security_profile=SecurityProfile(registered),
            minimum=SecurityProfile(minimum),
            blocked=stands is Stands.BLOCKED,
        )
        if stands is Stands.PROVED:
            async with home.store.writing() as work:
                session, _ = await work.sessions.claim(
                    station_id=station.id,
                    node="node-1",
                    profile=SecurityProfile.TLS_CERTIFICATE,
                    certificate_id=None,
                    peer="127.0.0.1:1",
                    at=datetime.now(UTC),
                )
                await work.sessions.release(station.id, session.epoch)
                await work.commit()
        return station

    def shown(self, shows: Shows, number: int, station: Station | None) -> Leaf | None:
        if shows in WITHOUT_CERTIFICATE:
            return None
        if shows is Shows.CERTIFICATE_OF_ANOTHER:
            return self.others_leaf
        serial_number = f"SN{number:04}"
        if shows is Shows.FOREIGN:
            return self._foreign.station(serial_number)
        leaf = self._world.stations.station(serial_number)
        if shows is Shows.UNKNOWN or station is None:
            return leaf
        revoked = shows is Shows.REVOKED
        return self._certified(
            station, leaf, CertificateStatus.REVOKED if revoked else CertificateStatus.ACTIVE
        )

    def _certified(
        self, station: Station, leaf: Leaf, status: CertificateStatus = CertificateStatus.ACTIVE
    ) -> Leaf:
        self._fort.do(self._fort.home.certify(station, leaf, status=status))
        return leaf


def request(identity: str, cell: Cell) -> bytes:
    headers = []
    if cell.shows in PASSWORDS:
        wrong = cell.shows in {Shows.WRONG_PASSWORD, Shows.CERTIFICATE_WRONG_PASSWORD}
        user = OTHER if cell.shows is Shows.PASSWORD_OF_ANOTHER else identity
        headers.append(f"Authorization: {basic(user, 'x' * 40 if wrong else PASSWORD)}")
    offered = None if cell.offers is Offers.NONE else str(cell.offers.value)
    return upgrade(f"/ocpp/{identity}", *headers, subprotocol=offered)


def visit(matrix: Matrix, cell: Cell, identity: str, leaf: Leaf | None) -> None:
    versions = TLS_1_2 if cell.speaks in {Speaks.TLS_1_2, Speaks.TLS_1_2_RESUMED} else TLS_1_3
    context, session, resumes = None, None, None
    if cell.speaks is not Speaks.PLAIN:
        context = tls(matrix.fort, versions, leaf)
        if cell.listener != 1:
            resumes = False
        if cell.speaks in {Speaks.TLS_1_2_RESUMED, Speaks.TLS_1_3_AGAIN}:
            session = first_session(matrix, cell, context)
            # TLS 1.2 resumes by session id, whatever is set (M1); TLS 1.3 was given no ticket.
            resumes = session is not None and cell.speaks is Speaks.TLS_1_2_RESUMED
    matrix.knock(
        str(cell),
        expected(cell),
        request(identity, cell),
        profile=cell.listener,
        names=(identity,),
        context=context,
        session=session,
        resumes=resumes,
    )


def first_session(matrix: Matrix, cell: Cell, context: ssl.SSLContext) -> ssl.SSLSession | None:
    return session_from(matrix.fort, cell.listener, context, source=matrix.address())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", SIZES.loops)
def test_exactly_the_doors_open_that_the_requirements_open(
    loop: str, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P33 A01", f"listener, TLS, credentials, subprotocol, standing; {loop}")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    directory = tmp_path_factory.mktemp("keep")
    with keep(world, directory, loop=loop, **settings) as fort, Witness(fort):
        matrix, street = Matrix(fort), Street(world, fort)
        table = list(cells())
        assert len(table) == len(set(table))
        settled = []
        with fort.bounded_lag():
            for number, cell in enumerate(table):
                identity, station = street.settle(number, cell.stands)
                settled.append(station)
                visit(matrix, cell, identity, street.shown(cell.shows, number, station))
        matrix.verdict()
        matrix.is_uniform()
        reached = proven(fort, [station for station in settled if station])
        for station, cell in zip(settled, table, strict=True):
            if station is not None:
                before = 3 if cell.stands is Stands.PROVED else None
                now = cell.listener if expected(cell).admitted else before
                assert reached[station.identity] == now, cell
        assert fort.session_of(street.other) is None
        row.count(len(table))
        opened = sum(expected(cell).admitted for cell in table)
        row.measure(f"{opened} open, loop at most {fort.worst_lag * 1000:.0f} ms late")
