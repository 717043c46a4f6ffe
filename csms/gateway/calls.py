"""CALLs of ours on one session: asked for over the bus, answered by the station.

The reply is `{"payload": …}` or `{"error": {"kind", "code", "description"}}`; the other end of this
small language is `csms.adapters.station_link`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from csms.domain.boot import BootGate, NotToBeTold
from csms.ocpp.actions import Action
from csms.ocpp.errors import InvalidPayload, QueueFull, SessionClosed
from csms.ocpp.rpc import CallAnswered, CallFailed, FailureReason, RpcSession
from csms.ports.bus import Json
from csms.ports.clock import Clock, Randomness

_LONGEST_WAIT_SECONDS: Final = 600.0
_KINDS: Final = {
    FailureReason.TIMEOUT: "no_answer",
    FailureReason.CALL_ERROR: "station_error",
    FailureReason.INVALID_ANSWER: "invalid_answer",
    FailureReason.CANCELLED: "no_answer",
    FailureReason.CLOSED: "no_answer",
}
_NOT_SENT: Final[dict[type[Exception], str]] = {
    NotToBeTold: "not_allowed_now",
    InvalidPayload: "invalid_payload",
    QueueFull: "queue_full",
    SessionClosed: "not_connected",
}


class Calls:
    """The CALLs waiting for an answer; each ends exactly once, at the latest with the session."""

    def __init__(
        self,
        rpc: RpcSession,
        gate: BootGate,
        *,
        clock: Clock,
        randomness: Randomness,
        pump: Callable[[], None],
    ) -> None:
        self._rpc = rpc
        self._gate = gate
        self._clock = clock
        self._randomness = randomness
        self._pump = pump
        self._waiting: dict[str, asyncio.Future[CallAnswered | CallFailed]] = {}

    async def call(self, message: Json) -> Json:
        try:
            action, payload = Action(message["action"]), message["payload"]
            wait = min(float(message["timeout_seconds"]), _LONGEST_WAIT_SECONDS)
            outcome = await self._told(action, payload, wait)
        except tuple(_NOT_SENT) as error:
            return _error(_NOT_SENT[type(error)], str(error))
        except (KeyError, ValueError, TypeError, AttributeError):
            return _error("invalid_payload", "the request is none")
        return {"payload": outcome.json} if isinstance(outcome, CallAnswered) else _failed(outcome)

    def ended(self, outcome: CallAnswered | CallFailed) -> None:
        """The session says how a CALL ended."""
        waiter = self._waiting.pop(outcome.message_id, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(outcome)

    async def _told(self, action: Action, payload: Json, wait: float) -> CallAnswered | CallFailed:
        """Send it with the boot gate open for what it causes, and only for that."""
        opening = self._gate.tell(action, payload, now=self._clock.monotonic())
        try:
            outcome = await self._send(action, payload, wait)
        except BaseException:
            self._gate.withdraw(opening)
            raise
        if isinstance(outcome, CallAnswered):
            if outcome.json.get("status") != "Accepted":
                self._gate.refused(opening)
        elif outcome.why is FailureReason.CALL_ERROR:
            self._gate.refused(opening)
        return outcome

    async def _send(self, action: Action, payload: Json, wait: float) -> CallAnswered | CallFailed:
        message_id = str(self._randomness.uuid())  # unique over all connections (§4.1.4)
        waiter: asyncio.Future[CallAnswered | CallFailed]
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = waiter
        try:
            self._rpc.call(action, payload, message_id=message_id, now=self._clock.monotonic())
            self._pump()
            async with asyncio.timeout(wait):
                return await waiter
        except TimeoutError:
            # Nobody waits for it any more: what is still in the queue is not sent (A02: late acts
            # surprise people). What was sent stays outstanding; its answer finds no waiter.
            self._rpc.cancel(message_id)
            self._pump()
            return CallFailed(message_id, action, FailureReason.TIMEOUT)
        finally:
            self._waiting.pop(message_id, None)


def _failed(outcome: CallFailed) -> Json:
    error = outcome.error
    return _error(
        _KINDS[outcome.why],
        error.description if error else outcome.why.value,
        code=error.code.value if error else None,
    )


def _error(kind: str, description: str, *, code: str | None = None) -> Json:
    return {"error": {"kind": kind, "code": code, "description": description}}
