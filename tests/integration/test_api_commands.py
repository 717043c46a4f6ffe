"""/stations/{identity}/commands/{Action}: each ending has its status."""

import pytest

from csms.domain.access import Scope
from csms.domain.audit import AuditAction, Outcome
from csms.ocpp.actions import Action
from csms.ports.station_link import (
    InvalidAnswer,
    NoAnswer,
    NotAllowedNow,
    NotConnected,
    QueueFull,
    StationCallError,
    StationRefused,
)
from tests.fixtures.api_room import ApiRoom, room

GET_VARIABLES = {
    "getVariableData": [
        {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "OrganizationName"}}
    ]
}
PATH = "/stations/CS-1/commands"


def test_the_answer_is_the_stations_own(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [{"getVariableResult": []}]
        answer = await api.call(
            "POST", f"{PATH}/GetVariables", GET_VARIABLES, scopes=[Scope.COMMANDS_SEND]
        )
        assert answer.status_code == 200
        assert answer.json() == {"status": "answered", "response": {"getVariableResult": []}}
        ((_, action, payload),) = api.house.link.calls
        assert (action, payload) == (Action.GET_VARIABLES, GET_VARIABLES)

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (NotConnected(), 409),
        (NotAllowedNow(), 409),
        (QueueFull(), 409),
        (NoAnswer(), 504),
        (InvalidAnswer(), 502),
        (StationRefused("NotSupported", "no such variable"), 502),
    ],
)
def test_each_failure_has_its_status(
    sqlite_store_url: str, ending: StationCallError, status: int
) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [ending]
        answer = await api.call("POST", f"{PATH}/GetVariables", GET_VARIABLES)
        assert answer.status_code == status
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        if isinstance(ending, StationRefused):
            assert problem["code"] == "NotSupported"
            assert problem["description"] == "no such variable"
        last = (await api.audited(AuditAction.COMMAND_SEND))[-1].record
        assert (last.outcome, last.reason) == (Outcome.FAILED, type(ending).__name__)

    room(sqlite_store_url, scene)


def test_a_payload_that_breaks_the_schema_never_leaves(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        answer = await api.call("POST", f"{PATH}/Reset", {"type": "Now", "more": 1})
        assert answer.status_code == 422
        assert {error["pointer"] for error in answer.json()["errors"]} == {"", "/type"}
        assert api.house.link.calls == []

    room(sqlite_store_url, scene)


@pytest.mark.parametrize("action", ["reset", "Nonsense", "Heartbeat", "BootNotification"])
def test_what_is_no_command_of_ours_is_not_found(sqlite_store_url: str, action: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        answer = await api.call("POST", f"{PATH}/{action}", {})
        assert (answer.status_code, answer.json()["detail"]) == (404, "no such action")

    room(sqlite_store_url, scene)


def test_a_dangerous_action_needs_its_own_scope(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [{"status": "Accepted"}]
        body = {"type": "OnIdle"}
        answer = await api.call("POST", f"{PATH}/Reset", body, scopes=[Scope.COMMANDS_SEND])
        assert answer.status_code == 403
        assert answer.json()["scope"] == "commands:dangerous"
        assert api.house.link.calls == []
        both = [Scope.COMMANDS_SEND, Scope.COMMANDS_DANGEROUS]
        answer = await api.call("POST", f"{PATH}/Reset", body, scopes=both)
        assert answer.status_code == 200

    room(sqlite_store_url, scene)


def test_a_command_is_at_most_64_kib(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        answer = await api.call("POST", f"{PATH}/GetVariables", {"x": "y" * (64 << 10)})
        assert answer.status_code == 413
        answer = await api.call("POST", f"{PATH}/GetVariables", {"x": "y" * (63 << 10)})
        assert answer.status_code == 422

    room(sqlite_store_url, scene)


@pytest.mark.parametrize("body", [[], "x", 1, None])
def test_a_payload_is_an_object(sqlite_store_url: str, body: object) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        assert (await api.call("POST", f"{PATH}/Reset", body)).status_code == 422

    room(sqlite_store_url, scene)
