"""When a station asks for a certificate, asks again, and gives up (A02.FR.17-20, field lessons 3).

One CSR is in flight at a time. After an Accepted without a certificate the CSR is repeated after
CertSigningWaitMinimum times 2^n, at most CertSigningRepeatTimes times; then only a TriggerMessage
helps. The cycle keeps times and counts; building and sending the CSR is the client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from station import device_model as dm

# Field lessons 2: EVerest looks every 12 hours and renews below 30 days.
RENEWAL_CHECK_PERIOD: Final = 12 * 3600.0
RENEWAL_DAYS: Final = 30


@dataclass(slots=True)
class SigningCycle:
    """`due_at` is the next moment to send a CSR, None when there is nothing to ask."""

    due_at: float | None = None
    repeats: int = 0
    triggered: bool = False
    csr: str | None = None

    def start(self, *, now: float, triggered: bool) -> None:
        self.due_at, self.repeats, self.triggered, self.csr = now, 0, triggered, None

    def accepted(self, *, now: float, model: dm.DeviceModel) -> None:
        """SignCertificate was Accepted: wait for CertificateSigned, then ask again."""
        if self.repeats >= model.integer(dm.SIGNING_REPEAT_TIMES):
            self.stop()
            return
        self.due_at = now + model.integer(dm.SIGNING_WAIT_MINIMUM) * 2**self.repeats
        self.repeats += 1

    def delay(self, *, now: float, seconds: float) -> None:
        """No answer to SignCertificate at all: try it later."""
        self.due_at = now + seconds

    def stop(self) -> None:
        """Answered, refused, or given up."""
        self.due_at, self.csr = None, None

    def is_due(self, now: float) -> bool:
        return self.due_at is not None and self.due_at <= now
