"""Errors as problem documents (RFC 9457): one table, and nothing inside knows HTTP.

ApiError              refused by the API itself, before any operation
├── Unauthorized      no token, or none that we believe
├── InsufficientScope the token lacks the route's scope, or may not use it as a plain bearer
├── BodyRefused       too large, not JSON, wrong media type
├── ParameterRefused  a query parameter that the route does not know, or twice
└── KeyConflict       an Idempotency-Key used for something else, or being answered right now
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from csms.domain.access import Scope
from csms.domain.password import PeppersUnread
from csms.operations.errors import Conflict, Forbidden, Invalid, NotFound
from csms.ports.station_link import (
    InvalidAnswer,
    NoAnswer,
    NotAllowedNow,
    NotConnected,
    QueueFull,
    StationRefused,
)
from csms.ports.store import CursorInvalid, StoreUnavailable, Superseded
from pki.wire import PkiUnavailable

MEDIA_TYPE: Final = "application/problem+json"
_REALM: Final = 'Bearer realm="csms"'


class ApiError(Exception):
    status = HTTPStatus.BAD_REQUEST
    detail = ""

    def __init__(self, detail: str = "", status: HTTPStatus | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status or type(self).status


class Unauthorized(ApiError):
    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, reason: str, *, presented: bool) -> None:
        super().__init__("a valid access token is needed")
        self.reason = reason  # for the audit log only
        self.presented = presented


class InsufficientScope(ApiError):
    status = HTTPStatus.FORBIDDEN

    def __init__(self, scope: Scope, *, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.scope = scope
        self.reason = reason


class BodyRefused(ApiError):
    pass


class ParameterRefused(ApiError):
    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}")
        self.parameter = parameter


class KeyConflict(ApiError):
    status = HTTPStatus.CONFLICT


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document."""

    status: HTTPStatus
    detail: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
        }
        if self.detail:
            document["detail"] = self.detail
        return document | dict(self.more)

    def response(self) -> JSONResponse:
        return JSONResponse(
            self.document, self.status, headers=dict(self.headers), media_type=MEDIA_TYPE
        )


def problem_of(error: Exception) -> Problem:
    """The problem document of any error; one that is not in the table says nothing of itself."""
    for kind in type(error).__mro__:
        if kind in _PROBLEMS:
            return _PROBLEMS[kind](error)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR)


async def answer(request: Request, error: Exception) -> JSONResponse:
    """Starlette's exception handler."""
    del request
    return problem_of(error).response()


def _api_error(error: Any) -> Problem:
    return Problem(error.status, error.detail)


def _unauthorized(error: Any) -> Problem:
    # RFC 6750 §3.1: no error code when no credential was offered.
    challenge = f'{_REALM}, error="invalid_token"' if error.presented else _REALM
    return Problem(error.status, error.detail, headers={"WWW-Authenticate": challenge})


def _forbidden(error: Any) -> Problem:
    """InsufficientScope of the routes, Forbidden of the operations."""
    scope: Scope = error.scope
    return Problem(
        HTTPStatus.FORBIDDEN,
        str(error),
        more={"scope": scope.value},
        headers={
            "WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{scope.value}"'
        },
    )


def _parameter(error: Any) -> Problem:
    errors = [{"parameter": error.parameter, "detail": error.detail}]
    return Problem(error.status, "the request is not valid", more={"errors": errors})


def _invalid(error: Any) -> Problem:
    errors = [{"pointer": one.pointer, "detail": one.message} for one in error.violations]
    return _not_valid(errors)


def _validation(error: Any) -> Problem:
    """FastAPI's list. A path that cannot name anything names nothing."""
    if any(one["loc"][0] == "path" for one in error.errors()):
        return Problem(HTTPStatus.NOT_FOUND)
    return _not_valid([_violation(one) for one in error.errors()])


def _not_valid(errors: Sequence[Mapping[str, str]]) -> Problem:
    more = {"errors": list(errors)}
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the request is not valid", more=more)


def _violation(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = error["loc"]
    detail = str(error["msg"])
    if place != "body":
        return {"parameter": ".".join(str(part) for part in path), "detail": detail}
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    return {"pointer": pointer, "detail": detail}


def _http(error: Any) -> Problem:
    """Starlette's own: no such route, no such method."""
    return Problem(HTTPStatus(error.status_code), headers=error.headers or {})


def _fixed(status: HTTPStatus, detail: str, *, retry_after: int | None = None) -> Any:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return lambda _: Problem(status, detail, headers=headers)


def _station_refused(error: Any) -> Problem:
    more = {"code": error.code, "description": error.description}
    return Problem(HTTPStatus.BAD_GATEWAY, "the station answered CALLERROR", more=more)


_PROBLEMS: Final[Mapping[type, Callable[[Any], Problem]]] = {
    ApiError: _api_error,
    Unauthorized: _unauthorized,
    InsufficientScope: _forbidden,
    ParameterRefused: _parameter,
    RequestValidationError: _validation,
    HTTPException: _http,
    NotFound: lambda error: Problem(HTTPStatus.NOT_FOUND, str(error)),
    Conflict: lambda error: Problem(HTTPStatus.CONFLICT, str(error)),
    Invalid: _invalid,
    Forbidden: _forbidden,
    NotConnected: _fixed(HTTPStatus.CONFLICT, "the station is not connected"),
    NotAllowedNow: _fixed(
        HTTPStatus.CONFLICT, "the station was rejected at its last boot: nothing may be sent to it"
    ),
    QueueFull: _fixed(HTTPStatus.CONFLICT, "too many calls wait for this station"),
    NoAnswer: _fixed(HTTPStatus.GATEWAY_TIMEOUT, "the station did not answer in time"),
    InvalidAnswer: _fixed(
        HTTPStatus.BAD_GATEWAY, "the station's answer breaks the schema of the action"
    ),
    StationRefused: _station_refused,
    Superseded: _fixed(HTTPStatus.CONFLICT, "it changed meanwhile; look again"),
    CursorInvalid: lambda _: _not_valid([{"parameter": "cursor", "detail": "not one of ours"}]),
    StoreUnavailable: _fixed(HTTPStatus.SERVICE_UNAVAILABLE, "the database is away", retry_after=5),
    PeppersUnread: _fixed(
        HTTPStatus.SERVICE_UNAVAILABLE, "passwords wait for Vault to be back", retry_after=10
    ),
    PkiUnavailable: _fixed(HTTPStatus.SERVICE_UNAVAILABLE, "the PKI is away", retry_after=10),
    ConnectionError: _fixed(
        HTTPStatus.SERVICE_UNAVAILABLE, "the token keys cannot be read", retry_after=10
    ),
}
HANDLED: Final = tuple(_PROBLEMS)
