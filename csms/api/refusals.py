"""Refused accesses and refused acts in the audit log, without letting anybody write it full.

A source gets its first refusals of a minute recorded one by one; what comes after is counted, and
the count stands in that source's next record (A09). All strangers together have a bound, too, and
all clients have one of their own, so that strangers cannot hide what a client tries; what went
beyond such a bound is counted in the next record of anybody. The log gets a line for each record.
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
    recorded: int = 0
    unrecorded: int = 0  # since the last record

    def roll(self, now: float) -> None:
        if now - self.began >= WINDOW_SECONDS:
            self.began, self.recorded = now, 0


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
        now = clock.monotonic()
        self._all = {"source": _Window(began=now), "client": _Window(began=now)}

    async def record(self, refused: RefusedAccess) -> None:
        """A store that is away does not make a refusal anything else."""
        details = self._counted(refused.actor)
        if details is None:
            return
        log.info("access_refused", actor=refused.actor, route=refused.route, reason=refused.reason)
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
            self._lost(refused.actor, details)

    def _counted(self, actor: str) -> dict[str, Scalar] | None:
        """The details of the record to make; None when it is only counted."""
        mine, everybody = self._window(actor), self._of_all(actor)
        if mine.recorded >= RECORDS_PER_SOURCE:
            mine.unrecorded += 1
            return None
        if everybody.recorded >= RECORDS_IN_ALL:
            everybody.unrecorded += 1
            return None
        mine.recorded += 1
        everybody.recorded += 1
        details: dict[str, Scalar] = {}
        if mine.unrecorded:
            details["unrecorded_before"] = mine.unrecorded
        if everybody.unrecorded:
            details["unrecorded_of_others"] = everybody.unrecorded
        mine.unrecorded = everybody.unrecorded = 0
        return details

    def _lost(self, actor: str, details: dict[str, Scalar]) -> None:
        """The record did not come to be: it, and what it counted, is for the next one to tell."""
        self._window(actor).unrecorded += 1 + int(details.get("unrecorded_before") or 0)
        self._of_all(actor).unrecorded += int(details.get("unrecorded_of_others") or 0)

    def _window(self, actor: str) -> _Window:
        now = self._clock.monotonic()
        window = self._windows.pop(actor, None) or _Window(began=now)
        window.roll(now)
        self._windows[actor] = window
        if len(self._windows) > _REMEMBERED_SOURCES:
            forgotten, old = self._windows.popitem(last=False)
            self._of_all(forgotten).unrecorded += old.unrecorded
        return window

    def _of_all(self, actor: str) -> _Window:
        window = self._all["client" if actor.startswith("client:") else "source"]
        window.roll(self._clock.monotonic())
        return window
