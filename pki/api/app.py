"""The PKI over HTTP: JSON in, JSON out, one route per operation of `pki.wire.PkiService`.

Every route names its operation; the caller policy is asked before the body is read. Errors are
problem documents (RFC 9457) whose `reason` is the RefusalReason, so that the client on the other
side raises what the authority raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
import structlog
from fastapi import FastAPI, Request, Response

from pki.api.callers import CallerForbidden, CallerPolicy, Operation, identify
from pki.authority.service import Authority
from pki.wire import (
    CallerCertificateRequest,
    PkiRefused,
    PkiUnavailable,
    RefusalReason,
    Revocation,
    ServerCertificateRequest,
    StationCertificateRequest,
    StationRegistration,
)

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 64 * 1024  # the largest honest body is a CSR of 5500 characters
PEER_CERTIFICATE: Final = "peer_certificate"  # key of the ASGI state that `server` fills

Body = TypeVar("Body", bound=msgspec.Struct)
Handler = Callable[[Request, str], Awaitable[object]]


class _BodyInvalid(Exception):
    def __init__(self, status: int, title: str) -> None:
        super().__init__(title)
        self.status = status
        self.title = title


def make_app(authority: Authority, *, callers: CallerPolicy, organization: str) -> FastAPI:
    """The ASGI application; `server.serve` puts it behind mutual TLS."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    def route(method: str, path: str, operation: Operation, handler: Handler) -> None:
        async def endpoint(request: Request) -> Response:
            return await _answer(
                request, operation, handler, callers=callers, organization=organization
            )

        app.add_api_route(path, endpoint, methods=[method], name=operation)

    async def register_station(request: Request, _role: str) -> None:
        await authority.register_station(await _body(request, StationRegistration))

    async def issue_station(request: Request, _role: str) -> object:
        asked = await _body(request, StationCertificateRequest)
        return await authority.issue_station_certificate(asked)

    async def issue_server(request: Request, _role: str) -> object:
        asked = await _body(request, ServerCertificateRequest)
        return await authority.issue_server_certificate(asked)

    async def issue_caller(request: Request, role: str) -> object:
        asked = await _body(request, CallerCertificateRequest)
        if asked.role != role:
            raise CallerForbidden(f"{role} may not become {asked.role}")
        return await authority.issue_caller_certificate(asked)

    async def revoke(request: Request, _role: str) -> None:
        await authority.revoke(await _body(request, Revocation))

    async def trust_anchors(_request: Request, _role: str) -> object:
        return await authority.trust_anchors()

    route("POST", "/v1/registrations", Operation.REGISTER_STATION, register_station)
    route("POST", "/v1/station-certificates", Operation.ISSUE_STATION_CERTIFICATE, issue_station)
    route("POST", "/v1/server-certificates", Operation.ISSUE_SERVER_CERTIFICATE, issue_server)
    route("POST", "/v1/caller-certificates", Operation.ISSUE_CALLER_CERTIFICATE, issue_caller)
    route("POST", "/v1/revocations", Operation.REVOKE, revoke)
    route("GET", "/v1/trust-anchors", Operation.TRUST_ANCHORS, trust_anchors)
    return app


async def _answer(
    request: Request,
    operation: Operation,
    handler: Handler,
    *,
    callers: CallerPolicy,
    organization: str,
) -> Response:
    """Permit, do, and turn what went wrong into a problem document."""
    try:
        role = identify(getattr(request.state, PEER_CERTIFICATE, None), organization=organization)
        callers.permit(role, operation)
        answer = await handler(request, role)
    except CallerForbidden as error:
        log.warning("caller_forbidden", operation=operation, detail=str(error))
        return _problem(403, "Forbidden")
    except _BodyInvalid as error:
        return _problem(error.status, error.title)
    except PkiRefused as error:
        return _problem(422, "Refused", reason=error.reason, detail=error.detail)
    except PkiUnavailable as error:
        return _problem(503, "Unavailable", detail=str(error), retry_after=5)
    if answer is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(answer), media_type="application/json")


async def _body(request: Request, kind: type[Body]) -> Body:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY_BYTES:
            raise _BodyInvalid(413, "Content too large")
    try:
        return msgspec.json.decode(received, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _BodyInvalid(400, "Malformed request") from error


def _problem(
    status: int,
    title: str,
    *,
    reason: RefusalReason | None = None,
    detail: str = "",
    retry_after: int | None = None,
) -> Response:
    document: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if reason is not None:
        document["reason"] = reason
    if detail:
        document["detail"] = detail
    return Response(
        msgspec.json.encode(document),
        status_code=status,
        media_type="application/problem+json",
        headers={} if retry_after is None else {"Retry-After": str(retry_after)},
    )
