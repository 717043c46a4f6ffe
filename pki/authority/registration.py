"""Registration authority: may this be asked? Pure; facts in, decision out.

Subject rules compare with the registry, never with what the request says of itself (A00.FR.511,
C01). `decide` makes issuing idempotent by request id and by (holder, key): the same key of the
same station is the same certificate, somebody else's key is refused (C06, A02.FR.02).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pki.authority.records import Ask, Known, StoredCertificate
from pki.wire import CertificateKind, RefusalReason
from pki.x509.csr import CSRRejected, VerifiedCSR


@dataclass(frozen=True, slots=True)
class Issue:
    """Nothing speaks against a new certificate."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The answer exists already."""

    certificate: StoredCertificate


@dataclass(frozen=True, slots=True)
class Refuse:
    reason: RefusalReason
    detail: str


def check_station_subject(csr: VerifiedCSR, *, serial_number: str, organization: str) -> None:
    """Raises CSRRejected(WRONG_SUBJECT)."""
    # A00.FR.511: CN is the station's unique serial number, compared for equality.
    if csr.common_name != serial_number:
        raise CSRRejected(
            RefusalReason.WRONG_SUBJECT, "CN is not the station's serial number (A00.FR.511)"
        )
    # Absent, O is set by us (a public test suite's CSR has a CN only); different, it is refused.
    if csr.organization is not None and csr.organization != organization:
        raise CSRRejected(RefusalReason.WRONG_SUBJECT, "O is another organization (A00.FR.509)")


def check_own_subject(csr: VerifiedCSR, *, common_name: str) -> None:
    """For listeners and callers: a CN that stands in the request must be the one asked for."""
    if csr.common_name is not None and csr.common_name.lower() != common_name:
        raise CSRRejected(RefusalReason.WRONG_SUBJECT, "CN is not the name that was asked for")


def decide(  # noqa: PLR0911 -- guard by guard, each with its own reason
    ask: Ask, *, public_key_sha256: str, known: Known, now: datetime
) -> Issue | Repeat | Refuse:
    """Whether to issue, to repeat an earlier answer, or to refuse; `known` was read just now."""
    if known.request is not None and known.request != ask:
        return Refuse(RefusalReason.REQUEST_CONFLICT, "the request id was used for something else")
    if known.key_holder is not None and known.key_holder != ask.holder:
        return Refuse(RefusalReason.KEY_REUSED, "the public key belongs to somebody else")
    if known.key_blocked:
        return Refuse(RefusalReason.KEY_REUSED, "the public key is blocked")
    earlier = known.request_certificate
    if earlier is None and ask.kind is CertificateKind.STATION:
        # A station's new certificate is always a re-key (A02.FR.02), so its key has one
        # certificate. Listeners and callers may renew: new request id, same key.
        earlier = known.key_certificate
    if earlier is None:
        return Issue()
    if earlier.public_key_sha256 != public_key_sha256:
        return Refuse(RefusalReason.REQUEST_CONFLICT, "the request id was used for another key")
    if earlier.revoked_at is not None or earlier.not_after <= now:
        return Refuse(RefusalReason.KEY_REUSED, "the key's certificate is revoked or has expired")
    return Repeat(earlier)
