"""The outbox: what every node must hear, in the order it was committed.

A reader keeps only the last sequence it saw, so a sequence must never become visible after a
higher one. Rows therefore wait for the unit's last moment and are numbered under the order lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, func, select

from csms.ports.records import OutboxEvent
from csms.store import tables
from csms.store.pages import MAXIMUM_LIMIT, guarded
from csms.store.prepared import Prepared, insertion
from csms.store.transaction import ORDER_LOCK, Transaction

_X = tables.outbox
_ADD: Final = insertion(_X, "topic", "payload")
_LAST: Final = Prepared(select(func.coalesce(func.max(_X.c.sequence), 0)))
_AFTER: Final = Prepared(
    select(_X.c.sequence, _X.c.topic, _X.c.payload)
    .where(_X.c.sequence > bindparam("seen"))
    .order_by(_X.c.sequence)
    .limit(bindparam("most"))
)


class OutboxRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._waiting: list[dict[str, Any]] = []

    async def add(self, topic: str, payload: Mapping[str, Any]) -> None:
        self._waiting.append({"topic": topic, "payload": dict(payload)})

    async def write_waiting(self) -> None:
        """The unit of work's last act before its commit."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        if self._transaction.on_postgresql:
            await self._transaction.execute(select(func.pg_advisory_xact_lock(ORDER_LOCK)))
        for row in rows:  # one by one: a multi-row INSERT promises no order of its sequences
            await self._transaction.change(_ADD, **row)

    async def after(self, sequence: int, *, limit: int) -> Sequence[OutboxEvent]:
        most = min(max(limit, 1), MAXIMUM_LIMIT)
        rows = await self._transaction.fetch(_AFTER, seen=sequence, most=most)
        return [event for row in rows if (event := _readable(row)) is not None]

    async def last_sequence(self) -> int:
        row = await self._transaction.fetch_one(_LAST)
        return 0 if row is None else int(row[0])


def _event_of(values: Sequence[Any]) -> OutboxEvent:
    sequence, topic, payload = values
    return OutboxEvent(sequence=sequence, topic=topic, payload=dict(payload))


def _readable(values: Sequence[Any]) -> OutboxEvent | None:
    return guarded("outbox", _event_of, values)
