"""The certification authority: `pki.wire.PkiService` over store, signers and profiles.

Every answer is idempotent by request id and, for stations, by (station, key). Refusals are audited
before they are raised. Blocking work runs in a bounded pool of threads; one holder and one key are
worked on by one task at a time, so that asking twice at once signs once, and a station that floods
waits for itself (C07). The numbers are the issuance cycle's.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pki.authority.hierarchy import Hierarchy, HierarchyInvalid, IssuerName
from pki.authority.issuance import (
    IssuanceBroken,
    IssuanceRequest,
    Issuer,
    PreparedCertificate,
    issue,
    prepare,
)
from pki.authority.records import (
    AlreadyThere,
    Ask,
    AuditAction,
    AuditEntry,
    AuthorityStore,
    Intent,
    IntentClosed,
    SerialTaken,
    StoredCertificate,
    StoreUnavailable,
)
from pki.authority.registration import (
    Refuse,
    Repeat,
    check_own_subject,
    check_station_subject,
    decide,
)
from pki.authority.revocation import blocks_key, check_reason, normalised_serial
from pki.signing.signer import Signer, SignerError
from pki.wire import (
    CallerCertificateRequest,
    CertificateKind,
    IssuedCertificate,
    PkiRefused,
    PkiUnavailable,
    RefusalReason,
    Revocation,
    ServerCertificateRequest,
    StationCertificateAnswer,
    StationCertificateRequest,
    StationRegistration,
    TrustAnchors,
)
from pki.x509.csr import CSRRejected, VerifiedCSR, verify_csr
from pki.x509.hash_data import serial_hex
from pki.x509.lint import Linter, LintFailed
from pki.x509.names import (
    NameInvalid,
    parse_caller_role,
    parse_host_name,
    parse_ip_address,
    parse_serial_number,
)
from pki.x509.profile import Profiles
from pki.x509.template import SERIAL_OCTETS, IssuerExpired, PublicLocations, serial_from

log = structlog.get_logger()
T = TypeVar("T")

_MAX_SUBJECT: Final = 80  # of the 96 that the audit's column holds
_MAX_NAMES: Final = 16  # of one listener; a certificate is no phone book
# A serial of 158 random bits that is taken already means a broken generator, or a test (C14).
_SERIAL_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One ask with its verified request and the names the certificate will carry."""

    ask: Ask
    csr: VerifiedCSR
    request: IssuanceRequest


class Authority:
    """Made by `pki.wiring.open_authority`; use it within that context only."""

    def __init__(
        self,
        *,
        store: AuthorityStore,
        hierarchy: Hierarchy,
        signers: Mapping[IssuerName, Signer],
        profiles: Profiles,
        organization: str,
        locations: PublicLocations,
        threads: ThreadPoolExecutor,
        thread_count: int,
        patience: timedelta,
        now: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        check_available: Callable[[], None] = lambda: None,
        check_token: Callable[[], None] = lambda: None,
    ) -> None:
        """`check_available` costs nothing and raises SignerUnavailable while the signers are known
        to be away; `check_token` asks them, blocking, and raises SignerError.
        """
        for name, issuer in hierarchy.issuers.items():
            if signers[name].public_key != issuer.public_key:
                raise HierarchyInvalid(f"the signer of {name} is not the key of its certificate")
        self._store = store
        self._hierarchy = hierarchy
        self._issuer_pem = {
            str(name): issuer.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
            for name, issuer in hierarchy.issuers.items()
        }
        self._signers = signers
        self._profiles = profiles
        self._organization = organization
        self._locations = locations
        self._threads = threads
        self._slots = asyncio.Semaphore(2 * thread_count)
        self._patience = patience
        self._holders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._keys: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._linter = Linter()
        self._now = now
        self._random_bytes = random_bytes
        self._check_available = check_available
        self._check_token = check_token

    # --- what callers may ask ---------------------------------------------------------------------

    async def register_station(self, registration: StationRegistration) -> None:
        subject = f"station:{registration.station_id}"
        try:
            serial_number = parse_serial_number(registration.serial_number)
            await self._store.register(
                registration.station_id,
                serial_number,
                audit=self._entry(AuditAction.REGISTER_STATION, subject, CN=serial_number),
            )
        except (NameInvalid, AlreadyThere) as error:
            reason = RefusalReason.WRONG_SUBJECT
            if isinstance(error, AlreadyThere):
                reason = RefusalReason.REQUEST_CONFLICT
            refused = PkiRefused(reason, str(error))
            await self._audit_refusal(AuditAction.REGISTER_STATION, subject, refused)
            raise refused from error
        except StoreUnavailable as error:
            raise PkiUnavailable("the PKI's database is away") from error

    async def issue_station_certificate(
        self, request: StationCertificateRequest
    ) -> StationCertificateAnswer:
        ask = _ask(
            request.request_id,
            CertificateKind.STATION,
            f"station:{request.station_id}",
            request.csr_pem,
        )
        job, issued = await self._answer(ask, partial(self._station_job, ask, request))
        return StationCertificateAnswer(issued=issued, anomalies=list(job.csr.anomalies))

    async def issue_server_certificate(
        self, request: ServerCertificateRequest
    ) -> IssuedCertificate:
        names = [*request.host_names, "", *request.ip_addresses]
        holder = _shown(f"server:{request.host_names[0] if request.host_names else ''}")
        ask = _ask(request.request_id, CertificateKind.SERVER, holder, request.csr_pem, *names)
        _, issued = await self._answer(ask, partial(self._server_job, ask, request))
        return issued

    async def issue_caller_certificate(
        self, request: CallerCertificateRequest
    ) -> IssuedCertificate:
        holder = _shown(f"caller:{request.role}")
        ask = _ask(request.request_id, CertificateKind.CALLER, holder, request.csr_pem)
        _, issued = await self._answer(ask, partial(self._caller_job, ask, request))
        return issued

    async def revoke(self, revocation: Revocation) -> None:
        subject = _shown(f"{revocation.issuer}:{revocation.serial}")
        try:
            check_reason(revocation)
            serial = normalised_serial(revocation.serial)
            certificate = await self._certificate(revocation.issuer, serial)
            await self._store.revoke(
                certificate,
                reason=revocation.reason,
                revoked_at=revocation.revoked_at,
                block_key=blocks_key(revocation),
                audit=self._entry(
                    AuditAction.REVOKE_CERTIFICATE, subject, reason=revocation.reason
                ),
            )
        except PkiRefused as refused:
            await self._audit_refusal(AuditAction.REVOKE_CERTIFICATE, subject, refused)
            raise
        except StoreUnavailable as error:
            raise PkiUnavailable("the PKI's database is away") from error

    async def trust_anchors(self) -> TrustAnchors:
        return self._hierarchy.anchors

    async def check_signing(self) -> None:
        """Whether signatures are to be had just now. Raises PkiUnavailable.

        Not in the pool, where it would wait behind whatever waits for the signers.
        """
        try:
            await asyncio.to_thread(self._check_token)
        except SignerError as error:
            raise PkiUnavailable(str(error)) from error

    async def reconcile(self, *, public_key_sha256: str | None = None) -> int:
        """Gives up intents that nobody works on any more; how many. Their serials stay reserved,
        and a signature over them may exist that nobody has: the CRL may name them.

        Raises StoreUnavailable.
        """
        intents = await self._store.open_intents(opened_before=self._now() - self._patience)
        orphans = [i for i in intents if public_key_sha256 in {None, i.public_key_sha256}]
        for intent in orphans:
            await self._abandon(intent, "left open by a crash")
        return len(orphans)

    # --- the cycle --------------------------------------------------------------------------------

    async def _answer(
        self, ask: Ask, make_job: Callable[[], Awaitable[_Job]]
    ) -> tuple[_Job, IssuedCertificate]:
        """1 to 8 with every failure turned into one of the wire's two."""
        try:
            async with self._holders.setdefault(ask.holder, asyncio.Lock()), self._slots:
                job = await make_job()
                async with self._keys.setdefault(job.csr.public_key_sha256, asyncio.Lock()):
                    return job, await self._issue_or_repeat(job)
        except (CSRRejected, PkiRefused) as error:
            refused = PkiRefused(error.reason, error.detail)
        except LintFailed as error:
            log.critical("lint_failed", kind=ask.kind, findings=str(error))
            refused = PkiRefused(RefusalReason.LINT, str(error))
        except IssuanceBroken as error:
            log.critical("issuance_broken", kind=ask.kind, holder=ask.holder, detail=str(error))
            raise PkiUnavailable(
                "issuance is broken: what was signed is not what was meant"
            ) from error
        except (StoreUnavailable, SignerError, IssuerExpired, IntentClosed, AlreadyThere) as error:
            log.warning("issuance_unavailable", kind=ask.kind, error=type(error).__name__)
            raise PkiUnavailable(str(error)) from error
        await self._audit_refusal(AuditAction.ISSUE_CERTIFICATE, ask.holder, refused, ask=ask)
        raise refused

    async def _issue_or_repeat(self, job: _Job) -> IssuedCertificate:
        try:
            return await self._decide(job)
        except SerialTaken:
            raise
        except AlreadyThere:
            # Another process was faster, or a task that was cancelled after 4 left its intent
            # open; no task of ours works on this key now, since we hold its lock.
            await self.reconcile(public_key_sha256=job.csr.public_key_sha256)
            return await self._decide(job)

    async def _decide(self, job: _Job) -> IssuedCertificate:
        now = self._now()
        key = job.csr.public_key_sha256
        known = await self._store.what_is_known(
            request_id=job.ask.request_id, public_key_sha256=key
        )
        decision = decide(job.ask, public_key_sha256=key, known=known, now=now)  # 1
        if isinstance(decision, Refuse):
            raise PkiRefused(decision.reason, decision.detail)
        if isinstance(decision, Repeat):
            return self._wire(decision.certificate, job.ask, already_issued=True)
        certificate = await self._cycle(job, now)
        return self._wire(certificate, job.ask, already_issued=False)

    async def _cycle(self, job: _Job, now: datetime) -> StoredCertificate:
        self._check_available()  # before 3 and 4: an outage must not fill the books with intents
        issuer = self._hierarchy.issuer_for(job.ask.kind, job.csr.public_key)
        prepared, intent = await self._prepare(job, issuer, now)  # 2, 3, 4
        try:
            certificate = await self._in_thread(
                partial(issue, prepared, self._signers[IssuerName(issuer.name)])
            )  # 5, 6
        except (SignerError, IssuanceBroken) as error:
            await self._abandon(intent, type(error).__name__)
            raise
        stored = _stored(certificate, intent, common_name=job.request.common_name)
        await self._store.store_certificate(
            stored,
            audit=self._entry(
                AuditAction.ISSUE_CERTIFICATE,
                job.ask.holder,
                issuer=stored.issuer,
                serial=stored.serial,
                fingerprint=stored.fingerprint_sha256,
            ),
        )  # 7
        log.info("certificate_issued", kind=job.ask.kind, serial=stored.serial)
        return stored

    async def _prepare(
        self, job: _Job, issuer: Issuer, now: datetime
    ) -> tuple[PreparedCertificate, Intent]:
        """2, 3 and 4: what is stored is the hash of the very bytes that were linted."""
        profile = self._profiles.by_kind[job.ask.kind]
        for _ in range(_SERIAL_ATTEMPTS):
            serial = serial_from(self._random_bytes(SERIAL_OCTETS))
            prepared = await self._in_thread(
                partial(
                    prepare,
                    job.request,
                    profile,
                    issuer,
                    serial=serial,
                    now=now,
                    linter=self._linter,
                )
            )
            intent = Intent(
                ask=job.ask,
                issuer=issuer.name,
                serial=serial_hex(serial),
                public_key_sha256=job.csr.public_key_sha256,
                tbs_sha256=prepared.tbs_sha256,
                opened_at=now,
            )
            try:
                await self._store.open_intent(intent, audit=self._opening(intent))
            except SerialTaken:
                log.critical("serial_taken", issuer=issuer.name)
            else:
                return prepared, intent
        raise SerialTaken("no serial number is free: the random generator is broken")

    async def _abandon(self, intent: Intent, why: str) -> None:
        await self._store.abandon_intent(
            intent,
            audit=self._entry(
                AuditAction.ABANDON_INTENT,
                intent.ask.holder,
                issuer=intent.issuer,
                serial=intent.serial,
                why=why,
            ),
        )
        log.warning("intent_abandoned", issuer=intent.issuer, serial=intent.serial, why=why)

    # --- what is asked, checked -------------------------------------------------------------------

    async def _station_job(self, ask: Ask, request: StationCertificateRequest) -> _Job:
        serial_number = await self._store.serial_number_of(request.station_id)
        if serial_number is None:
            raise PkiRefused(RefusalReason.NOT_REGISTERED, "the station is not registered")
        csr = await self._verified(request.csr_pem)
        check_station_subject(csr, serial_number=serial_number, organization=self._organization)
        return self._job(ask, csr, common_name=serial_number)

    async def _server_job(self, ask: Ask, request: ServerCertificateRequest) -> _Job:
        if not 1 <= len(request.host_names) + len(request.ip_addresses) <= _MAX_NAMES:
            raise PkiRefused(RefusalReason.WRONG_SUBJECT, f"1 to {_MAX_NAMES} names")
        try:
            host_names = [parse_host_name(name) for name in request.host_names]
            addresses = [parse_ip_address(address) for address in request.ip_addresses]
        except NameInvalid as error:
            raise PkiRefused(RefusalReason.WRONG_SUBJECT, str(error)) from error
        if not host_names:
            raise PkiRefused(RefusalReason.WRONG_SUBJECT, "no host name for CN (A00.FR.510)")
        csr = await self._verified(request.csr_pem)
        check_own_subject(csr, common_name=host_names[0])
        job = self._job(ask, csr, common_name=host_names[0])
        return replace(
            job, request=replace(job.request, host_names=host_names, ip_addresses=addresses)
        )

    async def _caller_job(self, ask: Ask, request: CallerCertificateRequest) -> _Job:
        try:
            role = parse_caller_role(request.role)
        except NameInvalid as error:
            raise PkiRefused(RefusalReason.WRONG_SUBJECT, str(error)) from error
        csr = await self._verified(request.csr_pem)
        check_own_subject(csr, common_name=role)
        return self._job(ask, csr, common_name=role)

    def _job(self, ask: Ask, csr: VerifiedCSR, *, common_name: str) -> _Job:
        return _Job(
            ask=ask,
            csr=csr,
            request=IssuanceRequest(
                organization=self._organization,
                common_name=common_name,
                public_key=csr.public_key,
                locations=self._locations,
            ),
        )

    async def _verified(self, csr_pem: str) -> VerifiedCSR:
        policy, today = self._profiles.key_policy, self._now().date()
        return await self._in_thread(partial(verify_csr, csr_pem, policy=policy, today=today))

    # --- small parts ------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _audit_refusal(
        self, action: AuditAction, subject: str, refused: PkiRefused, *, ask: Ask | None = None
    ) -> None:
        log.info("request_refused", action=action, subject=subject, reason=refused.reason)
        entry = AuditEntry(
            at=self._now(),
            action=action,
            subject=subject,
            reason=refused.reason,
            details={"detail": refused.detail},
        )
        try:
            await self._store.refuse(ask, audit=entry)
        except StoreUnavailable as error:
            raise PkiUnavailable("the PKI's database is away") from error

    async def _certificate(self, issuer: str, serial: str) -> StoredCertificate:
        certificate = await self._store.find_certificate(issuer=issuer, serial=serial)
        if certificate is None:
            raise PkiRefused(RefusalReason.NOT_REGISTERED, "no such certificate")
        return certificate

    def _opening(self, intent: Intent) -> AuditEntry:
        return self._entry(
            AuditAction.OPEN_INTENT,
            intent.ask.holder,
            issuer=intent.issuer,
            serial=intent.serial,
            tbs=intent.tbs_sha256,
        )

    def _entry(self, action: AuditAction, subject: str, **details: str) -> AuditEntry:
        return AuditEntry(at=self._now(), action=action, subject=subject, details=details)

    def _wire(
        self, certificate: StoredCertificate, ask: Ask, *, already_issued: bool
    ) -> IssuedCertificate:
        leaf = _pem(certificate.der)
        issuer = self._issuer_pem[certificate.issuer]
        return IssuedCertificate(
            request_id=ask.request_id,
            kind=certificate.kind,
            serial=certificate.serial,
            fingerprint_sha256=certificate.fingerprint_sha256,
            public_key_sha256=certificate.public_key_sha256,
            issuer=certificate.issuer,
            subject_common_name=certificate.common_name,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            certificate_pem=leaf,
            chain_pem=leaf + issuer,
            already_issued=already_issued,
        )


def _ask(request_id: UUID, kind: CertificateKind, holder: str, *content: str) -> Ask:
    # JSON in ASCII: unambiguous, and total over str, lone surrogates included.
    digest = hashlib.sha256(json.dumps([kind, holder, *content]).encode("ascii")).hexdigest()
    return Ask(request_id=request_id, kind=kind, holder=holder, content_sha256=digest)


def _shown(text: str) -> str:
    """What a caller wrote, as it may stand in the books: PostgreSQL stores no NUL."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_SUBJECT])


def _stored(
    certificate: x509.Certificate, intent: Intent, *, common_name: str
) -> StoredCertificate:
    return StoredCertificate(
        request_id=intent.ask.request_id,
        kind=intent.ask.kind,
        holder=intent.ask.holder,
        issuer=intent.issuer,
        serial=intent.serial,
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        public_key_sha256=intent.public_key_sha256,
        common_name=common_name,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        der=certificate.public_bytes(serialization.Encoding.DER),
    )


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode("ascii").replace("\n", "")
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
