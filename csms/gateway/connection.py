"""One admitted connection: text in, blocks asked, text out.

1. CALLs are handled one at a time, in order; what a station sends meanwhile waits in bounded
   queues and then in its own TCP window. Who sends faster than the pace is read later (D09).
2. The boot gate first: before Accepted only BootNotification and what we triggered (A14).
3. A handler runs in one unit of work that is fenced by the session's epoch; the CALLRESULT is sent
   after the commit (decision 5). A handler's bug is InternalError, never the end of the session.
4. With the database away the socket is closed (1013) rather than answered with an error: a station
   queues while offline, and discards what was refused (E13.FR.04, T6).
5. Rules broken too often end the connection and leave a security event.
Payloads are never logged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast
from uuid import UUID

import structlog
from websockets.exceptions import ConnectionClosed

from csms.blocks.context import Answer, CallHandler, StationContext
from csms.blocks.dispatch import CALL_HANDLERS, STATELESS
from csms.domain.admission import Admitted
from csms.domain.boot import BootGate, gate_status
from csms.domain.message_pace import MessagePace
from csms.domain.security_event import CSMSEvent, EventSource, SecurityEvent
from csms.domain.signing_budget import SigningBudget
from csms.domain.station import SecurityProfile
from csms.domain.takeovers import Takeovers
from csms.gateway.calls import Calls
from csms.gateway.supervisor import place_of
from csms.gateway.websocket import StationSocket
from csms.ocpp.actions import Role
from csms.ocpp.errors import CallError, CallErrorCode, InvalidPayload, SessionClosed
from csms.ocpp.messages.base import Message
from csms.ocpp.rpc import (
    CallAnswered,
    CallFailed,
    CallReceived,
    ProtocolViolation,
    RpcSession,
    ViolationKind,
)
from csms.ports.bus import JOBS_WAKE, Bus, BusError, Json
from csms.ports.clock import Clock, Randomness
from csms.ports.store import Store, StoreUnavailable, Superseded, UnitOfWork
from csms.settings import GatewaySettings

log = structlog.get_logger()

VIOLATION_LIMIT: Final = 20
_NOT_OFFERED: Final = CallError(CallErrorCode.NOT_SUPPORTED, "The action is not offered here.")
_NOT_ACCEPTED: Final = CallError(
    CallErrorCode.SECURITY_ERROR, "The station has not been accepted; send BootNotification."
)
_OUR_FAULT: Final = CallError(CallErrorCode.INTERNAL_ERROR, "The message could not be processed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every connection of a gateway shares."""

    settings: GatewaySettings
    store: Store
    bus: Bus
    clock: Clock
    randomness: Randomness
    signing_budget: SigningBudget
    takeovers: Takeovers


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An admission with its place in the order of connections."""

    admitted: Admitted
    epoch: int
    decided_at: float
    outbox_seen: int


class StationConnection:
    def __init__(self, socket: StationSocket, claim: Claim, around: Surroundings) -> None:
        self._socket = socket
        self._claim = claim
        self._around = around
        self._rpc = RpcSession(
            Role.CSMS,
            call_timeout=around.settings.call_timeout_seconds,
            unwelcome=self._unwelcome,
        )
        station = claim.admitted.station
        self._gate = BootGate(gate_status(station.booted_as, station.registration_status))
        self._calls = Calls(
            self._rpc,
            self._gate,
            clock=around.clock,
            randomness=around.randomness,
            pump=self._pump,
        )
        self._pace = MessagePace(
            rate=around.settings.messages_per_second,
            burst=around.settings.messages_burst,
            now=around.clock.monotonic(),
        )
        self._received: deque[CallReceived] = deque()
        self._to_report: deque[CSMSEvent] = deque()
        self._reported: set[CSMSEvent] = set()
        self._timer: asyncio.TimerHandle | None = None

    # What the registry asks (csms.gateway.sessions.LiveSession)

    @property
    def station_id(self) -> UUID:
        return self._claim.admitted.station.id

    @property
    def epoch(self) -> int:
        return self._claim.epoch

    @property
    def profile(self) -> SecurityProfile:
        return self._claim.admitted.profile

    @property
    def certificate_id(self) -> UUID | None:
        certificate = self._claim.admitted.certificate
        return certificate.id if certificate else None

    @property
    def certificate_ends_at(self) -> datetime | None:
        certificate = self._claim.admitted.certificate
        return certificate.not_after if certificate else None

    @property
    def decided_at(self) -> float:
        return self._claim.decided_at

    @property
    def outbox_seen(self) -> int:
        return self._claim.outbox_seen

    def cut(self, code: int, reason: str) -> None:
        self._socket.cut(code, reason)
        self._rpc.close(self._around.clock.monotonic())
        self._pump()

    # What the bus asks

    async def call(self, message: Json) -> Json:
        return await self._calls.call(message)

    # The session itself

    async def run(self) -> None:
        """Serve until the connection ends, however it ends."""
        try:
            while self._socket.is_open:
                text = await self._socket.recv()
                if not isinstance(text, str):
                    self.cut(1003, "text frames only")
                    break
                if wait := self._pace.wait(self._around.clock.monotonic()):
                    await self._slow_down(wait)
                await self._take(text)
        except ConnectionClosed:
            pass
        finally:
            self._rpc.close(self._around.clock.monotonic())
            self._pump()
            if self._timer is not None:
                self._timer.cancel()

    async def _slow_down(self, seconds: float) -> None:
        """Not reading is the whole of it: the queue fills, then the station's TCP window."""
        if self._pace.slowed == 1:
            log.info("station_slowed", station_id=str(self.station_id))
        await asyncio.sleep(seconds)

    async def _take(self, text: str) -> None:
        self._rpc.receive_text(text, self._around.clock.monotonic())
        self._pump()
        while self._received and self._socket.is_open:
            await self._handle(self._received.popleft())
            self._pump()
        await self._report_violations()
        await self._socket.drained()

    def _pump(self) -> None:
        """Pass on what the RPC session says; synchronous, so that CALLs of ours need no task."""
        for event in self._rpc.events():
            match event:
                case CallReceived():
                    self._received.append(event)
                case CallAnswered() | CallFailed():
                    self._calls.ended(event)
                case ProtocolViolation():
                    self._note(event)
        for text in self._rpc.data_to_send():
            self._socket.send_text(text)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._rpc.next_timeout()
        if due is not None:
            delay = max(0.0, due - self._around.clock.monotonic())
            self._timer = self._socket.loop.call_later(delay, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        self._rpc.handle_timeout(self._around.clock.monotonic())
        self._pump()

    # CALLs of the station

    def _unwelcome(self, action: str) -> CallError | None:
        """B01.FR.10: also a message that breaks a schema, or is none of a station's."""
        now = self._around.clock.monotonic()
        return None if self._gate.may_come(action, now=now) else _NOT_ACCEPTED

    async def _handle(self, call: CallReceived) -> None:
        handler = CALL_HANDLERS.get(call.action)
        if not self._gate.let_pass(call.action, now=self._around.clock.monotonic()):
            self._refuse(call, _NOT_ACCEPTED)
        elif handler is None:
            self._refuse(call, _NOT_OFFERED)
        else:
            await self._answer(call, handler)

    async def _answer(self, call: CallReceived, handler: CallHandler) -> None:
        try:
            answer = await self._ask(call, handler)
        except Superseded:
            self.cut(1008, "replaced")
        except StoreUnavailable:
            log.warning("station_put_off", station_id=str(self.station_id), action=call.action)
            self.cut(1013, "try again later")
        except Exception as error:  # noqa: BLE001 -- a message's outermost frame: a bug costs one answer
            self._log_bug(call, error)
            self._refuse(call, _OUR_FAULT)
        else:
            self._reply(call, answer)
            await self._after(answer)

    async def _ask(self, call: CallReceived, handler: CallHandler) -> Answer:
        if call.action in STATELESS:
            # By contract a stateless handler does not touch its unit of work.
            return await handler(self._context(), call.payload, cast("UnitOfWork", None))
        async with self._around.store.writing() as work:
            await work.sessions.require(self.station_id, self.epoch)
            answer = await handler(self._context(), call.payload, work)
            await work.commit()
        return answer

    def _context(self) -> StationContext:
        admitted = self._claim.admitted
        return StationContext(
            station=admitted.station,
            epoch=self.epoch,
            profile=admitted.profile,
            certificate=admitted.certificate,
            now=self._around.clock.now(),
            randomness=self._around.randomness,
            heartbeat_interval_seconds=self._around.settings.heartbeat_interval_seconds,
            monotonic=self._around.clock.monotonic(),
            signing_budget=self._around.signing_budget,
        )

    def _reply(self, call: CallReceived, answer: Answer) -> None:
        try:
            self._rpc.reply(call, cast("Message", answer.payload))
        except SessionClosed:
            return  # cut while the handler worked; the commit stands, the station will ask again
        except InvalidPayload as error:
            self._log_bug(call, error)
            self._refuse(call, _OUR_FAULT)
            return
        if answer.booted is not None:
            self._gate.booted(answer.booted)
        self._pump()

    def _refuse(self, call: CallReceived, error: CallError) -> None:
        try:
            self._rpc.refuse(call, error)
        except SessionClosed:
            return
        self._pump()

    def _log_bug(self, call: CallReceived, error: Exception) -> None:
        log.error(
            "handler_failed",
            station_id=str(self.station_id),
            action=call.action.value,
            error=type(error).__name__,
            at=place_of(error),
        )

    async def _after(self, answer: Answer) -> None:
        if answer.wake_jobs:
            await hint_jobs(self._around.bus)
        if answer.close is not None:
            await self._socket.drained()
            self.cut(1008, answer.close)

    # Rules broken by the station

    def _note(self, violation: ProtocolViolation) -> None:
        if violation.kind is ViolationKind.MESSAGE_ID_REUSED:
            self._to_report.append(CSMSEvent.ATTEMPTED_REPLAY_ATTACKS)
        if self._rpc.violations >= VIOLATION_LIMIT:
            self._to_report.append(CSMSEvent.INVALID_MESSAGES)

    async def _report_violations(self) -> None:
        """Each kind once per session; too many end it."""
        while self._to_report:
            event = self._to_report.popleft()
            if event in self._reported:
                continue
            self._reported.add(event)
            log.warning("protocol_violation", station_id=str(self.station_id), kind=event.value)
            await self._store_event(event)
        if self._rpc.violations >= VIOLATION_LIMIT:
            self.cut(1008, "too many protocol violations")

    async def _store_event(self, event: CSMSEvent) -> None:
        now = self._around.clock.now()
        try:
            async with self._around.store.writing() as work:
                await work.security_events.add(
                    SecurityEvent(
                        id=self._around.randomness.uuid(),
                        station_id=self.station_id,
                        type=event,
                        occurred_at=now,
                        received_at=now,
                        tech_info=f"{self._rpc.violations} protocol violations",
                        source=EventSource.CSMS,
                    )
                )
                await work.commit()
        except StoreUnavailable:
            self.cut(1013, "try again later")


async def hint_jobs(bus: Bus) -> None:
    """Only a hint: without it the worker looks a little later."""
    try:
        await bus.publish(JOBS_WAKE, {})
    except BusError as error:
        log.warning("jobs_not_hinted", why=str(error))
