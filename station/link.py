"""The RPC of one connection, from the station's side: our CALLs and their answers.

At most one CALL is outstanding (Part 4 §4.1.1); the next waits for an answer or the timeout. What
the CSMS calls is not handled here: `settle` only takes answers, and says whether they were asked
for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

from station.codec import Call, CallError, CallResult, Payload, encode


class CallFailed(Exception):
    """The CALL brought no CALLRESULT."""


class CallAnsweredWithError(CallFailed):
    """The CSMS answered with a CALLERROR."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code


class CallTimedOut(CallFailed):
    """No answer within the message timeout."""


class LinkClosed(CallFailed):
    """The connection ended before the answer."""


class Link:
    """One connection's outgoing CALLs."""

    __slots__ = ("_closed", "_lock", "_send", "_waiting")

    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._lock = asyncio.Lock()
        self._waiting: tuple[str, asyncio.Future[Payload]] | None = None
        self._closed = False

    async def call(
        self,
        action: str,
        payload: Payload,
        *,
        timeout: float,  # noqa: ASYNC109 - MessageTimeout of the device model, not a cancel scope
        on_sent: Callable[[str], None],
    ) -> Payload:
        """The CALLRESULT's payload, or `CallFailed`."""
        async with self._lock:
            if self._closed:
                raise LinkClosed("not connected")
            # Unique over every connection and process of this identity (Part 4 §4.1.4), so the
            # seeded generator must not make it.
            message_id = str(uuid4())
            future: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
            self._waiting = (message_id, future)
            try:
                on_sent(message_id)
                await self._send(encode(Call(message_id, action, payload)))
                async with asyncio.timeout(timeout):
                    return await future
            except TimeoutError:
                raise CallTimedOut(f"no answer to {action}") from None
            finally:
                self._waiting = None

    def settle(self, frame: CallResult | CallError) -> bool:
        """Hands an answer to whoever waits; False when nobody asked."""
        if self._waiting is None or self._waiting[0] != frame.message_id:
            return False
        future = self._waiting[1]
        if not future.done():
            if isinstance(frame, CallResult):
                future.set_result(frame.payload)
            else:
                future.set_exception(CallAnsweredWithError(frame.code, frame.description))
        return True

    def close(self) -> None:
        """The connection is gone; whoever waits learns it."""
        self._closed = True
        if self._waiting is not None and not self._waiting[1].done():
            self._waiting[1].set_exception(LinkClosed("connection lost"))
