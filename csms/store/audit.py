"""The audit log: append-only by trigger, indexes without a gap, ascending in commit order.

Records wait in the unit of work and are written in its last moment before the commit. Indexes
come from the database (SQLite: the next rowid; PostgreSQL: a trigger under an advisory lock that
ends with the transaction), so the lock is held for one insert and one flush, not for the whole
unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from csms.domain.audit import (
    AuditAction,
    AuditEntry,
    AuditRecord,
    Outcome,
    Scalar,
    record_hash,
)
from csms.ports.store import Page
from csms.store import tables
from csms.store.column_types import storable
from csms.store.pages import MAXIMUM_LIMIT, reader
from csms.store.prepared import insertion
from csms.store.transaction import Transaction

_A = tables.audit_entries
_ADD: Final = insertion(
    _A, "at", "actor", "action", "subject", "outcome", "reason", "details", "hash"
)


class AuditRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._waiting: list[dict[str, Any]] = []

    async def add(self, record: AuditRecord) -> None:
        self._waiting.append(_values(_as_stored(record)))

    async def write_waiting(self) -> None:
        """The unit of work's last act before its commit."""
        rows, self._waiting = self._waiting, []
        await self._transaction.change_all(_ADD, rows)

    async def page(
        self, *, after_index: int | None, limit: int, action: str | None, subject: str | None
    ) -> Page[AuditEntry]:
        """`next` is the index to go on after, as decimal text."""
        limit = min(max(limit, 1), MAXIMUM_LIMIT)
        statement = select(_A).order_by(_A.c.entry_index).limit(limit + 1)
        if after_index is not None:
            statement = statement.where(_A.c.entry_index > after_index)
        if action is not None:
            statement = statement.where(_A.c.action == action)
        if subject is not None:
            statement = statement.where(_A.c.subject == subject)
        rows = await self._transaction.rows(statement)
        items = [entry for row in rows[:limit] if (entry := _readable(row)) is not None]
        return Page(items, str(rows[limit - 1].entry_index) if len(rows) > limit else None)


def _as_stored(record: AuditRecord) -> AuditRecord:
    """The record in words a column can hold: the hash must be of what can be read back."""
    return replace(
        record,
        actor=storable(record.actor),
        subject=storable(record.subject),
        reason=None if record.reason is None else storable(record.reason),
        details={storable(name): _scalar(value) for name, value in record.details.items()},
    )


def _scalar(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return storable(value)
    if value is None or isinstance(value, int):  # bool is an int
        return value
    raise TypeError("audit details are text, integers, booleans and null")


def _values(record: AuditRecord) -> dict[str, Any]:
    return {
        "at": record.at.isoformat(),
        "actor": record.actor,
        "action": record.action,
        "subject": record.subject,
        "outcome": record.outcome,
        "reason": record.reason,
        "details": dict(record.details),
        "hash": record_hash(record),
    }


def _entry_of(row: Mapping[str, Any]) -> AuditEntry:
    record = AuditRecord(
        at=datetime.fromisoformat(row["at"]),
        actor=row["actor"],
        action=AuditAction(row["action"]),
        subject=row["subject"],
        outcome=Outcome(row["outcome"]),
        reason=row["reason"],
        details=dict(row["details"]),
    )
    return AuditEntry(index=row["entry_index"], record=record, hash=row["hash"])


_readable: Final = reader("audit_entries", _entry_of)
