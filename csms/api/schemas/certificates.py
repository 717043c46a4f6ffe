"""Certificates, the requests they came from, and their revocation."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from csms.api.schemas.base import Answer, Body, Instant
from csms.domain.certificate import CertificateRecord, CertificateRequest, RevocationReason


class CertificateAnswer(Answer):
    id: UUID
    serial: str
    fingerprint_sha256: str
    station: str | None  # None: its registration was deleted
    use: str
    status: str
    issuer: str
    not_before: Instant
    not_after: Instant
    first_seen_at: Instant | None
    revoked_at: Instant | None
    revocation_reason: str | None

    @classmethod
    def of(cls, record: CertificateRecord, station: str | None) -> CertificateAnswer:
        return cls(
            id=record.id,
            serial=record.serial,
            fingerprint_sha256=record.fingerprint_sha256,
            station=station,
            use=record.use.value,
            status=record.status.value,
            issuer=record.issuer,
            not_before=record.not_before,
            not_after=record.not_after,
            first_seen_at=record.first_seen_at,
            revoked_at=record.revoked_at,
            revocation_reason=record.revocation_reason,
        )


class CertificateRequestAnswer(Answer):
    id: UUID
    station: str | None
    use: str
    certificate_type: str | None
    csr_sha256: str
    status: str
    received_at: Instant
    detail: str | None

    @classmethod
    def of(cls, request: CertificateRequest, station: str | None) -> CertificateRequestAnswer:
        return cls(
            id=request.id,
            station=station,
            use=request.use.value,
            certificate_type=request.certificate_type,
            csr_sha256=request.csr_sha256,
            status=request.status.value,
            received_at=request.received_at,
            detail=request.detail,
        )


class RevocationBody(Body):
    # Not strict: JSON has no enumerations, so the word becomes one here.
    reason: Annotated[RevocationReason, Field(strict=False)]


class RevocationAnswer(Answer):
    certificate: CertificateAnswer
    nodes: list[dict[str, Any]]  # who closed the live session, and when
