"""What a handler wants done after its answer has left: values, carried out by the client.

OCPP acknowledges first and acts afterwards (FR.05); keeping the acts as values keeps that order
in one place and lets handlers be tested without a socket.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from station.codec import ErrorCode, Payload


class Milestone(StrEnum):
    """What `ChargingStation.wait_for` can wait for."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REFUSED = "refused"
    BOOT_ACCEPTED = "boot_accepted"
    BOOT_PENDING = "boot_pending"
    BOOT_REJECTED = "boot_rejected"
    HEARTBEAT = "heartbeat"
    CSR_SENT = "csr_sent"
    CSR_REJECTED = "csr_rejected"
    CERTIFICATE_INSTALLED = "certificate_installed"
    CERTIFICATE_REJECTED = "certificate_rejected"
    CERTIFICATE_DISCARDED = "certificate_discarded"
    ENROLLED = "enrolled"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a milestone, no password
    RESET = "reset"
    ROOT_INSTALLED = "root_installed"


@dataclass(frozen=True, slots=True)
class Send:
    """A CALL to make. `triggered` ones pass while Pending, `durable` ones outlive a connection."""

    action: str
    payload: Payload
    triggered: bool = False
    durable: bool = False


@dataclass(frozen=True, slots=True)
class BootAgain:
    """Send BootNotification now."""


@dataclass(frozen=True, slots=True)
class AskForCertificate:
    """Start a signing cycle."""


@dataclass(frozen=True, slots=True)
class CertificateArrived:
    """The signing cycle is over."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Leave this connection and come back at once; `boot` when the station restarts."""

    boot: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A milestone, with facts for the history."""

    milestone: Milestone
    facts: dict[str, str] = field(default_factory=dict)


Effect = Send | BootAgain | AskForCertificate | CertificateArrived | Reconnect | Reached


@dataclass(frozen=True, slots=True)
class Reaction:
    """The answer's payload and what follows it."""

    answer: Payload
    then: tuple[Effect, ...] = ()


class CallRefused(Exception):
    """The CALL is answered with a CALLERROR."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


def accepted(*then: Effect) -> Reaction:
    return Reaction({"status": "Accepted"}, then)


def status(word: str, *then: Effect, reason: str | None = None) -> Reaction:
    """A status answer, with a reasonCode (≤ 20 characters in the schema) when there is one."""
    answer: Payload = {"status": word}
    if reason is not None:
        answer["statusInfo"] = {"reasonCode": reason[:20]}
    return Reaction(answer, then)
