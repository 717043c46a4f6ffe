"""One WebSocket on the `websockets` engine, with the bounds it does not have.

Text and time limits are ours: a deadline for assembling one message (M17), a ping with a deadline,
and closing that waits for nobody: every way to the end is followed by `abort` at most
`ABORT_SECONDS` later (A04). Nothing here writes without bound or awaits the peer.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Final, cast

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request, Response
from websockets.protocol import Event, State
from websockets.server import ServerProtocol
from websockets.typing import StatusLike, Subprotocol

from csms.domain.admission import SUBPROTOCOLS
from csms.settings import GatewaySettings

ABORT_SECONDS: Final = 0.5
PONG_SECONDS: Final = 20.0
SEND_SECONDS: Final = 10.0  # D12: a station that does not read is not worth more
RECEIVE_QUEUE: Final = 16  # frames, then TCP back-pressure (D09)

# Of its own level, so that no configuration makes it log frames and Authorization headers.
_quiet = logging.getLogger("csms.gateway.websockets")
_quiet.setLevel(logging.CRITICAL)

# RFC 7692 is a SHALL (Part 4 §3.3) and a memory and bomb surface (T5): small windows, no context
# between messages; the size bound holds after inflation.
_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=11,
    client_max_window_bits=11,
    compress_settings={"memLevel": 4},
)


class _QuietProtocol(ServerProtocol):
    """The refusals that the library sends by itself, 414 and 431, say no more than ours: no date,
    and the status's own phrase (A06).
    """

    def reject(self, status: StatusLike, text: str) -> Response:
        del text
        response = super().reject(status, f"{HTTPStatus(status).phrase}\n")
        del response.headers["Date"]
        return response


class Serving:
    """What `ServerConnection.handshake` asks of its server."""

    def __init__(self) -> None:
        self.serving = True

    def is_serving(self) -> bool:
        return self.serving


class StationSocket(ServerConnection):
    def __init__(self, settings: GatewaySettings, serving: Serving, *, ping_jitter: float) -> None:
        protocol = _QuietProtocol(
            extensions=[_DEFLATE],
            subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
            # Admission decides about it; the station's order is the preference (§3.1.2).
            select_subprotocol=lambda _, offered: next(
                (name for name in offered if name in SUBPROTOCOLS), None
            ),
            max_size=settings.max_message_bytes,
            logger=_quiet,
        )
        super().__init__(
            protocol,
            cast("Server", serving),  # it is asked `is_serving` and nothing else
            ping_interval=None,
            close_timeout=ABORT_SECONDS,
            max_queue=RECEIVE_QUEUE,
        )
        self._assembly_seconds = settings.message_assembly_seconds
        self._ping_seconds = settings.ping_interval_seconds * (1 + ping_jitter)
        self._heard_at = self._pinged_at = self.loop.time()
        self._ended_a_frame = True  # with the bytes that came last
        self._assembly_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return self.protocol.state is State.OPEN

    async def request_received(self) -> Request | None:
        """The upgrade request, or None when the peer went or spoke no HTTP."""
        await asyncio.wait(
            [self.request_rcvd, self.connection_lost_waiter],
            return_when=asyncio.FIRST_COMPLETED,
        )
        return self.request

    def start_keepalive(self) -> None:
        self._ping_timer = self.loop.call_later(self._ping_seconds, self._ping)

    def send_text(self, text: str) -> None:
        """Write now, without waiting; `drained` is owed by whoever sends many."""
        if self.is_open:
            self.protocol.send_text(text.encode())
            self.send_data()

    async def drained(self) -> None:
        """Wait until the peer reads again; the connection ends first if it does not (D12)."""
        if self.paused:
            await self.drain()

    def cut(self, code: int, reason: str) -> None:
        """Close at once: the close frame goes out, and the socket goes whatever the peer does."""
        if self.is_open:
            self.protocol.send_close(code, reason)
            self.send_data()
        self._abort_soon()

    # asyncio and websockets callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not ServerConnection's: the acceptor owns the task that serves this connection.
        Connection.connection_made(self, transport)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        self._ended_a_frame = False
        super().data_received(data)
        if self.protocol.close_expected():
            self._abort_soon()
        elif self._mid_message():
            if self._assembly_timer is None:
                self._arm_assembly()
        elif self._assembly_timer is not None:
            self._disarm_assembly()

    def process_event(self, event: Event) -> None:
        self._ended_a_frame = True
        if isinstance(event, Frame) and event.fin and event.opcode in DATA_OPCODES:
            self._disarm_assembly()  # a message is whole; the next has its own deadline
        super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        timers = (self._assembly_timer, self._ping_timer, self._send_timer, self._abort_timer)
        for timer in timers:
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Who does not read is not read: pings would fill our memory with pongs (D12, D14)."""
        super().pause_writing()
        if not self.recv_messages.paused:
            self.transport.pause_reading()
        self._send_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        if not self.recv_messages.paused:
            self.transport.resume_reading()

    # Timers

    def _mid_message(self) -> bool:
        """The parser takes a frame's head out of the buffer field by field: an empty buffer is the
        end of a frame only if one has ended, or each field would have a deadline of its own.
        """
        return self.is_open and (
            self.protocol.current_size is not None
            or len(self.protocol.reader.buffer) > 0
            or not self._ended_a_frame
        )

    def _arm_assembly(self) -> None:
        self._assembly_timer = self.loop.call_later(self._assembly_seconds, self._too_slow)

    def _disarm_assembly(self) -> None:
        if self._assembly_timer is not None:
            self._assembly_timer.cancel()
            self._assembly_timer = None

    def _too_slow(self) -> None:
        self._assembly_timer = None
        if self.recv_messages.paused:  # we do not read: that is our slowness
            self._arm_assembly()
        else:
            self.cut(1008, "a message took too long")

    def _ping(self) -> None:
        """Any word of the station is as good as a pong; only silence is asked for one."""
        silent = self.loop.time() - self._heard_at
        if silent < self._ping_seconds:
            wait, then = self._ping_seconds - silent, self._ping
        else:
            self._pinged_at = self.loop.time()
            if self.is_open:
                self.protocol.send_ping(b"")
                self.send_data()
            wait, then = PONG_SECONDS, self._pong_due
        self._ping_timer = self.loop.call_later(wait, then)

    def _pong_due(self) -> None:
        if self._heard_at < self._pinged_at:
            self.transport.abort()
        else:
            self._ping()

    def _abort_soon(self) -> None:
        if self._abort_timer is None:
            self._abort_timer = self.loop.call_later(ABORT_SECONDS, self.transport.abort)
