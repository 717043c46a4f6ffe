"""Who gets through: every route of the OpenAPI document, with no token and with the wrong scope."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from csms.api.refusals import RECORDS_PER_SOURCE
from csms.domain.access import READ_SCOPES, ROLE_SCOPES, Role, Scope
from csms.domain.audit import AuditAction, Outcome
from csms.ports.records import Operation, OperationState
from csms.settings import BearerPolicy
from tests.fixtures.api_room import ApiRoom, room

AS_THE_ACT = "as-the-act"
NOBODYS_ID = "00000000-0000-4000-8000-000000000000"


def routes(api: ApiRoom) -> list[tuple[str, str, str]]:
    """(method, path with values, scope) of everything the OpenAPI document names."""
    found = []
    for path, operations in api.app.openapi()["paths"].items():
        for method, operation in operations.items():
            ((scope,),) = [one["OAuth2"] for one in operation["security"]]
            filled = path.removeprefix("/api/v1")
            for name, value in {
                "identity": "CS-1",
                "action": "Reset",
                "certificate_id": NOBODYS_ID,
                "operation_id": NOBODYS_ID,
                "client_id": "nobody",
            }.items():
                filled = filled.replace(f"{{{name}}}", value)
            assert "{" not in filled, path
            found.append((method.upper(), filled, scope))
    assert len(found) >= 21
    return found


async def try_all(
    api: ApiRoom, token: str | None, wanted: list[tuple[str, str, str]]
) -> dict[tuple[str, str], httpx2.Response]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answers = {}
    for method, path, _ in wanted:
        body: Any = {} if method in {"POST", "PATCH"} else None
        answers[(method, path)] = await api.http.request(
            method, f"/api/v1{path}", json=body, headers=headers
        )
    return answers


def test_no_route_answers_without_a_token(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for route, answer in (await try_all(api, None, routes(api))).items():
            assert answer.status_code == 401, route
            assert answer.headers["content-type"] == "application/problem+json", route
            assert answer.headers["www-authenticate"] == 'Bearer realm="csms"', route

    room(sqlite_store_url, scene)


def test_every_route_refuses_every_scope_but_its_own(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        for scope in Scope:
            token = await api.token(scope)
            wanted = [one for one in routes(api) if one[2] not in {scope.value, AS_THE_ACT}]
            for route, answer in (await try_all(api, token, wanted)).items():
                assert answer.status_code == 403, (scope, route)
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]

    room(sqlite_store_url, scene)


def test_every_route_lets_its_own_scope_through(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [{"status": "Accepted"}] * 10
        for route in sorted(routes(api), key=lambda one: one[0] == "DELETE"):
            scope = Scope.STATIONS_READ if route[2] == AS_THE_ACT else Scope(route[2])
            (answer,) = (await try_all(api, await api.token(scope), [route])).values()
            # Reset is a dangerous action: `commands:send` opens the route and not the act.
            dangerous = route[1].endswith("/commands/Reset")
            assert (answer.status_code in {401, 403}) is dangerous, (route, answer.text)

    room(sqlite_store_url, scene)


def test_an_auditor_can_write_nothing(sqlite_store_url: str) -> None:
    """F07: every route that is not a GET refuses the auditor's whole role."""

    async def scene(api: ApiRoom) -> None:
        token = await api.token(*ROLE_SCOPES[Role.AUDITOR])
        writes = [one for one in routes(api) if one[0] != "GET"]
        assert len(writes) >= 10
        for route, answer in (await try_all(api, token, writes)).items():
            assert answer.status_code == 403, route
        assert (await api.call("GET", "/audit/entries", token=token)).status_code == 200

    room(sqlite_store_url, scene)


def test_with_bearer_read_only_plain_tokens_only_read(sqlite_store_url: str) -> None:
    """RFC 9700: who steals a bearer token can write nothing with it."""

    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        for method, path, scope in routes(api):
            (answer,) = (await try_all(api, token, [(method, path, scope)])).values()
            if scope == AS_THE_ACT or Scope(scope) in READ_SCOPES:
                assert answer.status_code not in {401, 403}, path
            else:
                assert answer.status_code == 403, path
                assert "oauth.bearer is read-only" in answer.json()["detail"], path
        reasons = {e.record.reason for e in await api.audited(AuditAction.API_ACCESS)}
        assert reasons == {"bearer_policy"}

    room(sqlite_store_url, scene, BearerPolicy.READ_ONLY)


@pytest.mark.parametrize(
    "authorization",
    [[], ["Basic dXNlcjpwYXNz"], ["bearer"], ["Bearer "], ["Token {}"], ["Bearer {}", "Bearer {}"]],
)
def test_a_token_comes_in_one_authorization_header_or_not_at_all(
    sqlite_store_url: str, authorization: list[str]
) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        headers = [("Authorization", value.format(token)) for value in authorization]
        answer = await api.http.get("/api/v1/stations", headers=headers)
        assert answer.status_code == 401

    room(sqlite_store_url, scene)


def test_a_token_in_a_query_string_or_a_cookie_is_none(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        answer = await api.http.get("/api/v1/stations", params={"access_token": token})
        assert answer.status_code == 401
        cookie = {"Cookie": f"__Host-session={token}; access_token={token}"}
        answer = await api.http.get("/api/v1/stations", headers=cookie)
        assert answer.status_code == 401
        answer = await api.call("GET", "/stations", token=token, headers=cookie)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers

    room(sqlite_store_url, scene)


def test_refusals_are_audited_with_actor_route_and_reason(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        token = await api.token(Scope.STATIONS_READ)
        await api.http.get("/api/v1/stations/CS-1")
        await api.call("DELETE", "/stations/CS-1", token=token)
        entries = [entry.record for entry in await api.audited(AuditAction.API_ACCESS)]
        assert [entry.reason for entry in entries] == ["token_missing", "scope"]
        assert entries[0].actor == "source:192.0.2.1"
        assert entries[1].actor.startswith("client:")
        assert entries[1].subject == "route:DELETE /stations/{identity}"
        assert all(entry.outcome is Outcome.REFUSED for entry in entries)

    room(sqlite_store_url, scene)


def test_a_stranger_cannot_write_the_audit_log_full(sqlite_store_url: str) -> None:
    """The first refusals of a minute one by one, then a count in the next minute's first."""

    async def scene(api: ApiRoom) -> None:
        for _ in range(50):
            assert (await api.http.get("/api/v1/stations")).status_code == 401
        assert len(await api.audited(AuditAction.API_ACCESS)) == RECORDS_PER_SOURCE
        api.house.clock.pass_time(timedelta(minutes=2))
        await api.http.get("/api/v1/stations")
        last = (await api.audited(AuditAction.API_ACCESS))[-1]
        assert last.record.details == {"unrecorded_before": 50 - RECORDS_PER_SOURCE}

    room(sqlite_store_url, scene)


def test_an_operation_is_shown_to_whoever_may_ask_for_its_act(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        station = await api.house.station("CS-1")
        now = api.house.clock.now()
        operation = Operation(
            id=uuid4(),
            kind="renew_certificate",
            station_id=station.id,
            state=OperationState.RUNNING,
            progress="triggered",
            created_at=now,
            updated_at=now,
            scope=Scope.CERTIFICATES_ISSUE,
            result={},
        )
        async with api.house.store.writing() as work:
            await work.operations.add(operation)
            await work.commit()
        path = f"/operations/{operation.id}"
        answer = await api.call("GET", path, scopes=[Scope.CERTIFICATES_ISSUE])
        assert answer.status_code == 200
        shown = answer.json()
        assert (shown["station"], shown["state"]) == ("CS-1", "running")
        for scope in set(Scope) - {Scope.CERTIFICATES_ISSUE}:
            assert (await api.call("GET", path, scopes=[scope])).status_code == 403, scope

    room(sqlite_store_url, scene)


def test_the_documents_for_everybody_need_no_token(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for path in ("/api/v1/openapi.json", "/pki/ca.pem", "/oauth/jwks.json"):
            assert (await api.http.get(path)).status_code == 200, path
        for path in ("/docs", "/redoc", "/metrics", "/healthz", "/openapi.json"):
            assert (await api.http.get(path)).status_code == 404, path

    room(sqlite_store_url, scene)
