"""A table of cells against one gateway: each is knocked once, and all are judged together.

Every visit comes from a loopback address of its own. Its row in the audit log is found by it,
whenever it is written, and no budget that is kept per source is shared between two cells.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from uuid import uuid4

from csms.domain.audit import AuditRecord
from csms.domain.station import SecurityProfile, Station
from csms.gateway.attempts import NOBODY
from tests.attacks.hostile import Answer, HostileStation, client_tls
from tests.attacks.keep import REASONS, Keep
from tests.fixtures.gateway_house import PASSWORD
from tests.fixtures.pki_small import Leaf

TLS_1_2 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
TLS_1_3 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
_FIRST_ADDRESS = int(IPv4Address("127.1.0.1"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a visit is answered, and what the audit log says of it. 0: no HTTP answer at all."""

    status: int
    reason: str | None = None  # None: admitted
    detail: str = ""  # a part of what TLS said

    @property
    def admitted(self) -> bool:
        return self.status == 101


OPEN = Verdict(101)


@dataclass(frozen=True, slots=True)
class _Visit:
    what: str
    source: str
    expected: Verdict
    answer: Answer
    names: frozenset[str]


class Matrix:
    def __init__(self, fort: Keep) -> None:
        self.fort = fort
        self._visits: list[_Visit] = []
        self._rows: dict[str, list[AuditRecord]] = defaultdict(list)
        self._addresses = map(IPv4Address, range(_FIRST_ADDRESS, 1 << 31))

    def __len__(self) -> int:
        return len(self._visits)

    def address(self) -> str:
        return str(next(self._addresses))

    def knock(
        self,
        what: str,
        expected: Verdict,
        request: bytes,
        *,
        profile: int,
        names: Sequence[str] = (),
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        resumes: bool | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Answer:
        """One visit. `names`: the canonical identities that its row may bear, if any.

        A handshake that is refused is an empty answer. `resumes`: the session has to be, or not.
        `meanwhile` happens between the handshake and the request.
        """
        source = self.address()
        answer = Answer(b"")
        # TLS 1.2 refuses within the handshake, TLS 1.3 when we read.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            peer = HostileStation(
                self.fort.port(profile), context=context, session=session, source=source
            )
            with peer:
                if meanwhile is not None:
                    meanwhile()
                answer = peer.ask(request)
                if resumes is not None:
                    assert peer.resumed is resumes, what
        self._visits.append(_Visit(what, source, expected, answer, frozenset(names)))
        return answer

    def verdict(self, *, secrets: tuple[str, ...] = (PASSWORD,)) -> list[Answer]:
        """Every cell is as expected on the wire and in the log; then the answers, in order."""
        self._wait_for_rows()
        wrong: list[tuple[object, ...]] = []
        for visit in self._visits:
            records = self._rows[visit.source]
            got = [(visit.answer.status, record.reason) for record in records]
            expected = visit.expected
            details = " ".join(str(record.details["detail"]) for record in records)
            if got != [(expected.status, expected.reason)] or expected.detail not in details:
                wrong.append((visit.what, f"expected {expected}", got, details))
            wrong += [
                (visit.what, flaw, record) for record in records for flaw in _flaws(visit, record)
            ]
            assert not any(secret in repr(records) for secret in secrets), visit.what
        assert not wrong, "\n".join([f"{len(wrong)} of {len(self)}:", *map(str, wrong[:40])])
        return [visit.answer for visit in self._visits]

    def is_uniform(self) -> None:
        """A06: one refusal for each status, to the byte, and no header that tells of us."""
        said = {visit.answer.raw for visit in self._visits if not visit.expected.admitted}
        assert len(said) == len({Answer(raw).status for raw in said}), said
        for visit in self._visits:
            assert visit.answer.header("Server") is visit.answer.header("Date") is None, visit.what

    def _wait_for_rows(self) -> None:
        """A handshake that failed is written after the peer has gone."""
        until = time.monotonic() + 10
        missing = {visit.source for visit in self._visits}
        while missing and time.monotonic() < until:
            for record in self.fort.records():
                self._rows[str(record.details["peer"]).rpartition(":")[0]].append(record)
            missing -= self._rows.keys()
            if missing:
                time.sleep(0.01)


def _flaws(visit: _Visit, record: AuditRecord) -> Iterator[str]:
    """A closed word, and nobody's name but the one that was asked for."""
    if record.outcome != ("success" if record.reason is None else "refused"):
        yield f"the outcome is {record.outcome}"
    if record.reason is not None and record.reason not in REASONS:
        yield "the reason is none of ours"
    nobody = set() if record.reason is None else {NOBODY}
    if not {record.actor, record.subject} <= {f"station:{name}" for name in visit.names} | nobody:
        yield "the name is another's"


def credentials(fort: Keep, leaf: Leaf | None) -> Path | None:
    return None if leaf is None else leaf.write(fort.home.directory, f"{uuid4().hex}.pem")


def tls(
    fort: Keep, versions: tuple[ssl.TLSVersion, ssl.TLSVersion], leaf: Leaf | None = None
) -> ssl.SSLContext:
    return client_tls(fort.trust, leaf=credentials(fort, leaf), versions=versions)


def session_from(
    fort: Keep, profile: int, context: ssl.SSLContext, *, source: str
) -> ssl.SSLSession | None:
    """The session of a full handshake, left politely: OpenSSL forgets one that is cut off.

    None when the handshake is refused; it leaves a row either way.
    """
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        HostileStation(fort.port(profile), context=context, source=source) as peer,
    ):
        session = peer.session
        with contextlib.suppress(OSError):
            peer.tls.unwrap()
        return session
    return None


def proven(fort: Keep, stations: Sequence[Station]) -> dict[str, SecurityProfile | None]:
    """By identity: the highest profile that a session was admitted on. None: never let in."""

    async def read() -> dict[str, SecurityProfile | None]:
        found = {}
        async with fort.home.store.reading() as work:
            for station in stations:
                now = await work.stations.by_id(station.id)
                assert now is not None
                found[str(station.identity)] = now.proven_profile
        return found

    return fort.do(read())
