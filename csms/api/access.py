"""Who may call which route. A route's signature names its scope, and so OpenAPI shows it:

    async def list_stations(principal: StationsRead, api: Api, …) -> …

Deny by default: a route whose signature names no scope cannot be made. What anybody may fetch is
no route of this kind but stands in ANONYMOUS_PATHS, and a test compares the two.

A request passes the guard in this order, so that a stranger's body is never even read:
1 token → principal   2 scope   3 bearer policy   4 query parameters   5 body
Refusals of 1-3 are audited on every route, what is refused later only where something would have
been done: on all but GET.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import OAuth2, SecurityScopes
from starlette.exceptions import HTTPException

from csms.api.body import read_body
from csms.api.problems import (
    BodyRefused,
    InsufficientScope,
    KeyConflict,
    ParameterRefused,
    Unauthorized,
)
from csms.api.refusals import RefusedAccess
from csms.api.resources import ApiResources, resources_of
from csms.domain.access import READ_SCOPES, Principal, Scope
from csms.operations.errors import Conflict, Forbidden, Invalid, NotFound
from csms.ports.station_link import NotConnected
from csms.settings import BearerPolicy
from pki.wire import PkiRefused

OPENAPI_PATH: Final = "/api/v1/openapi.json"
CA_PATH: Final = "/pki/ca.pem"
ANONYMOUS_PATHS: Final = frozenset(
    {
        OPENAPI_PATH,
        CA_PATH,
        "/oauth/token",
        "/oauth/jwks.json",
        "/.well-known/oauth-authorization-server",
    }
)
# The scope is the one of the act that is looked at, which only its record tells.
SCOPE_OF_THE_ACT: Final = "as-the-act"
# What may refuse an act after the guard has let its request pass, as words for the audit log.
REFUSED_ACTS: Final[Mapping[type[Exception], str]] = {
    NotFound: "not_found",
    Conflict: "conflict",
    KeyConflict: "conflict",
    NotConnected: "conflict",
    Invalid: "invalid",
    RequestValidationError: "invalid",
    ParameterRefused: "invalid",
    BodyRefused: "invalid",
    PkiRefused: "pki_refused",
}
_AUDITED: Final[tuple[type[Exception], ...]] = (
    Unauthorized,
    InsufficientScope,
    Forbidden,
    *REFUSED_ACTS,
)

_SCHEME = OAuth2(
    flows={
        "clientCredentials": {
            "tokenUrl": "/oauth/token",
            "scopes": {scope.value: "" for scope in Scope},
        }
    },
    auto_error=False,
)


class AccessUndeclared(Exception):
    """A route whose signature names no scope, or several."""


async def _principal(
    request: Request, scopes: SecurityScopes, scheme: Annotated[str | None, Security(_SCHEME)]
) -> Principal:
    """The guard has earned it."""
    del scopes, scheme  # they are there to be declared
    principal: Principal = request.state.principal
    return principal


StationsRead = Annotated[Principal, Security(_principal, scopes=[Scope.STATIONS_READ.value])]
StationsWrite = Annotated[Principal, Security(_principal, scopes=[Scope.STATIONS_WRITE.value])]
CommandsSend = Annotated[Principal, Security(_principal, scopes=[Scope.COMMANDS_SEND.value])]
CertificatesRead = Annotated[
    Principal, Security(_principal, scopes=[Scope.CERTIFICATES_READ.value])
]
CertificatesIssue = Annotated[
    Principal, Security(_principal, scopes=[Scope.CERTIFICATES_ISSUE.value])
]
CertificatesRevoke = Annotated[
    Principal, Security(_principal, scopes=[Scope.CERTIFICATES_REVOKE.value])
]
SecurityEventsRead = Annotated[
    Principal, Security(_principal, scopes=[Scope.SECURITY_EVENTS_READ.value])
]
AuditRead = Annotated[Principal, Security(_principal, scopes=[Scope.AUDIT_READ.value])]
ClientsManage = Annotated[Principal, Security(_principal, scopes=[Scope.CLIENTS_MANAGE.value])]
AsTheAct = Annotated[Principal, Security(_principal, scopes=[SCOPE_OF_THE_ACT])]


def declared_scope(dependant: Dependant) -> str:
    """The one scope that a route's signature names. Raises AccessUndeclared."""
    scopes = {
        scope
        for part in dependant.dependencies
        if part.call is _principal
        for scope in part.own_oauth_scopes or ()
    }
    if len(scopes) != 1:
        raise AccessUndeclared(f"{dependant.path}: name exactly one scope in the signature")
    return scopes.pop()


def permit(principal: Principal, scope: Scope, bearer: BearerPolicy) -> None:
    """Raises InsufficientScope."""
    if scope not in principal.scopes:
        detail = f"needs the scope {scope.value}"
        raise InsufficientScope(scope, reason="scope", detail=detail)
    # Only plain bearer tokens exist so far; whoever steals one must not be able to write.
    if bearer is BearerPolicy.READ_ONLY and scope not in READ_SCOPES:
        detail = (
            f"{scope.value} is not for plain bearer tokens here (oauth.bearer is read-only); "
            "read scopes are"
        )
        raise InsufficientScope(scope, reason="bearer_policy", detail=detail)


class GuardedRoute(APIRoute):
    """A route behind the guard."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        declared = declared_scope(self.dependant)
        scope = None if declared == SCOPE_OF_THE_ACT else Scope(declared)
        parameters = _query_parameters(self.dependant)
        has_body = self.body_field is not None

        async def guarded(request: Request) -> Response:
            resources = resources_of(request)
            actor = _source(request)
            try:
                principal = await _authenticated(request, resources)
                actor = principal.actor
                if scope is not None:
                    permit(principal, scope, resources.bearer)
                request.state.principal = principal
                _check_parameters(request, parameters)
                return await inner(await read_body(request) if has_body else request)
            except _AUDITED as refusal:
                reason = _reason(refusal, request.method, scope)
                if reason is not None:
                    route = f"{request.method} {self.path}"
                    await resources.refusals.record(
                        RefusedAccess(actor=actor, route=route, reason=reason)
                    )
                raise

        return guarded


def _reason(refusal: Exception, method: str, scope: Scope | None) -> str | None:
    """The word for the audit log; None when the log needs no row of ours."""
    if isinstance(refusal, Unauthorized | InsufficientScope):
        return refusal.reason
    if isinstance(refusal, Forbidden):
        return "scope"
    if method == "GET":
        return None
    # send_command records what it does with a command to a station it knows.
    if scope is Scope.COMMANDS_SEND and isinstance(refusal, Invalid | NotConnected):
        return None
    if isinstance(refusal.__cause__, PkiRefused):  # a Conflict in the operations' words
        return REFUSED_ACTS[PkiRefused]
    return next(word for kind, word in REFUSED_ACTS.items() if isinstance(refusal, kind))


async def _authenticated(request: Request, resources: ApiResources) -> Principal:
    headers = request.headers.getlist("authorization")
    if not headers:
        raise Unauthorized("token_missing", presented=False)
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer":
        raise Unauthorized("token_missing", presented=False)
    principal = await resources.tokens.principal(token)
    if not isinstance(principal, Principal):
        raise Unauthorized(principal.value, presented=True)
    return principal


def _source(request: Request) -> str:
    return f"source:{request.client.host if request.client else 'unknown'}"


def _query_parameters(dependant: Dependant) -> frozenset[str]:
    names = {parameter.alias for parameter in dependant.query_params}
    for part in dependant.dependencies:
        names |= _query_parameters(part)
    return frozenset(names)


def _check_parameters(request: Request, known: frozenset[str]) -> None:
    """A filter with a typo would answer with everything: what we do not know is refused."""
    seen: set[str] = set()
    # PostgreSQL has no NUL in a text: what holds one names nothing.
    if any("\0" in str(value) for value in request.path_params.values()):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise ParameterRefused(name[:64], "no such parameter")
        if name in seen:
            raise ParameterRefused(name, "given twice")
        if "\0" in value:
            raise ParameterRefused(name, "holds a NUL character")
        seen.add(name)
