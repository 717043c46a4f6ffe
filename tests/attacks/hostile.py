"""A hostile station: raw TCP, TLS, HTTP and WebSocket, byte by byte.

Nothing here is ours and nothing is a client library: `socket`, `ssl` and bytes, so that what is
sent is what the test wrote, and what comes back is read as it is. Blocking, with deadlines.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import ssl
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

SECONDS = 5.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def upgrade(
    target: str | bytes = "/ocpp/cs001",
    *headers: str,
    subprotocol: str | None = "ocpp2.0.1",
    host: str = "localhost",
) -> bytes:
    """A WebSocket upgrade request; the target as it stands, even as bytes."""
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    lines = [
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    rest = "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")
    return b"GET " + raw + b" HTTP/1.1\r\n" + rest


def frame(
    payload: bytes,
    *,
    opcode: int = 1,
    final: bool = True,
    rsv: int = 0,
    masked: bool = True,
    announced: int | None = None,
) -> bytes:
    """One frame; `announced` is the length that it claims to have."""
    first = (0x80 if final else 0) | rsv << 4 | opcode
    size = len(payload) if announced is None else announced
    mark = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, mark | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mark | 126, size)
    else:
        head = struct.pack("!BBQ", first, mark | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    body = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
    return head + mask + body


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, and whatever came with it."""

    raw: bytes

    @property
    def status(self) -> int:
        """0 when nothing came that looks like HTTP."""
        parts = self.raw.split(b" ", 2)
        return int(parts[1]) if self.raw.startswith(b"HTTP/1.1 ") and len(parts) > 1 else 0

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


class HostileStation:
    """One connection. Everything that can go wrong raises OSError (ssl.SSLError is one)."""

    def __init__(
        self,
        port: int,
        *,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        source: str | None = None,
        server_name: str | None = "localhost",
        seconds: float = SECONDS,
        receive_buffer: int | None = None,
    ) -> None:
        self._buffer = b""
        self.socket: socket.socket = socket.socket()
        try:
            self.socket.settimeout(seconds)
            # What is written goes out now: Nagle waits 40 ms for an acknowledgement on every visit.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source is not None:
                self.socket.bind((source, 0))
            if receive_buffer is not None:  # before it connects: it bounds the window
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.socket.connect(("127.0.0.1", port))
        except BaseException:
            self.socket.close()
            raise
        if context is not None:
            try:
                self.socket = context.wrap_socket(
                    self.socket, server_hostname=server_name, session=session
                )
            except BaseException:
                self.socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Away with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    # TLS

    @property
    def tls(self) -> ssl.SSLSocket:
        assert isinstance(self.socket, ssl.SSLSocket)
        return self.socket

    @property
    def session(self) -> ssl.SSLSession | None:
        return self.tls.session

    @property
    def resumed(self) -> bool:
        return bool(self.tls.session_reused)

    # HTTP

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_answer(self) -> Answer:
        """One HTTP answer; behind a 101 the frames stay for `read_frame`."""
        while b"\r\n\r\n" not in self._buffer:
            more = self._more()
            if not more:
                break
        head, gap, rest = self._buffer.partition(b"\r\n\r\n")
        answer = Answer(head + gap)
        if answer.status == 101:
            self._buffer = rest
            return answer
        while self._more():
            pass
        answer, self._buffer = Answer(self._buffer), b""
        return answer

    def ask(self, request: bytes) -> Answer:
        """The answer to these bytes; an empty one when the peer just goes."""
        with contextlib.suppress(OSError):  # it may have answered and closed while we still talk
            self.send(request)
        return self.read_answer()

    def _more(self) -> bool:
        """Whether anything came; False at the end, however it came about."""
        try:
            data = self.socket.recv(65_536)
        except TimeoutError:
            raise
        except OSError:
            return False
        self._buffer += data
        return bool(data)

    # WebSocket

    def read_frame(self) -> tuple[int, bytes] | None:
        """(first octet, payload), or None when the connection has ended."""
        while True:
            if (parsed := _split(self._buffer)) is not None:
                first, payload, self._buffer = parsed
                return first, payload
            if not self._more():
                return None

    def read_text(self) -> Any:
        """The next text frame as JSON; pings are answered, anything else fails."""
        while True:
            got = self.read_frame()
            assert got is not None, "the connection has ended"
            first, payload = got
            if first & 0x0F == 9:
                self.send(frame(payload, opcode=10))
                continue
            assert first & 0x0F == 1, got
            return json.loads(payload)

    def close_code(self) -> int | None:
        """Of the close frame that comes; None when the socket just ends."""
        while (got := self.read_frame()) is not None:
            first, payload = got
            if first & 0x0F == 8:
                return int(struct.unpack("!H", payload[:2])[0]) if payload else 1005
        return None

    def call(self, action: str, payload: Any, message_id: str | None = None) -> Any:
        """A CALL and its answer; CALLs of the CSMS in between are passed over."""
        used = message_id or base64.b16encode(os.urandom(8)).decode()
        self.send(frame(json.dumps([2, used, action, payload]).encode()))
        while (said := self.read_text())[:2] not in ([3, used], [4, used]):
            pass
        return said


def _split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """One unmasked frame off the front, if it is whole."""
    if len(data) < 2:
        return None
    first, length, at = data[0], data[1] & 0x7F, 2
    if length == 126:
        if len(data) < 4:
            return None
        length, at = struct.unpack("!H", data[2:4])[0], 4
    elif length == 127:
        if len(data) < 10:
            return None
        length, at = struct.unpack("!Q", data[2:10])[0], 10
    if len(data) < at + length:
        return None
    return first, data[at : at + length], data[at + length :]


def client_tls(
    trust_pem: str,
    *,
    leaf: str | os.PathLike[str] | None = None,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None,
    ciphers: str | None = None,
    alpn: Sequence[str] = (),
) -> ssl.SSLContext:
    """A station's TLS as loose as OpenSSL allows: it is the server that has to refuse."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trust_pem)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if versions is not None:
        context.minimum_version, context.maximum_version = versions
    if ciphers is not None:
        context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if leaf is not None:
        context.load_cert_chain(leaf)
    return context
