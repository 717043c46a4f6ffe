"""Security events, audit entries, operations, OAuth clients, answers of stations."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from csms.api.schemas.base import Answer, Body, Instant
from csms.domain.audit import AuditEntry
from csms.domain.security_event import SecurityEvent
from csms.ports.records import OAuthClient, Operation

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
Word = Annotated[str, Field(max_length=64)]


class SecurityEventAnswer(Answer):
    id: UUID
    station: str | None
    type: str
    critical: bool
    occurred_at: Instant
    received_at: Instant
    tech_info: str | None
    source: str

    @classmethod
    def of(cls, event: SecurityEvent, station: str | None) -> SecurityEventAnswer:
        return cls(
            id=event.id,
            station=station,
            type=event.type,
            critical=event.critical,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            tech_info=event.tech_info,
            source=event.source.value,
        )


class AuditEntryAnswer(Answer):
    index: int
    at: str  # to the microsecond: the hash is made over it
    actor: str
    action: str
    subject: str
    outcome: str
    reason: str | None
    details: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEntryAnswer:
        record = entry.record
        return cls(
            index=entry.index,
            at=record.at.isoformat().replace("+00:00", "Z"),
            actor=record.actor,
            action=record.action.value,
            subject=record.subject,
            outcome=record.outcome.value,
            reason=record.reason,
            details=dict(record.details),
            hash=entry.hash,
        )


class OperationAnswer(Answer):
    id: UUID
    kind: str
    station: str | None
    state: str
    progress: str
    result: dict[str, Any]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, operation: Operation, station: str | None) -> OperationAnswer:
        return cls(
            id=operation.id,
            kind=operation.kind,
            station=station,
            state=operation.state.value,
            progress=operation.progress,
            result=dict(operation.result),
            created_at=operation.created_at,
            updated_at=operation.updated_at,
        )


class NewClientBody(Body):
    """Roles, scopes, or both: what the client may ask for is their union."""

    name: Name
    roles: Annotated[list[Word], Field(max_length=8, default_factory=list)]
    scopes: Annotated[list[Word], Field(max_length=32, default_factory=list)]


class ClientAnswer(Answer):
    client_id: str
    name: str
    roles: list[str]
    scopes: list[str]
    created_at: Instant

    @classmethod
    def of(cls, client: OAuthClient) -> ClientAnswer:
        return cls(**_client(client))


class NewClientAnswer(ClientAnswer):
    """With the secret, once: a repeated request does not see it again."""

    client_secret: str | None = Field(default=None, repr=False)

    @classmethod
    def with_secret(cls, client: OAuthClient, secret: str | None) -> NewClientAnswer:
        return cls(**_client(client), client_secret=secret)


def _client(client: OAuthClient) -> dict[str, Any]:
    return {
        "client_id": client.client_id,
        "name": client.name,
        "roles": list(client.roles),
        "scopes": sorted(client.scopes),
        "created_at": client.created_at,
    }


class CommandAnswer(Answer):
    status: Literal["answered"] = "answered"
    response: dict[str, Any]  # the CALLRESULT's payload
