"""The door: one HTTP upgrade request, admitted or refused before the 101.

1. Not now: overloaded, the database away, or a password where the peppers have not been read yet
   (a start while Vault is sealed). 503, before the identity is looked at.
2. The facts: an HTTP upgrade at all, the exact target, the Authorization header, the certificate.
   No other header is read: forwarded addresses and certificates are anybody's to write (A15).
   Then the source: who comes from where too many have failed is answered unheard, unless it is
   known there (A09).
3. One indexed read: the station, the certificate, and where the outbox stood (decision 2).
4. `csms.domain.admission.decide`.
5. Refused: recorded off this path, and answered with bytes that do not tell the reason, at a time
   that does not either (A06).
6. Admitted: epoch, audit row, attempt and what is new about the station in one transaction, and
   only then the 101. Claims of one station wait for each other, so its standing is looked at once
   more: of two connections at once, none gets in below the profile that the other has proved.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response

from csms.domain.admission import (
    Admitted,
    BasicCredentials,
    HandshakeFacts,
    RefusalReason,
    Refused,
    decide,
    gone,
    identify,
    reconsider,
    spent,
)
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.certificate import CertificateStatus
from csms.domain.failure_budget import GUESSES, FailureBudget, GuessWatch
from csms.domain.password import NO_PEPPERS, LatePeppers
from csms.domain.security_event import CSMSEvent, EventSource, SecurityEvent
from csms.domain.station import (
    IdentityInvalid,
    SecurityProfile,
    Station,
    StationIdentity,
)
from csms.domain.takeovers import MOST_IN_WINDOW, WINDOW_SECONDS
from csms.gateway.attempts import AttemptLog, audit_of
from csms.gateway.authorization import read_authorization
from csms.gateway.connection import Claim, Surroundings, hint_jobs
from csms.gateway.refusal_time import RefusalTime
from csms.gateway.supervisor import place_of
from csms.gateway.visitor import Visitor
from csms.gateway.websocket import StationSocket
from csms.ports.bus import SESSIONS_CLOSE, BusError, Json
from csms.ports.records import Job, JobKind, StationSession
from csms.ports.store import StoreError, StoreUnavailable, Superseded, UnitOfWork

log = structlog.get_logger()

AWAY_SECONDS: Final = 2.0  # how long one failure of the database refuses everybody
MAXIMUM_DECIDING: Final = 256  # upgrades that wait for the database at once
RETRY_AFTER_SECONDS: Final = 5
REFUSAL_SECONDS: Final = 0.005  # more than the decision takes, less than a station would notice

_HTTP: Final = Refused(HTTPStatus.BAD_REQUEST, RefusalReason.HTTP)
_BUSY: Final = Refused(HTTPStatus.SERVICE_UNAVAILABLE, RefusalReason.BUSY)
_CERTIFICATE_REASONS: Final = frozenset(
    reason for reason in RefusalReason if reason.value.startswith("certificate_")
)
_EXTRA_HEADERS: Final = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate", 'Basic realm="csms", charset="UTF-8"'),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After", str(RETRY_AFTER_SECONDS)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Whose door this is."""

    node: str
    organization: str
    peppers: LatePeppers


class Door:
    def __init__(
        self,
        house: House,
        around: Surroundings,
        attempts: AttemptLog,
        failures: FailureBudget,
    ) -> None:
        self._house = house
        self._around = around
        self._attempts = attempts
        self._refusal_time = RefusalTime(REFUSAL_SECONDS)
        self._failures = failures
        self._guesses = GuessWatch()
        self._proof_key = around.randomness.bytes(32)
        self._away_until = 0.0
        self._deciding = 0

    def close(self) -> None:
        self._refusal_time.close()

    @property
    def database_away(self) -> bool:
        return self._around.clock.monotonic() < self._away_until

    async def upgrade(self, socket: StationSocket, visitor: Visitor) -> Claim | None:
        """Answer the request that `socket` has received. Raises ConnectionClosed."""
        claim: Claim | None = None

        async def answer(_: ServerConnection, request: Request) -> Response | None:
            nonlocal claim
            due = self._refusal_time.due()
            outcome = await self._outcome(socket, request, visitor)
            if isinstance(outcome, Refused):
                await self._refusal_time.reached(due)
                return refusal(outcome.status)
            claim = outcome
            return None

        try:
            await socket.handshake(answer, _without_date, server_header=None)
        except BaseException:
            if claim is not None:
                await self._undo(claim)
            raise
        return claim

    async def _undo(self, claim: Claim) -> None:
        """The peer left before its 101. An older session has lost its epoch all the same: it ends,
        or it would live on unseen and be cut at its next message.
        """
        order = _replaced(claim.admitted.station, claim.epoch)
        try:
            async with self._around.store.writing() as work:
                await work.sessions.release(claim.admitted.station.id, claim.epoch)
                await work.outbox.add(SESSIONS_CLOSE, order)
                await work.commit()
        except StoreError as error:
            log.warning("session_not_released", why=type(error).__name__)
        await self._hint_close(order)

    async def leave(self, claim: Claim) -> None:
        """Give the station back, unless a newer connection has it (A03)."""
        try:
            async with self._around.store.writing() as work:
                await work.sessions.release(claim.admitted.station.id, claim.epoch)
                await work.commit()
        except StoreError as error:
            # The row stays until the next claim or start of this node, and says only who was last.
            log.warning("session_not_released", why=type(error).__name__)

    async def _outcome(
        self, socket: StationSocket, request: Request, visitor: Visitor
    ) -> Claim | Refused:
        # 1
        if (
            self.database_away
            or self._deciding >= MAXIMUM_DECIDING
            or not self._can_decide(visitor.listener)
        ):
            self._attempts.shed(RefusalReason.BUSY, visitor.source)
            return _BUSY
        self._deciding += 1
        try:
            return await self._decided(socket, request, visitor)
        except StoreUnavailable:
            self._away_until = self._around.clock.monotonic() + AWAY_SECONDS
            log.warning("upgrades_refused_without_database")
            self._attempts.shed(RefusalReason.BUSY, visitor.source)
            return _BUSY
        except Exception as error:  # noqa: BLE001 -- a request's outermost frame: a bug admits nobody
            log.error("upgrade_failed", error=type(error).__name__, at=place_of(error))  # noqa: TRY400 -- the text may quote credentials
            self._attempts.refused(visitor.attempt(self._around.clock.now(), RefusalReason.BUSY))
            return _BUSY
        finally:
            self._deciding -= 1

    def _can_decide(self, listener: SecurityProfile) -> bool:
        return listener is SecurityProfile.TLS_CERTIFICATE or self._house.peppers.are_there

    async def _decided(
        self, socket: StationSocket, request: Request, visitor: Visitor
    ) -> Claim | Refused:
        # 2
        facts = self._facts(socket, request, visitor)
        if facts is None:
            self._refused(visitor, _HTTP, None, None, None)
            return _HTTP
        proof = self._proof(facts)
        if not self._failures.may_try(
            visitor.source, facts.identity, proof, now=self._around.clock.monotonic()
        ):
            self._attempts.shed(RefusalReason.TOO_MANY_FAILURES, visitor.source)
            return spent(facts.listener)
        # 3: the outbox first, so that nothing decided after this read can be missed
        decided_at, outbox_seen = self._around.clock.monotonic(), 0
        station, certificate = None, None
        if facts.identity is not None:
            fingerprint = facts.certificate.fingerprint_sha256 if facts.certificate else None
            async with self._around.store.reading() as work:
                outbox_seen = await work.outbox.last_sequence()
                station, certificate = await work.stations.for_admission(
                    facts.identity, fingerprint
                )
        # 4
        by_certificate = visitor.listener is SecurityProfile.TLS_CERTIFICATE
        outcome = decide(
            facts,
            station,
            certificate,
            now=self._around.clock.now(),
            peppers=NO_PEPPERS if by_certificate else self._house.peppers.read(),
        )
        # 5
        if isinstance(outcome, Refused):
            self._refused(visitor, outcome, facts.identity, proof, station)
            return outcome
        # 6
        epoch = await self._claim(visitor, outcome)
        if isinstance(epoch, Refused):
            known = None if epoch.reason is RefusalReason.UNKNOWN_STATION else station
            self._refused(visitor, epoch, facts.identity, proof, known)
            return epoch
        self._failures.admitted(visitor.source, outcome.station.identity, proof)
        return Claim(admitted=outcome, epoch=epoch, decided_at=decided_at, outbox_seen=outbox_seen)

    def _facts(
        self, socket: StationSocket, request: Request, visitor: Visitor
    ) -> HandshakeFacts | None:
        """None when this is no acceptable upgrade request."""
        if len(request.headers.get_all("Host")) != 1:  # RFC 9112 §3.2; the library does not look
            return None
        try:
            socket.protocol.process_request(request)
        except (InvalidHandshake, ValueError):
            return None
        try:
            identity = identify(request.path)
        except IdentityInvalid:
            identity = None
        by_certificate = visitor.listener is SecurityProfile.TLS_CERTIFICATE
        credentials = [] if by_certificate else request.headers.get_all("Authorization")
        chosen = socket.protocol.subprotocol
        return HandshakeFacts(
            listener=visitor.listener,
            identity=identity,
            subprotocols=() if chosen is None else (chosen,),
            basic=read_authorization(credentials),
            certificate=visitor.certificate if by_certificate else None,
            organization=self._house.organization,
        )

    def _proof(self, facts: HandshakeFacts) -> bytes | None:
        """What stands for the credential while this process lives, and says nothing elsewhere."""
        match facts.certificate, facts.basic:
            case (None, BasicCredentials(user_name, password)):
                shown = f"{user_name.lower()}:{password}".encode()
                return hmac.new(self._proof_key, shown, hashlib.sha256).digest()
            case (None, _):
                return None
            case (certificate, _):
                return certificate.fingerprint_sha256.encode()  # TLS has proved the key

    def _refused(
        self,
        visitor: Visitor,
        refused: Refused,
        identity: StationIdentity | None,
        proof: bytes | None,
        station: Station | None,
    ) -> None:
        monotonic, source = self._around.clock.monotonic(), visitor.source
        worth_a_row = self._failures.failed(source, identity, proof, now=monotonic)
        alarm = (
            station is not None
            and refused.reason is RefusalReason.PASSWORD
            and self._guesses.wrong_password(station.identity, now=monotonic)
        )
        if not (worth_a_row or alarm):
            self._attempts.shed(refused.reason, source)
            return
        now = self._around.clock.now()
        attempt = visitor.attempt(
            now,
            refused.reason,
            identity=identity,
            station_id=station.id if station else None,
            http_status=refused.status,
        )
        event = None
        if station is not None and refused.reason in _CERTIFICATE_REASONS:  # A00.FR.408
            event = self._event(
                station, CSMSEvent.INVALID_CHARGING_STATION_CERTIFICATE, refused.reason.value
            )
        elif station is not None and alarm:
            event = self._event(
                station, CSMSEvent.STATION_PASSWORD_GUESSING, f"{GUESSES} wrong passwords"
            )
        self._attempts.refused(attempt, event)

    def _event(self, station: Station, what: CSMSEvent, tech_info: str) -> SecurityEvent:
        now = self._around.clock.now()
        return SecurityEvent(
            id=self._around.randomness.uuid(),
            station_id=station.id,
            type=what,
            occurred_at=now,
            received_at=now,
            tech_info=tech_info,
            source=EventSource.CSMS,
        )

    # Admitted

    async def _claim(self, visitor: Visitor, admitted: Admitted) -> int | Refused:
        try:
            return await self._claimed(visitor, admitted)
        except Superseded:  # the station was deleted since step 3
            return gone(admitted)

    async def _claimed(self, visitor: Visitor, admitted: Admitted) -> int | Refused:
        now = self._around.clock.now()
        station = admitted.station
        attempt = visitor.attempt(
            now,
            None,
            identity=station.identity,
            station_id=station.id,
            http_status=HTTPStatus.SWITCHING_PROTOCOLS,
        )
        async with self._around.store.writing() as work:
            session, displaced = await work.sessions.claim(
                station_id=station.id,
                node=self._house.node,
                profile=admitted.profile,
                certificate_id=admitted.certificate.id if admitted.certificate else None,
                peer=visitor.peer,
                at=now,
            )
            if refused := reconsider(admitted, await work.stations.by_id(station.id)):
                return refused  # nothing is committed: whoever holds the station keeps it
            await work.connection_attempts.add_all([attempt])
            await work.audit.add(audit_of(attempt))
            if displaced is not None:
                await self._displaced(work, station, session, displaced)
            job = self._seen(admitted, session)
            due = await work.jobs.wake(station.id, now=now)
            if job is not None:
                await work.jobs.add(job)
            await work.commit()
        if due or job is not None:
            await hint_jobs(self._around.bus)
        if displaced is not None and displaced.node != self._house.node:
            await self._hint_close(_replaced(station, session.epoch))
        return session.epoch

    async def _displaced(
        self, work: UnitOfWork, station: Station, new: StationSession, old: StationSession
    ) -> None:
        """A02: who took whose place, and by which credentials; another node is told through the
        outbox. Two holders of one credential fight: that is an alarm, once in a while.
        """
        await work.audit.add(
            AuditRecord(
                at=new.connected_at,
                actor=f"station:{station.identity}",
                action=AuditAction.STATION_REPLACE_SESSION,
                subject=f"station:{station.identity}",
                outcome=Outcome.SUCCESS,
                details={
                    "old_peer": old.peer,
                    "new_peer": new.peer,
                    "old_certificate": str(old.certificate_id) if old.certificate_id else None,
                    "new_certificate": str(new.certificate_id) if new.certificate_id else None,
                },
            )
        )
        await work.security_events.add(
            self._event(
                station,
                CSMSEvent.DUPLICATE_STATION_CONNECTION,
                f"from {new.peer} by {_credential(new)}, was {old.peer} by {_credential(old)}",
            )
        )
        if self._around.takeovers.replaced(station.id, now=self._around.clock.monotonic()):
            log.warning("station_flapping", station_id=str(station.id))
            await work.security_events.add(
                self._event(
                    station,
                    CSMSEvent.STATION_SESSION_FLAPPING,
                    f"more than {MOST_IN_WINDOW} takeovers in {WINDOW_SECONDS:.0f} s, "
                    f"lately from {new.peer}, was {old.peer}",
                )
            )
        if old.node != self._house.node:
            await work.outbox.add(SESSIONS_CLOSE, _replaced(station, new.epoch))

    async def _hint_close(self, order: Json) -> None:
        try:
            await self._around.bus.publish(SESSIONS_CLOSE, order)
        except BusError as error:
            log.warning("close_not_hinted", why=str(error))

    def _seen(self, admitted: Admitted, session: StationSession) -> Job | None:
        """Something happened for the first time: the worker draws the conclusions (decision 8)."""
        station, certificate = admitted.station, admitted.certificate
        registered = min(station.security_profile, station.minimum_security_profile)
        slot = admitted.password
        proved = slot.salt.hex() if slot is not None and slot.pending else None
        new_certificate = certificate is not None and (
            certificate.status is not CertificateStatus.ACTIVE or certificate.first_seen_at is None
        )
        if not (admitted.profile > registered or new_certificate or proved):
            return None
        return Job(
            id=self._around.randomness.uuid(),
            kind=JobKind.SESSION_SEEN,
            key=f"{station.id}:{session.epoch}",
            station_id=station.id,
            payload={
                "station_id": str(station.id),
                "profile": int(admitted.profile),
                "certificate_id": str(certificate.id) if certificate else None,
                "proved_password": proved,  # which slot, by its salt; none but us can use it
            },
            attempts=0,
            run_at=session.connected_at,
            created_at=session.connected_at,
        )


def _credential(session: StationSession) -> str:
    """Which credential opened the session; of a password nothing is said but that it was one."""
    certificate = session.certificate_id
    return f"certificate {certificate}" if certificate else "password"


def _replaced(station: Station, epoch: int) -> Json:
    return {"station_id": str(station.id), "before_epoch": epoch, "reason": "replaced"}


def refusal(status: HTTPStatus) -> Response:
    """The same bytes for every reason: no date, no server, the status's own phrase."""
    body = f"{status.phrase}\n".encode()
    headers = Headers()
    if status in _EXTRA_HEADERS:
        name, value = _EXTRA_HEADERS[status]
        headers[name] = value
    headers["Connection"] = "close"
    headers["Content-Type"] = "text/plain; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    return Response(status.value, status.phrase, headers, body)


def _without_date(_: ServerConnection, __: Request, response: Response) -> None:
    if "Date" in response.headers:
        del response.headers["Date"]
