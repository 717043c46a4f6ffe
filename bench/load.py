"""The stations of a bench: one process on the other core that does what it is told, a line at once.

`python -m bench.load WORLD PORT ocpp|echo|tls`. Lean on purpose (no library of the servers', no
validation), so that the load does not become the limit: TLS by asyncio, the upgrade and the frames
by hand. Every second station offers permessage-deflate. Whatever is not the expected answer is a
failure of the whole measurement.

    cycle   connect, BootNotification, leave; `count` times by `at_once` stations
    hold    connect, BootNotification, stay: `count` stations
    beat    `count` Heartbeats over the stations that stayed, each waits for its answer
    drop    the stations that stayed leave
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import struct
import sys
import time
import zlib
from asyncio import sslproto
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.commands import Answer, obey, say
from bench.world import TRUST, BenchStation, read_world

_BOOT: Final = (
    '[2,"%s","BootNotification",{"reason":"PowerUp",'
    '"chargingStation":{"model":"Bench","vendorName":"Bench"}}]'
)
_HEARTBEAT: Final = '[2,"%s","Heartbeat",{}]'
_OFFER: Final = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
_STEP_SECONDS: Final = 30.0
_CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


class Unexpected(Exception):
    """The server said something else."""


def masked(payload: bytes, *, compressed: bool = False) -> bytes:
    """A text frame; the mask is zero, which is legal and cheap."""
    head = 0xC1 if compressed else 0x81
    if len(payload) < 126:
        return struct.pack("!BB4x", head, 0x80 | len(payload)) + payload
    return struct.pack("!BBH4x", head, 0xFE, len(payload)) + payload


def deflated(payload: bytes) -> bytes:
    """RFC 7692 §7.2.1, each message for itself, in a window that every server here allows."""
    compressor = zlib.compressobj(wbits=-10, memLevel=4)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@dataclass(slots=True)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    # Set where compression was agreed; then both sides compress, as stations' libraries do.
    inflater: Any = None
    ids: Iterator[int] = field(default_factory=itertools.count)
    heard: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)

    async def call(self, text: str, expected: bytes) -> None:
        """Send a CALL, or a text to be echoed, and wait for what must be in the answer."""
        message_id = str(next(self.ids))
        payload = (text % message_id).encode()
        if self.inflater is None:
            self.writer.write(masked(payload))
        else:
            self.writer.write(masked(deflated(payload), compressed=True))
        answer = await self.heard.get()
        if answer is None:
            raise Unexpected("the server has closed the connection")
        if expected not in answer or f'"{message_id}"'.encode() not in answer[:80]:
            raise Unexpected(repr(answer[:200]))

    async def listen(self) -> None:
        """Until the connection ends: texts are put by, pings are answered even while idle."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._frame():
                pass
        self.heard.put_nowait(None)

    async def _frame(self) -> bool:
        head, length = await self.reader.readexactly(2)
        if length == 126:
            length = struct.unpack("!H", await self.reader.readexactly(2))[0]
        payload = await self.reader.readexactly(length)
        match head & 0x0F:
            case 0x1:
                if head & 0x40:
                    payload = self.inflater.decompress(payload + b"\x00\x00\xff\xff")
                self.heard.put_nowait(payload)
            case 0x9:
                self.writer.write(struct.pack("!BB4x", 0x8A, 0x80 | length) + payload)
            case 0x8:
                return False
        return True

    async def leave(self, *, frame: bool) -> None:
        if frame:
            self.writer.write(_CLOSE)
            while await self.heard.get() is not None:
                pass
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Load:
    def __init__(self, world_dir: Path, port: int, talk: str, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._port = port
        self._talk = talk
        self._world_dir = world_dir
        self._stations = read_world(world_dir).stations
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._held: list[Connection] = []

    # Commands

    async def cycle(self, count: int, at_once: int) -> Answer:
        self._prepare(min(count, len(self._stations)))
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                connection = await self._visit(number)
                await connection.leave(frame=self._talk != "tls")

        return await _timed(count, lambda: _all([worker() for _ in range(at_once)]))

    async def hold(self, count: int, at_once: int = 16) -> Answer:
        first = len(self._held)
        numbers = iter(range(first, first + count))

        async def worker() -> None:
            for number in numbers:
                self._held.append(await self._visit(number))

        return await _timed(count, lambda: _all([worker() for _ in range(at_once)]))

    async def beat(self, count: int) -> Answer:
        expected = b"Heartbeat" if self._talk == "echo" else b"currentTime"
        each = count // len(self._held)

        async def station(connection: Connection) -> None:
            for _ in range(each):
                await connection.call(_HEARTBEAT, expected)

        return await _timed(
            each * len(self._held), lambda: _all([station(held) for held in self._held])
        )

    async def drop(self) -> Answer:
        held, self._held = self._held, []
        frame = self._talk != "tls"
        return await _timed(len(held), lambda: _all([each.leave(frame=frame) for each in held]))

    # A station

    def _prepare(self, count: int) -> None:
        for station in self._stations[:count]:
            self._context(station)

    async def _visit(self, number: int) -> Connection:
        async with asyncio.timeout(_STEP_SECONDS):
            return await self._connected(self._stations[number % len(self._stations)], number)

    async def _connected(self, station: BenchStation, number: int) -> Connection:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context(station), server_hostname="localhost"
        )
        connection = Connection(reader, writer)
        if self._talk == "tls":
            await reader.readexactly(1)
            return connection
        await self._upgrade(connection, station, deflate=number % 2 == 0)
        if self._talk == "ocpp":
            await connection.call(_BOOT, b'"Accepted"')
        return connection

    async def _upgrade(
        self, connection: Connection, station: BenchStation, *, deflate: bool
    ) -> None:
        connection.writer.write(
            (
                f"GET /ocpp/{station.identity} HTTP/1.1\r\nHost: localhost:{self._port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Sec-WebSocket-Protocol: ocpp2.0.1\r\n{_OFFER if deflate else ''}\r\n"
            ).encode()
        )
        answer = await connection.reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise Unexpected(repr(answer[:200]))
        if b"permessage-deflate" in answer:
            connection.inflater = zlib.decompressobj(-15)
        self._group.create_task(connection.listen())

    def _context(self, station: BenchStation) -> ssl.SSLContext:
        context = self._contexts.get(station.file)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(self._world_dir / TRUST)
            context.load_cert_chain(self._world_dir / station.file)
            self._contexts[station.file] = context
        return context


async def _timed(count: int, work: Callable[[], Awaitable[None]]) -> Answer:
    began = time.perf_counter()
    await work()
    return {"done": count, "seconds": time.perf_counter() - began}


async def _all(work: list[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


async def main() -> None:
    # asyncio's 256 KiB of read buffer per TLS connection would be thousands of times that.
    sslproto.SSLProtocol.max_size = 16 * 1024  # type: ignore[misc,unused-ignore] # no setter
    async with asyncio.TaskGroup() as group:
        load = Load(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], group)
        say({"ready": True})
        await obey({"cycle": load.cycle, "hold": load.hold, "beat": load.beat, "drop": load.drop})
        await load.drop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
