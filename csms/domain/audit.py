"""What we record of every security act: the words of the audit log.

An entry is written in the transaction of the act it records; refusals are recorded too
(decision 9). Details are flat and hold no secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Scalar = str | int | bool | None


class Outcome(StrEnum):
    SUCCESS = "success"
    REFUSED = "refused"
    FAILED = "failed"


class AuditAction(StrEnum):
    """Closed; `object.verb`. A test walks the list and asks for a test of each."""

    STATION_ADMIT = "station.admit"
    STATION_REGISTER = "station.register"
    STATION_CHANGE = "station.change"
    STATION_DELETE = "station.delete"
    STATION_BOOT = "station.boot"
    STATION_DISCONNECT = "station.disconnect"
    STATION_REPLACE_SESSION = "station.replace_session"
    STATION_RAISE_PROFILE = "station.raise_profile"
    STATION_PASSWORD_CHANGE = "station.password_change"  # noqa: S105 -- a name
    COMMAND_SEND = "command.send"
    CERTIFICATE_REQUEST = "certificate.request"
    CERTIFICATE_ISSUE = "certificate.issue"
    CERTIFICATE_DELIVER = "certificate.deliver"
    CERTIFICATE_ACTIVATE = "certificate.activate"
    CERTIFICATE_SUPERSEDE = "certificate.supersede"
    CERTIFICATE_REVOKE = "certificate.revoke"
    CERTIFICATE_RENEW = "certificate.renew"
    CLIENT_ADD = "client.add"
    CLIENT_REMOVE = "client.remove"
    TOKEN_ISSUE = "token.issue"  # noqa: S105 -- a name
    API_ACCESS = "api.access"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """What happened, before the log gave it a place."""

    at: datetime
    actor: str  # "station:cs001", "client:<id>", "role:worker"
    action: AuditAction
    subject: str  # "station:cs001", "certificate:<id>"
    outcome: Outcome
    reason: str | None = None  # a closed word: the failing check, the refusal
    details: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A record with its place in the log."""

    index: int
    record: AuditRecord
    hash: str  # hex SHA-256 of the canonical record; the Merkle leaf input of a later sealer


def record_hash(record: AuditRecord) -> str:
    """SHA-256 over the record as JSON with sorted keys and no blanks.

    Only strings, integers, booleans and null occur, for which this equals RFC 8785.
    """
    document = {
        "at": record.at.isoformat(),
        "actor": record.actor,
        "action": record.action.value,
        "subject": record.subject,
        "outcome": record.outcome.value,
        "reason": record.reason,
        "details": dict(record.details),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
