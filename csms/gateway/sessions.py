"""The live sessions of this node: who is connected, who is closed, and by whose order.

The newest authenticated connection of a station wins, by the epoch the database gave it
(decision 6): it displaces the older one at once and waits for nobody, and only the very session
that registered can unregister. A session ends here when it is displaced, when an order to close it
comes over the bus (a hint) or out of the outbox (the truth, polled), and when its certificate's
time is up. An order that overtakes a connection still on its way in is applied when it registers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from csms.domain.station import SecurityProfile
from csms.ports.bus import SESSIONS_CLOSE, Bus, Json, Subscription
from csms.ports.clock import Clock
from csms.ports.store import Store, StoreError

log = structlog.get_logger()

POLL_SECONDS: Final = 1.0
POLICY_VIOLATION: Final = 1008
_POLL_LIMIT: Final = 500
EXPIRY_SECONDS: Final = 0.25  # P10: a certificate's end is a session's end, within a second
# Orders that may overtake a connection. A fleet that moves to another node gives one for each
# station; when even so many came while one connection was let in, it is sent away.
REMEMBERED: Final = 16_384
_TOO_MANY: Final = "too many orders, try again"


class LiveSession(Protocol):
    @property
    def station_id(self) -> UUID: ...
    @property
    def epoch(self) -> int: ...
    @property
    def profile(self) -> SecurityProfile: ...
    @property
    def certificate_id(self) -> UUID | None: ...
    @property
    def certificate_ends_at(self) -> datetime | None: ...
    @property
    def decided_at(self) -> float:
        """Monotonic time just before the records were read that let it in."""

    @property
    def outbox_seen(self) -> int:
        """The outbox's end at that moment: what stands there was taken into account."""

    def cut(self, code: int, reason: str) -> None:
        """Close at once; never waits, never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOrder:
    """Which sessions to close; None stands for any."""

    station_id: UUID | None
    certificate_id: UUID | None
    before_epoch: int | None
    reason: str
    below_profile: int | None = None

    def meets(self, session: LiveSession) -> bool:
        return (
            self.station_id in {None, session.station_id}
            and self.certificate_id in {None, session.certificate_id}
            and (self.before_epoch is None or session.epoch < self.before_epoch)
            and (self.below_profile is None or session.profile < self.below_profile)
        )


class OrderUnreadable(ValueError):
    """The message names no session; it is of no use to guess."""


def read_order(payload: Mapping[str, Any]) -> CloseOrder:
    """Raises OrderUnreadable: an order without a station or certificate would close everything."""
    try:
        station, certificate = payload.get("station_id"), payload.get("certificate_id")
        before, below = payload.get("before_epoch"), payload.get("below_profile")
        order = CloseOrder(
            station_id=None if station is None else UUID(str(station)),
            certificate_id=None if certificate is None else UUID(str(certificate)),
            before_epoch=None if before is None else int(before),
            below_profile=None if below is None else int(below),
            reason=str(payload.get("reason") or "closed by policy")[:100],
        )
    except (ValueError, TypeError) as error:
        raise OrderUnreadable("not a close order") from error
    if order.station_id is None and order.certificate_id is None:
        raise OrderUnreadable("names neither a station nor a certificate")
    return order


class Sessions:
    def __init__(self, *, store: Store, bus: Bus, clock: Clock, node: str) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._node = node
        self._live: dict[UUID, LiveSession] = {}
        # The newest epoch of each station that was ever here: one that was let in before it may
        # register only after it has come and gone.
        self._newest: dict[UUID, int] = {}
        self._hinted: deque[tuple[float, CloseOrder]] = deque(maxlen=REMEMBERED)
        self._polled: deque[tuple[float, CloseOrder]] = deque(maxlen=REMEMBERED)
        self._cursor = 0
        self._subscription: Subscription | None = None

    def __len__(self) -> int:
        return len(self._live)

    def of_station(self, station_id: UUID) -> LiveSession | None:
        return self._live.get(station_id)

    async def start(self) -> None:
        """A node that has just started holds nobody, whatever the database remembers (A05)."""
        async with self._store.writing() as work:
            await work.sessions.release_node(self._node)
            self._cursor = await work.outbox.last_sequence()
            await work.commit()
        self._subscription = await self._bus.subscribe(SESSIONS_CLOSE, self._on_order)

    async def stop(self) -> None:
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    def register(self, session: LiveSession) -> bool:
        """Take the station's place. False when the session is closed on the spot instead."""
        if self._newest.get(session.station_id, 0) > session.epoch:
            session.cut(POLICY_VIOLATION, "replaced")
            return False
        self._newest[session.station_id] = session.epoch
        older = self._live.get(session.station_id)
        if older is not None:
            # Even if the newer one is sent away below: the older has lost its epoch all the same.
            older.cut(POLICY_VIOLATION, "replaced")
            self.unregister(older)
        if reason := self._overtook(session):
            session.cut(POLICY_VIOLATION, reason)
            return False
        self._live[session.station_id] = session
        return True

    def unregister(self, session: LiveSession) -> bool:
        """Compare-and-delete (A03): a late close never removes a newer session."""
        if self._live.get(session.station_id) is not session:
            return False
        del self._live[session.station_id]
        return True

    def close_all(self, code: int, reason: str) -> None:
        for session in list(self._live.values()):
            session.cut(code, reason)

    async def poll(self) -> None:
        """Read the outbox for ever: a lost hint costs at most `POLL_SECONDS` (decision 7)."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.catch_up()
            except StoreError as error:
                log.warning("outbox_not_read", why=str(error))
            except Exception:  # the loop's outermost frame: a later order must still be obeyed
                log.exception("outbox_not_read")

    async def expire(self) -> None:
        """Close whose certificate has ended, for ever; apart from `poll`, which a database that
        hangs holds up for seconds.
        """
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            self._close_ended()

    async def catch_up(self) -> None:
        """Apply what the outbox holds beyond our cursor. Raises StoreError."""
        while True:
            async with self._store.reading() as work:
                events = await work.outbox.after(self._cursor, limit=_POLL_LIMIT)
            for event in events:
                self._cursor = event.sequence
                if event.topic == SESSIONS_CLOSE:
                    self._on_event(event.sequence, event.payload)
            if len(events) < _POLL_LIMIT:
                return

    def _on_event(self, sequence: int, payload: Mapping[str, Any]) -> None:
        try:
            order = read_order(payload)
        except OrderUnreadable:
            log.warning("close_order_unreadable", sequence=sequence)
            return
        self._polled.append((sequence, order))
        # A session that began after the order has taken it into account: a station that was cut
        # off by the hint and came back rightly is not cut off again.
        self._close(order, [s for s in self._found(order) if s.outbox_seen < sequence])

    async def _on_order(self, message: Json) -> Json:
        """A hint or a survey: close now, and say that it is done."""
        try:
            order = read_order(message)
        except OrderUnreadable:
            log.warning("close_order_unreadable")
            closed = 0
        else:
            self._hinted.append((self._clock.monotonic(), order))
            closed = self._close(order, self._found(order))
        return {"node": self._node, "closed": closed, "at": self._clock.now().isoformat()}

    def _found(self, order: CloseOrder) -> list[LiveSession]:
        if order.station_id is not None:
            session = self._live.get(order.station_id)
            return [session] if session is not None and order.meets(session) else []
        return [session for session in self._live.values() if order.meets(session)]

    def _close(self, order: CloseOrder, sessions: list[LiveSession]) -> int:
        for session in sessions:
            log.info("session_closed", station_id=str(session.station_id), reason=order.reason)
            session.cut(POLICY_VIOLATION, order.reason)
            self.unregister(session)
        return len(sessions)

    def _overtook(self, session: LiveSession) -> str | None:
        """The reason of an order that came while this session was being let in and found nobody;
        also when so many came that one for it may have been forgotten.
        """
        return _meeting(self._hinted, session.decided_at, session) or _meeting(
            self._polled, session.outbox_seen + 1, session
        )

    def _close_ended(self) -> None:
        """A certificate's end is the end of what it let in."""
        now = self._clock.now()
        for session in list(self._live.values()):
            if session.certificate_ends_at is not None and session.certificate_ends_at <= now:
                log.info("session_certificate_expired", station_id=str(session.station_id))
                session.cut(POLICY_VIOLATION, "certificate expired")


def _meeting(
    orders: deque[tuple[float, CloseOrder]], since: float, session: LiveSession
) -> str | None:
    """Newest first: of many orders the few since the decision count."""
    for at, order in reversed(orders):
        if at < since:
            return None
        if order.meets(session):
            return order.reason
    return _TOO_MANY if len(orders) == orders.maxlen else None
