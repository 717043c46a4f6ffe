"""A TCP proxy before a real OpenBao that lets every request in and, while told to, no answer out.

TLS stays end to end, so it goes by TLS's own framing (RFC 8446 §5.1): a client's second record of
application data is the first after its Finished, thus a request. From then on, in that connection,
what the server says is swallowed, and the connection ends once the server has said it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

_APPLICATION_DATA = 23
_SAID = 0.3  # s without another byte: that was the whole answer


class _Records:
    """Counts the TLS records of one direction that carry application data."""

    def __init__(self) -> None:
        self._buffer = b""
        self.application = 0

    def take(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 5:
            length = 5 + int.from_bytes(self._buffer[3:5], "big")
            if len(self._buffer) < length:
                return
            self.application += self._buffer[0] == _APPLICATION_DATA
            self._buffer = self._buffer[length:]


class Proxy:
    """Made by `proxy`. `cutting` may be set and cleared at any time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.cutting = False
        self.cut = 0  # answers that did not get through

    async def run(self, ready: Future[asyncio.AbstractEventLoop], stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            ready.set_result(asyncio.get_running_loop())
            await stop.wait()

    async def _connection(self, client: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        asked = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                ask = both.create_task(self._ask(client, writer, asked))
                both.create_task(self._answer(reader, to, asked, ask))
        finally:
            to.close()
            writer.close()

    async def _ask(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, asked: asyncio.Event
    ) -> None:
        records = _Records()
        with suppress(OSError):
            while data := await client.read(65_536):
                before = records.application
                records.take(data)
                if self.cutting and records.application > max(before, 1):
                    asked.set()
                server.write(data)
                await server.drain()
            server.write_eof()

    async def _answer(
        self,
        server: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        asked: asyncio.Event,
        ask: asyncio.Task[None],
    ) -> None:
        with suppress(OSError):
            while data := await server.read(65_536):
                if asked.is_set():
                    await self._swallow(server)
                    break
                client.write(data)
                await client.drain()
        ask.cancel()

    async def _swallow(self, server: asyncio.StreamReader) -> None:
        self.cut += 1
        with suppress(TimeoutError):
            while await asyncio.wait_for(server.read(65_536), _SAID):
                pass


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Before the server on that port of loopback."""
    made = Proxy(port)
    ready: Future[asyncio.AbstractEventLoop] = Future()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(made.run(ready, stop)), name="proxy")
    thread.start()
    try:
        loop = ready.result(10)
        try:
            yield made
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join(10)
