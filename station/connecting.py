"""Opening the WebSocket: URL, credentials and TLS of the active network profile.

`open_connection` returns an upgraded connection or raises `ConnectionRefused`, which says what a
person or a test wants to know: the HTTP status of a refused upgrade, or the TLS error.
"""

from __future__ import annotations

import logging
import ssl
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    WebSocketException,
)
from websockets.typing import Subprotocol

from station import device_model as dm
from station.keystore import StationCertificate
from station.state import StationState
from station.tls import client_context, tls_failure

# At DEBUG the library logs request headers, so the password: its logger is not to be had.
_QUIET: Final = logging.getLogger("station.websockets")
_QUIET.setLevel(logging.WARNING)

_PING_TIMEOUT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection did not come about."""

    url: str
    security_profile: int
    reason: str
    status: int | None = None
    tls_error: str | None = None
    bad_server: bool = False
    no_answer: bool = False  # the server hung up before any HTTP response
    retry_after: float | None = None
    body: bytes = b""

    @property
    def about_credentials(self) -> bool:
        """The server said that it does not want these credentials."""
        return self.status in {401, 403} or (self.tls_error is not None and not self.bad_server)

    @property
    def maybe_about_certificate(self) -> bool:
        """Servers that abort a TLS handshake without sending the alert look like this."""
        return self.about_credentials or (self.no_answer and self.security_profile == 3)


# The first that fits; none of them repeats text that came from the server.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TimeoutError, "timed out"),
    (InvalidURI, "not a WebSocket URL"),
    (NegotiationError, "the CSMS chose a subprotocol nobody offered"),
    (InvalidMessage, "connection closed before any answer"),
    (ConnectionResetError, "connection closed before any answer"),
    (ConnectionRefusedError, "nobody listens there"),
)


class ConnectionRefused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class _Connection(ClientConnection):
    """Keeps what ended the transport, which the library forgets when no response came.

    In TLS 1.3 a server refuses a client certificate after the station's handshake is over: the
    alert arrives in place of the HTTP response.
    """

    ended_by: Exception | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_by = exc
        super().connection_lost(exc)

    async def handshake(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().handshake(*args, **kwargs)
        except InvalidMessage as error:
            if self.ended_by is not None:
                raise error from self.ended_by
            raise


async def open_connection(
    state: StationState, certificate: StationCertificate | None
) -> ClientConnection:
    """One attempt by the active network profile, or `ConnectionRefused`."""
    profile = state.network.current
    url = f"{profile.url.rstrip('/')}/{quote(state.config.identity, safe='')}"
    try:
        connection = await connect(
            url,
            ssl=_context(state, certificate) if profile.security_profile >= 2 else None,
            additional_headers=_credentials(state),
            subprotocols=[Subprotocol(word) for word in state.config.subprotocols],
            compression="deflate" if state.config.deflate else None,
            user_agent_header="station-simulator",
            create_connection=_Connection,
            proxy=None,
            open_timeout=state.config.open_timeout,
            ping_interval=state.model.integer(dm.PING_INTERVAL) or None,
            ping_timeout=_PING_TIMEOUT,
            close_timeout=2,
            max_queue=4,
            logger=_QUIET,
        )
    except (WebSocketException, OSError, EOFError) as error:
        raise ConnectionRefused(_refusal(error, url, profile.security_profile)) from error
    if connection.subprotocol is None:
        connection.transport.abort()
        reason = "the CSMS chose no subprotocol"
        raise ConnectionRefused(Refusal(url, profile.security_profile, reason))
    return connection


def _context(state: StationState, certificate: StationCertificate | None) -> ssl.SSLContext:
    roots = state.keystore.csms_roots_pem()
    if state.network.current.security_profile == 3:
        return client_context(roots_pem=roots, certificate=certificate)
    return _shared_context(roots)


@lru_cache(maxsize=4)
def _shared_context(roots_pem: str) -> ssl.SSLContext:
    """Stations of a fleet that differ in nothing TLS can see share one context."""
    return client_context(roots_pem=roots_pem, certificate=None)


def _credentials(state: StationState) -> dict[str, str]:
    """A00.FR.202-205, 301-304: on every request, raw UTF-8, user name as in the URL."""
    if state.network.current.security_profile == 3 or state.password is None:
        return {}
    plain = f"{state.config.identity}:{state.password}".encode()
    return {"Authorization": f"Basic {b64encode(plain).decode()}"}


def _refusal(error: Exception, url: str, security_profile: int) -> Refusal:
    if isinstance(error, InvalidStatus):
        response = error.response
        return Refusal(
            url,
            security_profile,
            f"HTTP {response.status_code}",
            status=response.status_code,
            retry_after=_seconds(response.headers.get("Retry-After")),
            body=bytes(response.body or b"")[:512],
        )
    failure = tls_failure(error)
    if failure is not None:
        return Refusal(
            url,
            security_profile,
            f"TLS: {failure.reason}",
            tls_error=failure.reason,
            bad_server=failure.about_server,
        )
    no_answer = isinstance(error, InvalidMessage | ConnectionResetError)
    return Refusal(url, security_profile, _plain_reason(error), no_answer=no_answer)


def _plain_reason(error: Exception) -> str:
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return (error.strerror if isinstance(error, OSError) else None) or "no WebSocket upgrade"


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, str) and value.isdecimal() else None
