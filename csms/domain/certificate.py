"""Certificates of Charging Stations as the CSMS sees them: states as one table.

`csms` owns the status (admission, revocation); `pki` owns intents, serials and the DER. A state
changes only through `next_status`; a pair that is not in the table is an error by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID


class CertificateUse(StrEnum):
    """OCPP CertificateSigningUseEnumType."""

    CHARGING_STATION = "ChargingStationCertificate"
    V2G = "V2GCertificate"


class CertificateStatus(StrEnum):
    SIGNED = "signed"  # exists at the CA, not yet sent
    DELIVERED = "delivered"  # sent; the answer is not known
    ACCEPTED = "accepted"  # the station said Accepted, which proves nothing before a handshake
    ACTIVE = "active"  # seen in a handshake
    SUPERSEDED = "superseded"  # its successor was seen in a handshake
    REJECTED = "rejected"  # the station refused it (A02.FR.07)
    ABANDONED = "abandoned"  # delivery came to its end without an answer
    REVOKED = "revoked"
    EXPIRED = "expired"


class CertificateEvent(StrEnum):
    SENT = "sent"
    NOT_SENT = "not_sent"  # it was about to be, for the first time, and nobody was there
    STATION_ACCEPTED = "station_accepted"
    STATION_REJECTED = "station_rejected"
    SEEN = "seen"
    SUCCESSOR_SEEN = "successor_seen"
    GIVEN_UP = "given_up"
    REVOKE = "revoke"
    EXPIRE = "expire"


class TransitionImpossible(Exception):
    """The event cannot happen to a certificate in that state."""


S, E = CertificateStatus, CertificateEvent
TRANSITIONS: Final[Mapping[tuple[CertificateStatus, CertificateEvent], CertificateStatus]] = (
    MappingProxyType(
        {
            (S.SIGNED, E.SENT): S.DELIVERED,
            (S.SIGNED, E.GIVEN_UP): S.ABANDONED,
            (S.DELIVERED, E.SENT): S.DELIVERED,
            (S.DELIVERED, E.NOT_SENT): S.SIGNED,
            (S.DELIVERED, E.STATION_ACCEPTED): S.ACCEPTED,
            (S.DELIVERED, E.STATION_REJECTED): S.REJECTED,
            # The Accepted may be lost: being seen proves more than being accepted.
            (S.DELIVERED, E.SEEN): S.ACTIVE,
            (S.DELIVERED, E.GIVEN_UP): S.ABANDONED,
            (S.ACCEPTED, E.SEEN): S.ACTIVE,
            # Let in while it was right to; by now the station may have nothing else.
            (S.REJECTED, E.SEEN): S.ACTIVE,
            (S.ABANDONED, E.SEEN): S.ACTIVE,
            # Overtaken on its way: the station threw that key away when it made the newer one.
            (S.SIGNED, E.SUCCESSOR_SEEN): S.SUPERSEDED,
            (S.DELIVERED, E.SUCCESSOR_SEEN): S.SUPERSEDED,
            # Accepted but never used, and a newer one was: it is of no use any more.
            (S.ACCEPTED, E.SUCCESSOR_SEEN): S.SUPERSEDED,
            (S.ACTIVE, E.SEEN): S.ACTIVE,
            (S.ACTIVE, E.SUCCESSOR_SEEN): S.SUPERSEDED,
            **{
                (status, E.REVOKE): S.REVOKED
                for status in S
                if status not in {S.REVOKED, S.EXPIRED}
            },
            **{
                (status, E.EXPIRE): S.EXPIRED
                for status in S
                if status not in {S.REVOKED, S.EXPIRED}
            },
        }
    )
)

# A02.FR.28, T14: from the moment it was sent until a successor is seen, the station may come
# with it. `signed` is not among them: nobody but us has it then.
ADMISSIBLE: Final = frozenset({S.DELIVERED, S.ACCEPTED, S.ACTIVE})
# What may be sent to its station, and sent again. The others are over: their keys want no second
# life, so that a CSR with such a key is refused rather than met with silence (A02.FR.02).
DELIVERABLE: Final = ADMISSIBLE | {S.SIGNED}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """One certificate we know; found by the fingerprint of what the station presented."""

    id: UUID
    station_id: UUID
    use: CertificateUse
    issuer: str
    serial: str
    fingerprint_sha256: str
    status: CertificateStatus
    not_before: datetime
    not_after: datetime
    certificate_pem: str
    chain_pem: str
    request_id: UUID | None = None
    created_at: datetime | None = None
    first_seen_at: datetime | None = None
    revoked_at: datetime | None = None
    revocation_reason: str | None = None


class RevocationReason(StrEnum):
    """RFC 5280 §5.3.1, as far as they fit a station's certificate."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


class RequestStatus(StrEnum):
    """A stored SignCertificate."""

    OPEN = "open"
    ISSUED = "issued"
    REFUSED = "refused"
    SUPERSEDED = "superseded"  # the station sent another CSR before this one was answered


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    id: UUID
    station_id: UUID
    use: CertificateUse
    # Echoed in CertificateSigned exactly as it came; None when the station left it out (A02.FR.14).
    certificate_type: str | None
    csr_pem: str
    csr_sha256: str
    status: RequestStatus
    received_at: datetime
    detail: str | None = None


def next_status(status: CertificateStatus, event: CertificateEvent) -> CertificateStatus:
    """Raises TransitionImpossible for a pair that is not in the table."""
    try:
        return TRANSITIONS[(status, event)]
    except KeyError:
        raise TransitionImpossible(f"{event} cannot happen to a {status} certificate") from None
