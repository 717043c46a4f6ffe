"""Who is speaking, and what a handler gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from csms.domain.certificate import CertificateRecord
from csms.domain.signing_budget import SigningBudget
from csms.domain.station import RegistrationStatus, SecurityProfile, Station
from csms.ports.clock import Randomness
from csms.ports.store import UnitOfWork


@dataclass(frozen=True, slots=True, kw_only=True)
class StationContext:
    """The admitted session a CALL came in on. Every id in the CALL is looked up with
    `station.id` (A13): a station can only ever touch its own.
    """

    station: Station
    epoch: int
    profile: SecurityProfile
    certificate: CertificateRecord | None
    now: datetime
    randomness: Randomness
    heartbeat_interval_seconds: int
    monotonic: float  # the same moment as `now`, by the clock that never steps
    signing_budget: SigningBudget

    @property
    def actor(self) -> str:
        return f"station:{self.station.identity}"

    @property
    def wire_time(self) -> datetime:
        """Now, as messages carry it: whole seconds (Part 2 §3.1 would rather have no fractions)."""
        return self.now.replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The CALLRESULT to send after the commit, and what the connection does then."""

    payload: msgspec.Struct
    booted: RegistrationStatus | None = None  # the boot gate's new state
    close: str | None = None  # close the socket (1008) with this reason after answering
    wake_jobs: bool = False  # there is work for the worker: hint the bus


CallHandler = Callable[[StationContext, Any, UnitOfWork], Awaitable[Answer]]
