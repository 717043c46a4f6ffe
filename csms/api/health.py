"""The metrics port: is the process alive, is it ready, what are its figures.

It tells facts that are handed in, and serves nobody else's data; it listens on loopback unless
an operator sets it apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Degraded(str):
    """What is wrong, and does not keep us from serving."""

    __slots__ = ()


# None: fine. A word: what is wrong, and we are not ready. Degraded: what is wrong, and we are.
Check = Callable[[], Awaitable[str | None]]

_READY: Final = "ready"
_CHECK_SECONDS: Final = 3.0  # a probe's own patience is about that
log = structlog.get_logger()


def create_health_app(checks: Mapping[str, Check], registry: CollectorRegistry) -> Starlette:
    """/healthz, /readyz, /metrics. `checks` are asked at every /readyz."""

    async def alive(request: Request) -> Response:
        del request
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> Response:
        del request
        answers = await asyncio.gather(*(_asked(name, check) for name, check in checks.items()))
        found = dict(zip(checks, answers, strict=True))
        is_ready = all(answer is None or isinstance(answer, Degraded) for answer in answers)
        body = {
            "status": _READY if is_ready else "not_ready",
            "degraded": [name for name, answer in found.items() if isinstance(answer, Degraded)],
            "checks": {name: answer or "ok" for name, answer in found.items()},
        }
        return JSONResponse(body, 200 if is_ready else 503, {"Cache-Control": "no-store"})

    async def metrics(request: Request) -> Response:
        del request
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", metrics),
        ]
    )


async def _asked(name: str, check: Check) -> str | None:
    """A check that fails, or fails to answer, is an answer."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except Exception as error:  # noqa: BLE001 -- whatever it is, the process is not ready
        log.warning("readiness_check_failed", check=name, error=type(error).__name__)
        return "check failed"
