"""Who was refused, on record: batched, bounded, off the accept path.

A refusal must not cost a transaction of its own, or refusing would be the denial of service.
Rows wait at most `FLUSH_SECONDS` and are written together; beyond `CAPACITY` they are counted
instead, and the count is recorded. While the database is away they wait.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

import structlog

from csms.domain.admission import RefusalReason
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.security_event import SecurityEvent
from csms.ports.clock import Clock
from csms.ports.records import ConnectionAttempt
from csms.ports.store import Store, StoreUnavailable

log = structlog.get_logger()

FLUSH_SECONDS: Final = 0.05
CAPACITY: Final = 1000
_RETRY_SECONDS: Final = 1.0
_BATCH: Final = 250  # rows of one transaction: a writer's lock is held for milliseconds

NOBODY: Final = "station:?"  # the actor of a refusal whose identity is not known


@dataclass(frozen=True, slots=True)
class _Refusal:
    attempt: ConnectionAttempt
    event: SecurityEvent | None


class AttemptLog:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: deque[_Refusal] = deque()
        self._uncounted: Counter[RefusalReason] = Counter()
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    def refused(self, attempt: ConnectionAttempt, event: SecurityEvent | None = None) -> None:
        """Record it, soon, and the security event it is. Never blocks, never raises."""
        reason = attempt.failing_check or RefusalReason.HTTP
        if len(self._waiting) >= CAPACITY:
            self.shed(reason)
            return
        self._waiting.append(_Refusal(attempt, event))
        self._something.set()

    def shed(self, reason: RefusalReason) -> None:
        """Count a refusal that is not worth a row of its own."""
        self._uncounted[reason] += 1
        self._something.set()

    async def run(self) -> None:
        """Write for ever; ends only by cancellation."""
        while True:
            await self._something.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except StoreUnavailable as error:
                log.warning("attempts_not_written", waiting=len(self._waiting), why=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def flush(self) -> None:
        """Write what waits now. Raises StoreUnavailable; nothing is lost then."""
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        self._something.clear()
        while self._waiting or self._uncounted:
            rows, counts = list(self._waiting)[:_BATCH], Counter(self._uncounted)
            try:
                await self._write(rows, counts)
            except StoreUnavailable:
                self._something.set()
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, the log must go on
                # Rows that cannot be written now never will be, and would stop all others.
                log.error("attempts_lost", count=len(rows), why=type(error).__name__)  # noqa: TRY400 -- the text may quote rows
            for _ in rows:
                self._waiting.popleft()
            self._uncounted -= counts

    async def _write(self, rows: list[_Refusal], counts: Counter[RefusalReason]) -> None:
        async with self._store.writing() as work:
            await work.connection_attempts.add_all([row.attempt for row in rows])
            for row in rows:
                await work.audit.add(audit_of(row.attempt))
                if row.event is not None:
                    await work.security_events.add(row.event)
            for reason, count in counts.items():
                await work.audit.add(self._summary(reason, count))
            await work.commit()

    def _summary(self, reason: RefusalReason, count: int) -> AuditRecord:
        return AuditRecord(
            at=self._clock.now(),
            actor=NOBODY,
            action=AuditAction.STATION_ADMIT,
            subject=NOBODY,
            outcome=Outcome.REFUSED,
            reason=reason.value,
            details={"count": count},
        )


def audit_of(attempt: ConnectionAttempt) -> AuditRecord:
    """The audit row of an attempt, admitted or not: the same facts, in the log's words."""
    actor = f"station:{attempt.identity}" if attempt.identity else NOBODY
    admitted = attempt.failing_check is None
    return AuditRecord(
        at=attempt.at,
        actor=actor,
        action=AuditAction.STATION_ADMIT,
        subject=actor,
        outcome=Outcome.SUCCESS if admitted else Outcome.REFUSED,
        reason=None if attempt.failing_check is None else attempt.failing_check.value,
        details={
            "peer": attempt.peer,
            "listener": attempt.listener,
            "tls_version": attempt.tls_version,
            "tls_cipher": attempt.tls_cipher,
            "certificate": attempt.certificate,
            "detail": attempt.detail,
        },
    )
