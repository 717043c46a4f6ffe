"""TLS before there is any TLS: records and ClientHellos byte by byte (RFC 5246, 6101, 8446).

Only what the first flight needs. What comes back is read as records, and judged by the test.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
SERVER_HELLO: Final = 2

TLS10, TLS11, TLS12, SSL3 = 0x0301, 0x0302, 0x0303, 0x0300
GOOD_SUITES: Final = (0xC02B, 0xC02C, 0xC02F)  # ECDHE with AES-GCM
TLS13_SUITES: Final = (0x1301, 0x1302)
NO_COMPRESSION: Final = b"\x00"

# Extensions.
_GROUPS, _POINTS, _SIGNATURES, PRE_SHARED_KEY, EARLY_DATA = 10, 11, 13, 41, 42
_VERSIONS, _PSK_MODES, _KEY_SHARE = 43, 45, 51
_X25519: Final = 0x001D


def record(payload: bytes, *, kind: int = HANDSHAKE, version: int = TLS10) -> bytes:
    return struct.pack("!BHH", kind, version, len(payload)) + payload


def crumbs(payload: bytes, *, version: int = TLS10) -> bytes:
    """The same handshake bytes, each in a record of its own."""
    return b"".join(record(payload[at : at + 1], version=version) for at in range(len(payload)))


def handshake(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3) + body


def extension(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def _list(values: Iterable[int], *, size: int = 2) -> bytes:
    body = b"".join(struct.pack("!H", value) for value in values)
    return len(body).to_bytes(size) + body


def _usual_extensions() -> bytes:
    return (
        extension(_GROUPS, _list([0x0017, _X25519]))
        + extension(_POINTS, b"\x01\x00")
        + extension(_SIGNATURES, _list([0x0403, 0x0804, 0x0401, 0x0203, 0x0201]))
    )


def client_hello(
    *,
    version: int = TLS12,
    suites: Sequence[int] = GOOD_SUITES,
    compression: bytes = NO_COMPRESSION,
    session_id: bytes = b"",
    extensions: bytes | None = None,
) -> bytes:
    """The handshake message, without its record."""
    added = _usual_extensions() if extensions is None else extensions
    body = (
        struct.pack("!H", version)
        + os.urandom(32)
        + bytes([len(session_id)])
        + session_id
        + _list(suites)
        + bytes([len(compression)])
        + compression
    )
    if version > SSL3:
        body += len(added).to_bytes(2) + added
    return handshake(1, body)


def early_data_hello() -> bytes:
    """TLS 1.3 with a ticket that nobody gave, and early data announced under it."""
    share = X25519PrivateKey.generate().public_key().public_bytes_raw()
    key_share = struct.pack("!HH", _X25519, len(share)) + share
    ticket = os.urandom(64)
    identity = len(ticket).to_bytes(2) + ticket + bytes(4)
    binder = bytes([32]) + os.urandom(32)
    offered = (
        _usual_extensions()
        + extension(_VERSIONS, _list([0x0304], size=1))
        + extension(_PSK_MODES, b"\x01\x01")
        + extension(_KEY_SHARE, len(key_share).to_bytes(2) + key_share)
        + extension(EARLY_DATA)
        + extension(
            PRE_SHARED_KEY,
            len(identity).to_bytes(2) + identity + len(binder).to_bytes(2) + binder,
        )
    )
    return client_hello(suites=TLS13_SUITES, session_id=os.urandom(32), extensions=offered)


def sslv2_hello() -> bytes:
    """SSL 2.0's own form, with its 3DES, RC4 and export ciphers."""
    ciphers = bytes.fromhex("0700c0050080030080010080060040040080020080")
    challenge = os.urandom(16)
    lengths = struct.pack("!HHH", len(ciphers), 0, len(challenge))
    body = b"\x01\x00\x02" + lengths + ciphers + challenge
    return struct.pack("!H", 0x8000 | len(body)) + body


@dataclass(frozen=True, slots=True)
class ServerHello:
    version: int
    suite: int
    compression: int
    extensions: frozenset[int]


@dataclass(frozen=True, slots=True)
class Flight:
    """What a server answers to a first flight."""

    raw: bytes

    def records(self) -> list[tuple[int, bytes]]:
        found, rest = [], self.raw
        while len(rest) >= 5:
            kind, _, size = struct.unpack("!BHH", rest[:5])
            found.append((kind, rest[5 : 5 + size]))
            rest = rest[5 + size :]
        return found

    @property
    def alert(self) -> int | None:
        """The description of the first fatal alert."""
        alerts = [body for kind, body in self.records() if kind == ALERT]
        return next((body[1] for body in alerts if len(body) == 2 and body[0] == 2), None)

    @property
    def server_hello(self) -> ServerHello | None:
        for kind, body in self.records():
            if kind == HANDSHAKE and body[:1] == bytes([SERVER_HELLO]):
                return _server_hello(body[4:])
        return None


def _server_hello(body: bytes) -> ServerHello:
    version = struct.unpack("!H", body[:2])[0]
    at = 35 + body[34]
    suite, compression = struct.unpack("!HB", body[at : at + 3])
    rest, kinds = body[at + 5 :], set()
    while len(rest) >= 4:
        kind, size = struct.unpack("!HH", rest[:4])
        kinds.add(kind)
        rest = rest[4 + size :]
    return ServerHello(version, suite, compression, frozenset(kinds))


def answer(sock: socket.socket, sent: bytes, *, until_hello: bool = True) -> Flight:
    """Send it and read until the server has said hello, or has gone."""
    received = b""
    try:
        sock.sendall(sent)
        while not (until_hello and Flight(received).server_hello):
            data = sock.recv(65_536)
            if not data:
                break
            received += data
    except TimeoutError:
        raise
    except OSError:  # reset: it closed with bytes of ours unread
        pass
    return Flight(received)
