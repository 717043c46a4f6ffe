"""Who was refused, on record: batched, bounded, off the accept path.

A refusal must not cost a transaction of its own, or refusing would be the denial of service.
Rows wait at most `FLUSH_SECONDS` and are written together. What is not worth a row of its own, and
what is beyond `CAPACITY`, is counted: one row for each reason and window says how many there were,
and from how many sources (A09). While the database is away all of it waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from csms.domain.admission import RefusalReason
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.failure_budget import Source
from csms.domain.security_event import SecurityEvent
from csms.gateway.budget import source_of_peer
from csms.ports.clock import Clock
from csms.ports.records import ConnectionAttempt
from csms.ports.store import Store, StoreUnavailable

log = structlog.get_logger()

FLUSH_SECONDS: Final = 0.05
CAPACITY: Final = 1000
WINDOW_SECONDS: Final = 10.0
MAXIMUM_SOURCES: Final = 1024  # of one window; beyond, the row says so many, and there were more
_RETRY_SECONDS: Final = 1.0
_BATCH: Final = 250  # rows of one transaction: a writer's lock is held for milliseconds

NOBODY: Final = "station:?"  # the actor of a refusal whose identity is not known


@dataclass(frozen=True, slots=True)
class _Refusal:
    attempt: ConnectionAttempt
    event: SecurityEvent | None


@dataclass(slots=True)
class _Counted:
    count: int = 0
    sources: set[Source] = field(default_factory=set)

    def add(self, count: int, sources: Iterable[Source]) -> None:
        self.count += count
        for source in sources:
            if len(self.sources) < MAXIMUM_SOURCES:
                self.sources.add(source)


class AttemptLog:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: deque[_Refusal] = deque()
        self._counted: dict[RefusalReason, _Counted] = {}
        self._window: asyncio.TimerHandle | None = None
        self._window_over = False
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    def refused(self, attempt: ConnectionAttempt, event: SecurityEvent | None = None) -> None:
        """Record it, soon, and the security event it is. Never blocks, never raises."""
        reason = attempt.failing_check or RefusalReason.HTTP
        if len(self._waiting) >= CAPACITY:
            self.shed(reason, source_of_peer(attempt.peer))
            return
        self._waiting.append(_Refusal(attempt, event))
        self._something.set()

    def shed(self, reason: RefusalReason, source: Source) -> None:
        """Count a refusal that is not worth a row of its own. Never blocks, never raises."""
        self._counted.setdefault(reason, _Counted()).add(1, [source])
        if self._window is None:
            loop = asyncio.get_running_loop()
            self._window = loop.call_later(WINDOW_SECONDS, self._end_window)

    def _end_window(self) -> None:
        self._window_over = True
        self._something.set()

    async def run(self) -> None:
        """Write for ever; ends only by cancellation, which a transaction that has begun outlasts:
        `flush` waits for it, so that at the stop nothing is written twice or not at all.
        """
        while True:
            await self._something.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await asyncio.shield(self._write_due())
            except StoreUnavailable as error:
                self._something.set()
                log.warning("attempts_not_written", waiting=len(self._waiting), why=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _write_due(self) -> None:
        async with self._writing:
            await self._write_rows()
            if self._window_over:
                await self._write_counts()

    async def flush(self) -> None:
        """Write what waits now, and the counts of a window that has not ended. Raises
        StoreUnavailable; nothing is lost then.
        """
        async with self._writing:
            await self._write_rows()
            await self._write_counts()

    async def _write_rows(self) -> None:
        self._something.clear()
        while self._waiting:
            rows = list(self._waiting)[:_BATCH]
            try:
                await self._write(rows)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 -- whatever it is, the log must go on
                # Rows that cannot be written now never will be, and would stop all others.
                log.error("attempts_lost", count=len(rows), why=type(error).__name__)  # noqa: TRY400 -- the text may quote rows
            for _ in rows:
                self._waiting.popleft()

    async def _write(self, rows: list[_Refusal]) -> None:
        async with self._store.writing() as work:
            await work.connection_attempts.add_all([row.attempt for row in rows])
            for row in rows:
                await work.audit.add(audit_of(row.attempt))
                if row.event is not None:
                    await work.security_events.add(row.event)
            await work.commit()

    async def _write_counts(self) -> None:
        counted, self._counted = self._counted, {}
        if not counted:
            return
        self._close_window()  # what is counted from here on is the next one's
        try:
            async with self._store.writing() as work:
                for reason, counts in counted.items():
                    await work.audit.add(self._summary(reason, counts))
                await work.commit()
        except StoreUnavailable:
            for reason, counts in counted.items():
                self._counted.setdefault(reason, _Counted()).add(counts.count, counts.sources)
            self._window_over = True
            raise
        except Exception as error:  # noqa: BLE001 -- as above
            log.error("attempts_lost", count=len(counted), why=type(error).__name__)  # noqa: TRY400 -- as above

    def _close_window(self) -> None:
        self._window_over = False
        if self._window is not None:
            self._window.cancel()
            self._window = None

    def _summary(self, reason: RefusalReason, counted: _Counted) -> AuditRecord:
        return AuditRecord(
            at=self._clock.now(),
            actor=NOBODY,
            action=AuditAction.STATION_ADMIT,
            subject=NOBODY,
            outcome=Outcome.REFUSED,
            reason=reason.value,
            details={"count": counted.count, "sources": len(counted.sources)},
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
