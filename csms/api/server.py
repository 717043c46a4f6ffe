"""An ASGI application over HTTPS (or plain HTTP on loopback) inside the running event loop.

uvicorn does HTTP/1.1; signals, TLS context and the loop's life belong to the caller. The context
may be changed while it serves (`load_cert_chain` again): new connections see the new certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_MAXIMUM_HEAD: Final = 16 << 10
_MAXIMUM_CONNECTIONS: Final = 500
_KEEP_ALIVE_SECONDS: Final = 15
_TLS_HANDSHAKE_SECONDS: Final = 5.0  # D10
# Head and body together: 256 KiB in that time is a modem.
_REQUEST_SECONDS: Final = 20.0
_GRACE_SECONDS: Final = 5
_BACKLOG: Final = 512


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, for callers that must know the port before there is an application."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    sock.setblocking(False)
    return sock


class ApiServer:
    """Serves one application on one socket, from `start` to `stop`."""

    def __init__(
        self,
        app: ASGIApp,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        *,
        sock: socket.socket | None = None,
    ) -> None:
        self._sock = sock or listen(host, port)
        self.port: Final = cast("int", self._sock.getsockname()[1])
        self._server = _Server(_config(app, ssl_context))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Serve; the bound port, once connections are taken."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._server.serve(sockets=[self._sock]))
        listening = loop.create_task(self._server.listening.wait())
        await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if self._task.done():
            self._task.result()
        return self.port

    async def stop(self) -> None:
        """Take no more connections, finish what is being answered (for seconds), close."""
        task, self._task = self._task, None
        if task is None:
            self._sock.close()
            return
        self._server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers, with a bound on TLS handshakes."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's business, and this is only one of its servers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                self._connection_factory(),
                sock=sock,
                ssl=self.config.ssl,
                ssl_handshake_timeout=_TLS_HANDSHAKE_SECONDS if self.config.ssl else None,
                backlog=_BACKLOG,
            )
            for sock in sockets or ()
        ]
        self.started = True
        self.listening.set()

    def _connection_factory(self) -> Callable[[], asyncio.Protocol]:
        return lambda: _Connection(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _Connection(H11Protocol):
    """uvicorn's connection with a deadline for receiving a request; its own are for silence."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._await_request()
        super().data_received(data)
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
            self._request_received()

    def on_response_complete(self) -> None:
        self._request_received()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_received()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(_REQUEST_SECONDS, self.transport.abort)

    def _request_received(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _config(app: ASGIApp, ssl_context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        # A15: no header tells us who somebody is.
        proxy_headers=False,
        limit_concurrency=_MAXIMUM_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_MAXIMUM_HEAD,
        ssl_context_factory=None if ssl_context is None else lambda _config, _default: ssl_context,
    )
