"""Parse several fields and report everything that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from csms.domain.station import RegistrationStatus, SecurityProfile
from csms.operations.errors import Invalid, Violation

Raw = TypeVar("Raw")
Value = TypeVar("Value")


class Checks:
    """Collects violations; `done` raises them."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def parse(self, pointer: str, parser: Callable[[Raw], Value], raw: Raw) -> Value | None:
        """The parsed value, or None with a violation noted; parsers raise ValueError."""
        try:
            return parser(raw)
        except ValueError as error:
            self._violations.append(Violation(pointer, str(error)))
            return None

    def refuse(self, pointer: str, message: str) -> None:
        self._violations.append(Violation(pointer, message))

    def done(self) -> None:
        """Raises Invalid with all that was noted."""
        if self._violations:
            raise Invalid(self._violations)


def security_profile(raw: int) -> SecurityProfile:
    try:
        return SecurityProfile(raw)
    except ValueError:
        raise ValueError("1, 2 or 3") from None


def registration_status(raw: str) -> RegistrationStatus:
    try:
        return RegistrationStatus(raw)
    except ValueError:
        raise ValueError("Accepted, Pending or Rejected") from None
