"""What a POST with an Idempotency-Key answered the first time, per client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select

from csms.ports.records import IdempotentAnswer
from csms.store import tables
from csms.store.pages import reader
from csms.store.transaction import Transaction

_I = tables.idempotency_keys


class IdempotencyKeyRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def find(self, client_id: str, key: str) -> IdempotentAnswer | None:
        statement = select(_I).where(_I.c.client_id == client_id, _I.c.key == key)
        row = await self._transaction.first(statement)
        return None if row is None else _readable(row)

    async def keep(
        self, client_id: str, key: str, answer: IdempotentAnswer, *, at: datetime
    ) -> None:
        await self._transaction.add(
            _I,
            {
                "client_id": client_id,
                "key": key,
                "request_sha256": answer.request_sha256,
                "status": answer.status,
                "body": dict(answer.body),
                "at": at,
            },
        )


def _answer_of(row: Mapping[str, Any]) -> IdempotentAnswer:
    return IdempotentAnswer(
        request_sha256=row["request_sha256"], status=row["status"], body=dict(row["body"])
    )


_readable: Final = reader("idempotency_keys", _answer_of)
