"""The acceptor: from a TCP connection to an HTTP request, one listener per security profile.

`websockets.serve` and `asyncio.start_server` keep TLS refusals to themselves; here every one is
recorded with OpenSSL's reason. The steps, each with its deadline:

1. accept; when descriptors run out, pause and resume
2. the source: within the budgets of failures (A09) and of strangers (D10, D11), and in the networks
   of profile 1
3. wait for the first TLS record: who is silent, or never ends its ClientHello, costs a few KiB and
   no turn at the gate, not a TLS buffer (M12)
4. the handshake gate: few at once keep the delay of those who are connected small
5. TLS
6. the HTTP request
7. the caller's: the door, and the session
Nothing a peer does raises out of here.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

import structlog

from csms.domain.admission import RefusalReason
from csms.domain.failure_budget import FailureBudget, Source
from csms.domain.station import SecurityProfile
from csms.gateway.attempts import AttemptLog
from csms.gateway.budget import Stay, StrangerBudget
from csms.gateway.supervisor import Supervisor
from csms.gateway.visitor import Visitor, after_handshake
from csms.gateway.websocket import ABORT_SECONDS, StationSocket
from csms.ports.clock import Clock

log = structlog.get_logger()

PAUSE_SECONDS: Final = 0.1
BACKLOG: Final = 1024
# A handshake is milliseconds of our work and round trips of theirs: a slot is held for the work
# only, or sixteen slow peers would close the door for everybody.
SLOT_SECONDS: Final = 0.05
_TLS_HANDSHAKE: Final = b"\x16"  # the content type of a ClientHello's record
_RECORD_HEAD: Final = 5
_RECORD_MAXIMUM: Final = 1 << 14
# What fails before our ServerHello, while alerts are in plain, and RFC 8446 §6.2's word for it.
_ALERTS: Final = {
    "UNSUPPORTED_PROTOCOL": 70,  # protocol_version (A00.FR.315, 418)
    "VERSION_TOO_LOW": 70,
    "NO_SHARED_CIPHER": 40,  # handshake_failure (A00.FR.322, 425)
    "INAPPROPRIATE_FALLBACK": 86,  # RFC 7507
}
_FATAL_ALERT: Final = bytes([21, 3, 1, 0, 2, 2])  # a record of TLS 1.0, which every version reads
_PEER_GONE: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET})

Welcome = Callable[[StationSocket, Visitor, Callable[[], None]], Awaitable[None]]


class HandshakeGate:
    """At most so many TLS handshakes begin at once; whoever is slow does not hold up the others.

    Sources that wait take turns, however many wait from each: a thousand handshakes that never go
    on, from a few addresses, delay another address by one turn of each (D10).
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: OrderedDict[Source, deque[asyncio.Future[None]]] = OrderedDict()

    async def enter(self, source: Source) -> Callable[[], None]:
        """Wait for a slot; the returned function gives it back, if time has not done so before."""
        if self._free:
            self._free -= 1
        else:
            await self._turn(source)
        held = True

        def leave() -> None:
            nonlocal held
            if held:
                held = False
                timer.cancel()
                self._release()

        timer = asyncio.get_running_loop().call_later(SLOT_SECONDS, leave)
        return leave

    async def _turn(self, source: Source) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the slot came at the same moment: somebody else's, then
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            source, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            if turns:
                self._waiting.move_to_end(source)
            else:
                del self._waiting[source]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What the listeners of a gateway share."""

    budget: StrangerBudget
    failures: FailureBudget
    gate: HandshakeGate
    attempts: AttemptLog
    supervisor: Supervisor
    clock: Clock
    descriptor_ceiling: int  # no room for a stranger from here on (P50)
    timeout_seconds: float  # of each step (D10)
    make_socket: Callable[[], StationSocket]
    welcome: Welcome


class Farewell:
    """The alert that the event loop does not send: it closes a failed handshake before OpenSSL's
    alert leaves its buffer, and the station would not know a refusal from a broken network. A
    second descriptor outlives that close by one record.
    """

    def __init__(self, sock: socket.socket, *, wanted: bool) -> None:
        self._socket: socket.socket | None = None
        if wanted:
            with suppress(OSError):  # no descriptor is left: then without
                self._socket = sock.dup()

    def say(self, reason: str) -> None:
        description = _ALERTS.get(reason)
        if self._socket is not None and description is not None:
            with suppress(OSError):
                self._socket.send(_FATAL_ALERT + bytes([description]))

    def end(self) -> None:
        if self._socket is not None:
            self._socket.close()


class Listener:
    def __init__(
        self,
        profile: SecurityProfile,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        shared: Acceptance,
        *,
        networks: Sequence[IPv4Network | IPv6Network] = (),
    ) -> None:
        self._profile = profile
        self._socket = sock
        self._context = context
        self._shared = shared
        self._networks = networks

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def close(self) -> None:
        self._socket.close()

    async def run(self) -> None:
        """Accept for ever; ends only by cancellation."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._socket)
            except OSError as error:
                # 1: no descriptor is left for this one, or the peer has gone already.
                if error.errno not in _PEER_GONE:
                    log.warning("accept_paused", why=errno.errorcode.get(error.errno or 0))
                    await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._accepted(sock, address)

    def _accepted(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        visitor = Visitor(listener=self._profile, host=address[0], port=address[1])
        # 2
        source, now = visitor.source, self._shared.clock.monotonic()
        if self._shared.failures.is_shut(source, now=now):
            self._shared.attempts.shed(RefusalReason.TOO_MANY_FAILURES, source)
            sock.close()
        elif self._context is None and not any(source in network for network in self._networks):
            self._refused(visitor, RefusalReason.NETWORK, None)
            sock.close()
        elif (stay := self._shared.budget.take(source, crowded=self._is_crowded(sock))) is None:
            self._shared.attempts.shed(RefusalReason.BUSY, source)
            sock.close()
        else:
            visit = self._shared.supervisor.start(self._visit(sock, visitor, stay))
            stay.displaced = partial(self._displaced, visit, source)

    def _is_crowded(self, sock: socket.socket) -> bool:
        """A new descriptor is the lowest that was free: its number says how many are in use."""
        return sock.fileno() >= self._shared.descriptor_ceiling

    def _displaced(self, visit: asyncio.Task[None], source: Source) -> None:
        self._shared.attempts.shed(RefusalReason.BUSY, source)
        visit.cancel()

    async def _visit(self, sock: socket.socket, visitor: Visitor, stay: Stay) -> None:
        try:
            station_socket = await self._connected(sock, visitor)
            if station_socket is None:
                return
            known = after_handshake(visitor, station_socket.transport.get_extra_info("ssl_object"))
            try:
                # 6, 7
                if await self._asks(station_socket, known):
                    stay.settle()
                    await self._shared.welcome(station_socket, known, stay.end)
            finally:
                station_socket.transport.abort()
        finally:
            stay.end()

    async def _connected(self, sock: socket.socket, visitor: Visitor) -> StationSocket | None:
        """Steps 3 to 5. The socket is ours until the event loop gets it, and then the loop's."""
        leave: Callable[[], None] | None = None
        try:
            if await self._speaks(sock, visitor):
                leave = await self._enter_gate(visitor)
        finally:
            if leave is None:
                sock.close()
        if leave is None:
            return None
        try:
            return await self._handshake(sock, visitor)
        finally:
            leave()

    async def _speaks(self, sock: socket.socket, visitor: Visitor) -> bool:
        """Whether the first words come in time: a whole TLS record, or a byte where there is no
        TLS. They are left in the socket.
        """
        said = b""
        try:
            async with asyncio.timeout(self._shared.timeout_seconds):
                said = await _peeked(sock, 1)
                if self._context is not None and said == _TLS_HANDSHAKE:
                    head = await _peeked(sock, _RECORD_HEAD)
                    await _peeked(sock, _RECORD_HEAD + _record_length(head))
        except TimeoutError:
            if said:
                self._refused(visitor, RefusalReason.TLS_HANDSHAKE, "handshake timeout")
            return False
        except OSError:
            return False
        return said != b""

    async def _enter_gate(self, visitor: Visitor) -> Callable[[], None] | None:
        try:
            async with asyncio.timeout(self._shared.timeout_seconds):
                return await self._shared.gate.enter(visitor.source)
        except TimeoutError:
            self._shared.attempts.shed(RefusalReason.BUSY, visitor.source)
            return None

    async def _handshake(self, sock: socket.socket, visitor: Visitor) -> StationSocket | None:
        station_socket = self._shared.make_socket()
        farewell = Farewell(sock, wanted=self._context is not None)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: station_socket,
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._shared.timeout_seconds if self._context else None,
                ssl_shutdown_timeout=ABORT_SECONDS if self._context else None,
            )
        except Exception as error:  # noqa: BLE001 -- whatever a peer provokes is a refused handshake
            reason = tls_reason(error)
            farewell.say(reason)
            self._refused(visitor, RefusalReason.TLS_HANDSHAKE, reason)
            return None
        finally:
            farewell.end()
        if not hasattr(station_socket, "transport"):
            # asyncio reports a peer that leaves in mid-handshake as a success without a protocol.
            self._refused(visitor, RefusalReason.TLS_HANDSHAKE, "closed in the handshake")
            return None
        return station_socket

    async def _asks(self, station_socket: StationSocket, visitor: Visitor) -> bool:
        """Whether an HTTP request comes in time."""
        try:
            async with asyncio.timeout(self._shared.timeout_seconds):
                request = await station_socket.request_received()
        except TimeoutError:
            self._refused(visitor, RefusalReason.HTTP, "no request in time")
            return False
        if request is None:
            error = station_socket.protocol.handshake_exc
            self._refused(
                visitor,
                RefusalReason.HTTP,
                "closed before a request" if error is None else type(error).__name__,
            )
        return request is not None

    def _refused(self, visitor: Visitor, reason: RefusalReason, detail: str | None) -> None:
        """Before anybody has said who it is: the source alone answers for it."""
        source, clock = visitor.source, self._shared.clock
        if self._shared.failures.failed(source, None, None, now=clock.monotonic()):
            self._shared.attempts.refused(visitor.attempt(clock.now(), reason, detail=detail))
        else:
            self._shared.attempts.shed(reason, source)


async def _peeked(sock: socket.socket, count: int) -> bytes:
    """So many octets, left in the socket; fewer when the peer has ended. Raises OSError."""
    loop, descriptor = asyncio.get_running_loop(), sock.fileno()
    readable = asyncio.Event()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)  # one wake-up, not one an octet
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
        return sock.recv(count, socket.MSG_PEEK)
    finally:
        loop.remove_reader(descriptor)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _record_length(head: bytes) -> int:
    """RFC 8446 §5.1. OpenSSL says what is wrong with one that is too long."""
    return min(int.from_bytes(head[3:5], "big"), _RECORD_MAXIMUM)


def tls_reason(error: Exception) -> str:
    """OpenSSL's own words, without addresses or pointers."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"{error.reason}: {error.verify_message}"
        case ssl.SSLError() if getattr(error, "reason", None):  # absent where Python made it
            return error.reason
        case ConnectionAbortedError() | TimeoutError():
            return "handshake timeout"
        case _:
            return type(error).__name__
