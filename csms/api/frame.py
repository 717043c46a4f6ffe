"""The outermost frame of every request: what must hold whatever the routes do.

An error that nobody named becomes a 500 that says nothing; the log gets its type, place and no
values. Cookies never come in (`__Host-` cookies of the dashboard reach this host, too), and the
security headers always go out.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from csms.api.problems import Problem, problem_of

# No Strict-Transport-Security: the same host name serves CRL and CA certificates by plain HTTP.
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

log = structlog.get_logger()


class Frame:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _is_ambiguous(scope):
            answer = Problem(HTTPStatus.BAD_REQUEST, headers={"Connection": "close"}).response()
            await answer(scope, receive, send)
            return
        scope["headers"] = [one for one in scope["headers"] if one[0].lower() != b"cookie"]
        started = False

        async def framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except ClientDisconnect:
            log.info("client_disconnected")
        except Exception as error:  # noqa: BLE001 -- the outermost frame
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(  # noqa: TRY400 -- a traceback may show values, and some are secret
                "request_failed",
                error=type(error).__name__,
                file=place.filename.rsplit("/", 1)[-1],
                line=place.lineno,
            )
            if not started:
                await problem_of(error).response()(scope, receive, framed)


def _is_ambiguous(scope: Scope) -> bool:
    """RFC 9112 §6.1: two lengths, of which a proxy before us may have believed the other one."""
    names = {name.lower() for name, _ in scope["headers"]}
    return {b"content-length", b"transfer-encoding"} <= names
