"""Stations and what became of their attempts to connect."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from csms.api.schemas.base import Answer, Body, Instant
from csms.operations.change_station import StationChanges
from csms.operations.register_station import NewStation
from csms.ports.records import ConnectionAttempt, StationOverview

Words = Annotated[str, Field(max_length=128)]
Groups = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)]


class NewStationBody(Body):
    identity: Words
    serial_number: Words
    security_profile: int
    groups: Groups = Field(default_factory=list)
    registration_status: Words = "Accepted"

    def new_station(self) -> NewStation:
        return NewStation(
            identity=self.identity,
            serial_number=self.serial_number,
            security_profile=self.security_profile,
            groups=tuple(self.groups),
            registration_status=self.registration_status,
        )


class StationChangesBody(Body):
    """What is left out stays as it is."""

    serial_number: Words | None = None
    security_profile: int | None = None
    minimum_security_profile: int | None = None
    blocked: bool | None = None
    groups: Groups | None = None
    registration_status: Words | None = None

    def changes(self) -> StationChanges:
        return StationChanges(
            serial_number=self.serial_number,
            security_profile=self.security_profile,
            minimum_security_profile=self.minimum_security_profile,
            blocked=self.blocked,
            groups=None if self.groups is None else tuple(self.groups),
            registration_status=self.registration_status,
        )


class StationAnswer(Answer):
    identity: str
    serial_number: str
    security_profile: int
    minimum_security_profile: int
    connected: bool
    node: str | None
    registration_status: str
    blocked: bool
    groups: list[str]
    last_seen_at: Instant | None

    @classmethod
    def of(cls, overview: StationOverview) -> StationAnswer:
        return cls(**_fields(overview))


class RegisteredAnswer(StationAnswer):
    """With the generated password, once: a repeated request does not see it again."""

    password: str | None = Field(default=None, repr=False)

    @classmethod
    def with_password(cls, overview: StationOverview, password: str | None) -> RegisteredAnswer:
        return cls(**_fields(overview), password=password)


def _fields(overview: StationOverview) -> dict[str, Any]:
    station, session = overview.station, overview.session
    return {
        "identity": station.registered_as,
        "serial_number": station.serial_number,
        "security_profile": int(station.security_profile),
        "minimum_security_profile": int(station.minimum_security_profile),
        "connected": session is not None,
        "node": session.node if session else None,
        "registration_status": station.registration_status.value,
        "blocked": station.blocked,
        "groups": list(station.groups),
        "last_seen_at": station.last_seen_at,
    }


class ConnectionAttemptAnswer(Answer):
    at: Instant
    peer: str
    listener: str
    outcome: str
    failing_check: str | None
    detail: str | None
    http_status: int | None
    tls_version: str | None
    tls_cipher: str | None
    certificate: str | None

    @classmethod
    def of(cls, attempt: ConnectionAttempt) -> ConnectionAttemptAnswer:
        return cls(
            at=attempt.at,
            peer=attempt.peer,
            listener=attempt.listener,
            outcome=attempt.outcome,
            failing_check=attempt.failing_check.value if attempt.failing_check else None,
            detail=attempt.detail,
            http_status=int(attempt.http_status) if attempt.http_status else None,
            tls_version=attempt.tls_version,
            tls_cipher=attempt.tls_cipher,
            certificate=attempt.certificate,
        )


class DisconnectedAnswer(Answer):
    disconnected: bool  # False: there was no session to close


class PasswordChangeAnswer(Answer):
    status: str  # the station's attributeStatus
