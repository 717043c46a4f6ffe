"""What an operation refuses, in words that no edge's protocol knows.

OperationError
├── NotFound   the thing is not there
├── Conflict   its state forbids the act
├── Invalid    the request breaks a rule; says where
└── Forbidden  the principal lacks a scope
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csms.domain.access import Scope


@dataclass(frozen=True, slots=True)
class Violation:
    pointer: str  # JSON pointer into the request
    message: str


class OperationError(Exception):
    pass


class NotFound(OperationError):
    def __init__(self, what: str) -> None:
        super().__init__(f"no such {what}")
        self.what = what


class Conflict(OperationError):
    pass


class Invalid(OperationError):
    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{v.pointer or '/'}: {v.message}" for v in violations))
        self.violations = tuple(violations)


class Forbidden(OperationError):
    def __init__(self, scope: Scope) -> None:
        super().__init__(f"needs the scope {scope.value}")
        self.scope = scope
