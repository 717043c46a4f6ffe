"""Deny by default: every route names its scope, or stands on the list for everybody."""

from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest
from fastapi import APIRouter, Security
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

from csms.api.access import (
    ANONYMOUS_PATHS,
    SCOPE_OF_THE_ACT,
    AccessUndeclared,
    AuditRead,
    GuardedRoute,
    StationsRead,
    declared_scope,
)
from csms.api.app import create_app
from csms.api.routers import GUARDED
from csms.domain.access import READ_SCOPES, Principal, Scope
from csms.oauth.endpoints import ANONYMOUS_PATHS as OAUTH_PATHS
from csms.oauth.endpoints import AuthorizationServer

# Looks at an act, so it needs that act's scope, which the record tells.
AS_THE_ACT = {"/operations/{operation_id}"}


def all_routes() -> list[BaseRoute]:
    tokens = AuthorizationServer(**dict.fromkeys(AuthorizationServer.__slots__, cast("Any", None)))
    app = create_app(cast("Any", SimpleNamespace(tokens=tokens)))
    return list(app.routes)


def guarded() -> list[APIRoute]:
    return [cast("APIRoute", route) for router in GUARDED for route in router.routes]


def test_every_route_is_guarded_or_on_the_anonymous_list() -> None:
    anonymous, unexpected, included = set(), [], 0
    for route in all_routes():
        if isinstance(route, Route):
            anonymous.add(route.path)
        elif type(route).__name__ == "_IncludedRouter":
            included += 1
        else:
            unexpected.append(route)
    assert unexpected == []
    assert included == len(GUARDED)
    assert anonymous == ANONYMOUS_PATHS
    assert set(OAUTH_PATHS) <= ANONYMOUS_PATHS


def test_every_guarded_route_names_exactly_one_scope() -> None:
    for route in guarded():
        assert isinstance(route, GuardedRoute), route.path
        scope = declared_scope(route.dependant)
        if scope == SCOPE_OF_THE_ACT:
            assert route.path in AS_THE_ACT
        else:
            Scope(scope)


def test_what_is_not_a_get_needs_more_than_a_read_scope() -> None:
    for route in guarded():
        scope = declared_scope(route.dependant)
        if route.methods != {"GET"}:
            assert Scope(scope) not in READ_SCOPES, route.path


def test_every_scope_but_the_acts_own_opens_a_route() -> None:
    """The two left out are needed inside `commands/{action}`."""
    opened = {declared_scope(route.dependant) for route in guarded()} - {SCOPE_OF_THE_ACT}
    inside = {Scope.COMMANDS_DANGEROUS.value, Scope.TRUST_ANCHORS_WRITE.value}
    assert opened | inside == {scope.value for scope in Scope}


def test_a_route_without_a_scope_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(AccessUndeclared):

        @router.get("/open")
        async def open_to_all() -> None: ...


def test_a_route_with_two_scopes_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(AccessUndeclared):

        @router.get("/both")
        async def both(one: StationsRead, two: AuditRead) -> None: ...


def test_a_scope_of_somebody_elses_dependency_does_not_count() -> None:
    """Only the guard's own dependency earns a principal."""

    async def impostor() -> Principal:
        raise AssertionError

    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(AccessUndeclared):

        @router.get("/forged")
        async def forged(
            one: Annotated[Principal, Security(impostor, scopes=["stations:read"])],
        ) -> None: ...
