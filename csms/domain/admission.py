"""Admission of Charging Stations: security profiles 1-3 (OCPP 2.0.1 block A).

`decide` is the only place where a station is let in. It does no I/O: the gateway gathers the
facts, the store supplies the records, and the caller must audit the outcome before answering.
TLS has proved possession of the key and the chain to a station issuing CA; everything that binds
the certificate to one station is decided here, on every upgrade, resumed session or not
(decision 2).

The steps, in order:
 1  target      the request target is `/ocpp/{identity}` in its one exact form
 2  subprotocol at least one we speak (TC_B_58)
 3  credential  profiles 1, 2: user name, password; profile 3: the certificate record
 4  standing    blocked
 5  profile     not lower than the station ever reached (A00.FR.002, A05.FR.07)
The answer never tells which step failed (A06); the audit row does.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final, assert_never

from csms.domain.certificate import (
    ADMISSIBLE,
    CertificateRecord,
    CertificateStatus,
    CertificateUse,
)
from csms.domain.password import PasswordRecord, Peppers, matching_record
from csms.domain.station import (
    IdentityInvalid,
    SecurityProfile,
    Station,
    StationIdentity,
    parse_identity,
)

TARGET_PREFIX: Final = "/ocpp/"
# Preference is the station's (§3.1.2); which ones we speak is ours.
SUBPROTOCOLS: Final = ("ocpp2.0.1",)
# identifierString characters that a station may percent-encode (Part 4 §3.1.1).
_MAXIMUM_TARGET: Final = len(TARGET_PREFIX) + 48 * 3


class RefusalReason(StrEnum):
    """The failing check. Closed: audit, metrics, `station doctor` and tests use the same words."""

    TLS_HANDSHAKE = "tls_handshake"  # recorded by the acceptor; never reaches `decide`
    NETWORK = "network"  # profile 1 from outside its networks; never reaches `decide`
    HTTP = "http"  # not an acceptable HTTP upgrade request; never reaches `decide`
    BUSY = "busy"  # 503 before the identity is looked at; never reaches `decide`
    # Its source has failed too often (A09): asked nobody, and never reaches `decide`.
    TOO_MANY_FAILURES = "too_many_failures"
    TARGET = "target"
    SUBPROTOCOL = "subprotocol"
    CREDENTIALS_MISSING = "credentials_missing"
    CREDENTIALS_MALFORMED = "credentials_malformed"
    USER_NAME = "user_name"
    UNKNOWN_STATION = "unknown_station"
    PASSWORD = "password"  # noqa: S105 -- the name of a check
    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_UNKNOWN = "certificate_unknown"
    CERTIFICATE_OF_ANOTHER_STATION = "certificate_of_another_station"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_NOT_ADMISSIBLE = "certificate_not_admissible"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_IS_CA = "certificate_is_ca"
    CERTIFICATE_PURPOSE = "certificate_purpose"
    CERTIFICATE_COMMON_NAME = "certificate_common_name"
    CERTIFICATE_ORGANIZATION = "certificate_organization"
    BLOCKED = "blocked"
    PROFILE_TOO_LOW = "profile_too_low"


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """What the Authorization header said, split at the first colon (RFC 7617)."""

    user_name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MalformedCredentials:
    """There was an Authorization header, and it was no Basic credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedCertificate:
    """The leaf of the handshake, as it reads itself. Never trusted beyond the record's word."""

    fingerprint_sha256: str
    common_names: tuple[str, ...]
    organizations: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_ca: bool  # or carries what only a CA may
    may_authenticate: bool  # of version 3, and its keyUsage allows signing a handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFacts:
    """One HTTP upgrade request on one listener."""

    listener: SecurityProfile  # one port per profile (A00.FR.006): the port says which
    identity: StationIdentity | None  # None: the target is outside the grammar
    subprotocols: tuple[str, ...]
    basic: BasicCredentials | MalformedCredentials | None = None
    certificate: PresentedCertificate | None = None
    organization: str  # the CSO's name: O of every certificate (A00.FR.404)


@dataclass(frozen=True, slots=True)
class Admitted:
    station: Station
    profile: SecurityProfile
    subprotocol: str
    certificate: CertificateRecord | None = None
    # The password slot that opened the door: a pending one proves the change (A01.FR.03).
    password: PasswordRecord | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    status: HTTPStatus
    reason: RefusalReason


class _Refusal(Exception):
    def __init__(self, reason: RefusalReason) -> None:
        self.reason = reason


def identify(target: str) -> StationIdentity:
    """The identity in a request target, exactly `/ocpp/{identity}`, percent-decoded once.

    Raises IdentityInvalid for anything else: another path, a query, absolute-form, a trailing
    slash, an encoding that is not ASCII identifierString (A07).
    """
    if len(target) > _MAXIMUM_TARGET or not target.startswith(TARGET_PREFIX):
        raise IdentityInvalid("the target is not /ocpp/{identity}")
    return parse_identity(_percent_decoded(target.removeprefix(TARGET_PREFIX)))


def _percent_decoded(segment: str) -> str:
    head, *rest = segment.split("%")
    parts = [head]
    for part in rest:
        code, tail = part[:2], part[2:]
        if len(code) != 2 or any(c not in "0123456789abcdefABCDEF" for c in code):
            raise IdentityInvalid("a percent sign without two hexadecimal digits")
        parts += (chr(int(code, 16)), tail)
    return "".join(parts)


def decide(
    facts: HandshakeFacts,
    station: Station | None,
    certificate: CertificateRecord | None,
    *,
    now: datetime,
    peppers: Peppers,
) -> Admitted | Refused:
    """Let the station in, or say why not. `station` is the record of `facts.identity`;
    `certificate` the record of the presented leaf's fingerprint, whosever it is.
    """
    if facts.identity is None:
        return Refused(HTTPStatus.NOT_FOUND, RefusalReason.TARGET)
    subprotocol = next((p for p in facts.subprotocols if p in SUBPROTOCOLS), None)
    if subprotocol is None:
        return Refused(HTTPStatus.BAD_REQUEST, RefusalReason.SUBPROTOCOL)
    by_certificate = facts.listener is SecurityProfile.TLS_CERTIFICATE
    try:
        if by_certificate:
            known, record = _by_certificate(facts, station, certificate, now)
            slot = None
        else:
            known, slot = _by_password(facts, facts.identity, station, peppers)
            record = None
        _standing(known, facts.listener)
    except _Refusal as refusal:
        return _refused(refusal.reason, facts.listener)
    return Admitted(known, facts.listener, subprotocol, record, slot)


def spent(listener: SecurityProfile) -> Refused:
    """The source has failed too often: answered as any other refusal of that port (A06, A09)."""
    return _refused(RefusalReason.TOO_MANY_FAILURES, listener)


def gone(admitted: Admitted) -> Refused:
    """The station was deleted while it was being let in."""
    return _refused(RefusalReason.UNKNOWN_STATION, admitted.profile)


def reconsider(admitted: Admitted, station: Station | None) -> Refused | None:
    """Steps 4 and 5 again, on the station as it is while its session is being claimed: it may have
    been blocked or deleted since, or have reached a higher profile on another connection.
    """
    if station is None:
        return gone(admitted)
    try:
        _standing(station, admitted.profile)
    except _Refusal as refusal:
        return _refused(refusal.reason, admitted.profile)
    return None


def _refused(reason: RefusalReason, listener: SecurityProfile) -> Refused:
    """Uniform on the wire: 401 where a password is asked for, 403 where a certificate is."""
    by_certificate = listener is SecurityProfile.TLS_CERTIFICATE
    return Refused(HTTPStatus.FORBIDDEN if by_certificate else HTTPStatus.UNAUTHORIZED, reason)


def _by_password(
    facts: HandshakeFacts, identity: StationIdentity, station: Station | None, peppers: Peppers
) -> tuple[Station, PasswordRecord]:
    """A00.FR.204, 207, 304, 324: user name and password, compared in constant time; the password
    is hashed whatever failed before, so that failures cannot be told apart by their time (A08).
    """
    match facts.basic:
        case None:
            raise _Refusal(RefusalReason.CREDENTIALS_MISSING)
        case MalformedCredentials():
            raise _Refusal(RefusalReason.CREDENTIALS_MALFORMED)
        case BasicCredentials(user_name, password):
            # identifierString is case-insensitive (T8): the canonical forms are compared.
            # Bytes, for `str.lower` makes a k of the Kelvin sign, and identifierString is ASCII.
            same_user = hmac.compare_digest(user_name.encode().lower(), identity.encode())
            slot = matching_record(password, station.passwords if station else (), peppers)
        case unreachable:
            assert_never(unreachable)
    if not same_user:
        raise _Refusal(RefusalReason.USER_NAME)
    if station is None:
        raise _Refusal(RefusalReason.UNKNOWN_STATION)
    if slot is None:
        raise _Refusal(RefusalReason.PASSWORD)
    return station, slot


def _by_certificate(
    facts: HandshakeFacts,
    station: Station | None,
    record: CertificateRecord | None,
    now: datetime,
) -> tuple[Station, CertificateRecord]:
    presented = facts.certificate
    if presented is None:
        raise _Refusal(RefusalReason.CERTIFICATE_MISSING)
    # TLS has verified the chain; whether this very certificate is one of ours only the record says.
    if record is None or record.fingerprint_sha256 != presented.fingerprint_sha256:
        raise _Refusal(RefusalReason.CERTIFICATE_UNKNOWN)
    if station is None:
        raise _Refusal(RefusalReason.UNKNOWN_STATION)
    if record.station_id != station.id:
        raise _Refusal(RefusalReason.CERTIFICATE_OF_ANOTHER_STATION)
    _in_force(presented, record, now)
    _names(presented, station, facts.organization)
    return station, record


def _in_force(presented: PresentedCertificate, record: CertificateRecord, now: datetime) -> None:
    if record.status is CertificateStatus.REVOKED:
        raise _Refusal(RefusalReason.CERTIFICATE_REVOKED)
    if now >= min(record.not_after, presented.not_after):
        raise _Refusal(RefusalReason.CERTIFICATE_EXPIRED)
    if now < max(record.not_before, presented.not_before):
        raise _Refusal(RefusalReason.CERTIFICATE_NOT_YET_VALID)
    # A V2G certificate speaks for the station to vehicles, and not to us (B09).
    if record.status not in ADMISSIBLE or record.use is not CertificateUse.CHARGING_STATION:
        raise _Refusal(RefusalReason.CERTIFICATE_NOT_ADMISSIBLE)


def _names(presented: PresentedCertificate, station: Station, organization: str) -> None:
    """A00.FR.405: CN is this station's serial number, by equality and alone; A00.FR.404: O is the
    CSO's. We made the certificate so; a leaf that says otherwise is not to be explained away.
    """
    if presented.is_ca:  # M2: OpenSSL lets a CA certificate in as a client
        raise _Refusal(RefusalReason.CERTIFICATE_IS_CA)
    if not presented.may_authenticate:  # B08: OpenSSL takes keyAgreement and version 1 as well
        raise _Refusal(RefusalReason.CERTIFICATE_PURPOSE)
    if presented.common_names != (station.serial_number,):
        raise _Refusal(RefusalReason.CERTIFICATE_COMMON_NAME)
    if presented.organizations != (organization,):
        raise _Refusal(RefusalReason.CERTIFICATE_ORGANIZATION)


def _standing(station: Station, listener: SecurityProfile) -> None:
    if station.blocked:
        raise _Refusal(RefusalReason.BLOCKED)
    # A higher profile than registered is proved by its credential and becomes the station's own;
    # a lower one than ever reached is refused for good (A00.FR.002, A05.FR.07).
    if listener < station.lowest_admissible_profile:
        raise _Refusal(RefusalReason.PROFILE_TOO_LOW)
