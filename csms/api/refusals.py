"""Refused accesses in the audit log, without letting a stranger write it full.

A source gets its first refusals of a minute recorded one by one; what comes after is counted, and
the count stands in that source's first record of a later minute (A09). All sources together have
a bound, too.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import structlog

from csms.domain.audit import AuditAction, AuditRecord, Outcome, Scalar
from csms.ports.clock import Clock
from csms.ports.store import Store, StoreError

WINDOW_SECONDS: Final = 60.0
RECORDS_PER_SOURCE: Final = 5
RECORDS_IN_ALL: Final = 100
_REMEMBERED_SOURCES: Final = 1000

log = structlog.get_logger()


@dataclass(slots=True)
class _Window:
    began: float
    refusals: int = 0
    unrecorded_before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedAccess:
    actor: str  # "client:<id>", or "source:<address>" when nobody proved to be anybody
    route: str  # method and path template
    reason: str


class RefusalLog:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._all = _Window(began=clock.monotonic())

    async def record(self, refused: RefusedAccess) -> None:
        """A store that is away does not make a refusal anything else."""
        log.info("access_refused", actor=refused.actor, route=refused.route, reason=refused.reason)
        window = self._counted(refused.actor)
        if window is None:
            return
        details: dict[str, Scalar] = {}
        if window.unrecorded_before:
            details["unrecorded_before"] = window.unrecorded_before
            window.unrecorded_before = 0
        try:
            async with self._store.writing() as work:
                await work.audit.add(
                    AuditRecord(
                        at=self._clock.now(),
                        actor=refused.actor,
                        action=AuditAction.API_ACCESS,
                        subject=f"route:{refused.route}",
                        outcome=Outcome.REFUSED,
                        reason=refused.reason,
                        details=details,
                    )
                )
                await work.commit()
        except StoreError as error:
            log.error("refusal_not_recorded", error=type(error).__name__)  # noqa: TRY400 -- the type says it

    def _counted(self, source: str) -> _Window | None:
        """The source's window when this refusal is to be recorded."""
        now = self._clock.monotonic()
        if now - self._all.began >= WINDOW_SECONDS:
            self._all = _Window(began=now)
        window = self._windows.pop(source, None)
        if window is None:
            window = _Window(began=now)
        elif now - window.began >= WINDOW_SECONDS:
            unrecorded = window.unrecorded_before + max(0, window.refusals - RECORDS_PER_SOURCE)
            window = _Window(began=now, unrecorded_before=unrecorded)
        self._windows[source] = window
        if len(self._windows) > _REMEMBERED_SOURCES:
            self._windows.popitem(last=False)
        window.refusals += 1
        if window.refusals > RECORDS_PER_SOURCE or self._all.refusals >= RECORDS_IN_ALL:
            return None
        self._all.refusals += 1
        return window
