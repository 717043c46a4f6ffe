"""Operations: jobs that somebody asked for and watches."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, update

from csms.domain.access import Scope
from csms.ports.records import Operation, OperationState
from csms.store import tables
from csms.store.pages import reader
from csms.store.transaction import Transaction

_O = tables.operations
_OPEN: Final = (OperationState.WAITING, OperationState.RUNNING)


class OperationRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, operation: Operation) -> None:
        await self._transaction.add(
            _O,
            {
                "id": operation.id,
                "kind": operation.kind,
                "station_id": operation.station_id,
                "state": operation.state,
                "progress": operation.progress,
                "created_at": operation.created_at,
                "updated_at": operation.updated_at,
                "scope": operation.scope,
                "result": dict(operation.result),
            },
        )

    async def by_id(self, operation_id: UUID) -> Operation | None:
        row = await self._transaction.first(select(_O).where(_O.c.id == operation_id))
        return None if row is None else _readable(row)

    async def open_of(self, station_id: UUID, kind: str) -> Operation | None:
        """The newest of that kind that has not ended."""
        statement = (
            select(_O)
            .where(_O.c.station_id == station_id, _O.c.kind == kind, _O.c.state.in_(_OPEN))
            .order_by(_O.c.created_at.desc(), _O.c.id)
            .limit(1)
        )
        row = await self._transaction.first(statement)
        return None if row is None else _readable(row)

    async def advance(
        self,
        operation_id: UUID,
        *,
        state: OperationState,
        progress: str,
        at: datetime,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Without a result the earlier one stays."""
        values: dict[str, Any] = {"state": state, "progress": progress, "updated_at": at}
        if result is not None:
            values["result"] = dict(result)
        await self._transaction.execute(update(_O).where(_O.c.id == operation_id).values(values))


def _operation_of(row: Mapping[str, Any]) -> Operation:
    return Operation(
        id=row["id"],
        kind=row["kind"],
        station_id=row["station_id"],
        state=OperationState(row["state"]),
        progress=row["progress"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        scope=Scope(row["scope"]),
        result=dict(row["result"]),
    )


_readable: Final = reader("operations", _operation_of)
