"""What callers and the PKI say to each other: requests, answers, refusals.

These are the only PKI types besides `pki.x509` that `csms` may import. They cross a process
boundary (JSON over mutual TLS) when the PKI runs as a role of its own, and are handed over as
they are inside `csms up`. Times are aware UTC; serials are lower-case hexadecimal without leading
zeros, as OCPP's CertificateHashData carries them (A00.FR.508).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

import msgspec


class RefusalReason(StrEnum):
    """Why the authority does not issue. Closed: audit, metrics and tests use the same words."""

    MALFORMED = "malformed"  # not one PKCS#10 request in PEM (RFC 2986)
    TOO_LARGE = "too_large"  # over the field limit of 5500 characters
    PROOF_OF_POSSESSION = "proof_of_possession"  # the request is not signed by its own key
    WEAK_KEY = "weak_key"  # A00.FR.501-504 and the key policy
    WRONG_SUBJECT = "wrong_subject"  # CN is not the registered serial (A00.FR.511), or O differs
    KEY_REUSED = "key_reused"  # the public key belongs to another station, or is blocked
    NOT_REGISTERED = "not_registered"  # the station or its serial number is unknown here
    REQUEST_CONFLICT = "request_conflict"  # the request id was used for something else
    LINT = "lint"  # the certificate we would make breaks a rule: ours to mend


class CertificateKind(StrEnum):
    """Which certificate profile is meant; names of policies/certificate-profiles.toml."""

    STATION = "station"  # ChargingStationCertificate
    SERVER = "server"  # CSMS listener: OCPP, API
    CALLER = "caller"  # a role of ours that calls the PKI


class StationRegistration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Binds a station to the only common name it can ever be certified for."""

    station_id: UUID
    serial_number: str


class StationCertificateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stored SignCertificate (A02/A03); `request_id` is that row's id: asking twice is safe."""

    request_id: UUID
    station_id: UUID
    csr_pem: str


class ServerCertificateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listener's certificate for a key that never leaves the asking process (A00.FR.510, 701)."""

    request_id: UUID
    host_names: list[str]  # the first is the FQDN that becomes CN
    ip_addresses: list[str]
    csr_pem: str


class CallerCertificateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client certificate by which one of our roles calls the PKI; CN is the role's name."""

    request_id: UUID
    role: str
    csr_pem: str


class IssuedCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate that exists: signed, read back, compared, stored and audited."""

    request_id: UUID
    kind: CertificateKind
    serial: str
    fingerprint_sha256: str  # lower-case hex over the DER
    public_key_sha256: str  # lower-case hex over the SubjectPublicKeyInfo
    issuer: str  # name of the issuing CA, as in the hierarchy: "stations", "servers"
    subject_common_name: str
    not_before: datetime
    not_after: datetime
    certificate_pem: str
    chain_pem: str  # leaf, then issuing CA; stations have the root (A02)
    already_issued: bool  # True: this answer repeats an earlier one, nothing was signed now


class Anomaly(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something in a CSR that was ignored on purpose and should be looked at (decision 1)."""

    what: str  # "requested_extension", "requested_ca", "requested_san", "extra_rdn"
    detail: str


class StationCertificateAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    issued: IssuedCertificate
    anomalies: list[Anomaly] = []


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Revocation of one certificate by (issuer, serial): RFC 5280 §5.3.1 reason names."""

    issuer: str
    serial: str
    reason: str
    revoked_at: datetime


class TrustAnchors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Public certificates of the hierarchy, PEM."""

    root_pem: str
    station_issuers_pem: list[str]  # all that station certificates may chain to (decision 3)
    server_issuers_pem: list[str]
    caller_issuers_pem: list[str] = []  # roles of ours that call the PKI
    rsa_root_pem: str = ""  # of the listeners' second chain; empty but for certification runs

    @property
    def roots_pem(self) -> str:
        """Whom stations and clients need to trust to know our listeners."""
        return self.root_pem + self.rsa_root_pem


class PkiError(Exception):
    """Base of what the PKI port raises.

    PkiError
    ├── PkiRefused      the request is wrong: asking again changes nothing
    └── PkiUnavailable  Vault, the database or the network is away: ask again later
    """


class PkiRefused(PkiError):
    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class PkiUnavailable(PkiError):
    pass


class PkiService(Protocol):
    """The port: implemented by the authority in-process and by the client over mutual TLS.

    Every method is idempotent by the id it is given, and raises only PkiError.
    """

    async def register_station(self, registration: StationRegistration) -> None: ...

    async def issue_station_certificate(
        self, request: StationCertificateRequest
    ) -> StationCertificateAnswer: ...

    async def issue_server_certificate(
        self, request: ServerCertificateRequest
    ) -> IssuedCertificate: ...

    async def revoke(self, revocation: Revocation) -> None: ...

    async def trust_anchors(self) -> TrustAnchors: ...
