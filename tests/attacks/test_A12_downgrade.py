"""A12: a security profile once reached is never left downward (A00.FR.002, 005, A05.FR.07)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from csms.domain.station import Station
from csms.operations.confirm_session import confirm_session
from csms.operations.errors import Invalid
from csms.ports.records import JobKind
from tests.attacks.entering import (
    BOOT,
    Credential,
    certified,
    command,
    enter,
    heard_nothing,
    request_of,
    visit,
)
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.api_room import ApiRoom, room
from tests.fixtures.gateway_house import World, operator_changes

PROFILE_1 = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
# (reached, tried)
LOWER = [(3, 2), (3, 1), (2, 1)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def record_of(fort: Keep, station: Station) -> Station:
    async def read() -> Station | None:
        async with fort.home.store.reading() as work:
            return await work.stations.by_id(station.id)

    found = fort.do(read())
    assert found is not None
    return found


def concluded(fort: Keep) -> None:
    """The worker has drawn its conclusions from what was seen."""

    async def work_off() -> None:
        now = datetime.now(UTC)
        async with fort.home.store.writing() as work:
            jobs = await work.jobs.claim(now=now, lease_until=now, limit=100)
            await work.commit()
        for job in jobs:
            assert job.kind is JobKind.SESSION_SEEN
            clock = fort.home.gateway._around.clock
            await confirm_session(job, store=fort.home.store, clock=clock)

    fort.do(work_off())


def at_profile(fort: Keep, identity: str, reached: int) -> tuple[Station, Credential]:
    """Registered for profile 1, with a password, and come in on `reached` since."""
    serial = identity.upper()
    station = fort.add(identity, serial, minimum=1, security_profile=1)
    how = certified(fort, station) if reached == 3 else Credential(identity)
    return station, how


@pytest.mark.parametrize("seen_by_worker", [False, True])
@pytest.mark.parametrize("is_connected", [False, True])
def test_nothing_lower_opens_the_door_though_the_password_is_right(
    world: World,
    tmp_path: Path,
    scoreboard: Scoreboard,
    seen_by_worker: bool,
    is_connected: bool,
) -> None:
    when = ("before" if not seen_by_worker else "after") + " the worker has seen it"
    beside = "beside the session" if is_connected else "with nobody connected"
    row = scoreboard.row("A12", f"3 to 2, 3 to 1, 2 to 1, right password, {beside}, {when}")
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort), fort.bounded_lag():
        for reached, tried in LOWER:
            station, how = at_profile(fort, f"cs{reached}{tried}", reached)
            password = Credential(station.identity)
            with enter(fort, tried, password):
                pass  # until now this was good enough
            with enter(fort, reached, how) as wire, row.attempt():
                if not is_connected:
                    wire.close()
                if seen_by_worker:
                    concluded(fort)
                before = fort.session_of(station)
                fort.records()
                with visit(fort, tried, password) as visitor:
                    assert visitor.ask(request_of(password)).status == 401
                assert fort.refusals() == ["profile_too_low"]
                if is_connected:
                    assert fort.session_of(station) == before
                    assert heard_nothing(wire)
                    assert wire.call("Heartbeat", {})[0] == 3
            if seen_by_worker:
                assert record_of(fort, station).minimum_security_profile == reached


def test_no_word_of_the_station_lowers_it(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Smuggled: in DataTransfer, in customData, in the target, in headers."""
    row = scoreboard.row("A12", "smuggled in messages, target and headers")
    custom = {"vendorId": "x", "securityProfile": 1, "minimum_security_profile": 1}
    messages: list[tuple[str, dict[str, Any]]] = [
        ("DataTransfer", {"vendorId": "csms", "messageId": "SetNetworkProfile", "data": custom}),
        ("DataTransfer", {"vendorId": "org.openchargealliance", "data": {"securityProfile": 1}}),
        ("BootNotification", BOOT | {"customData": custom}),
        ("NotifyReport", _report("SecurityProfile", "1")),
        ("NotifyReport", _report("AllowSecurityProfileDowngrade", "true")),
        ("SecurityEventNotification", _event("SecurityProfileDowngraded")),
    ]
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort):
        station, how = at_profile(fort, "cs3", 3)
        with enter(fort, 3, how) as wire:
            concluded(fort)
            before = replace(record_of(fort, station), last_seen_at=None)
            for action, payload in messages:
                with row.attempt():
                    wire.call(action, payload)
                    assert replace(record_of(fort, station), last_seen_at=None) == before
        password = Credential(station.identity)
        fort.records()
        for tried in (1, 2):
            for target, status in (
                ("/ocpp/cs3?securityProfile=1", 404),
                ("/ocpp/cs3;profile=1", 404),
                ("/ocpp/cs3", 401),
            ):
                header = ("X-Security-Profile: 1", "X-Minimum-Profile: 1")
                request = request_of(password, *header).replace(b"/ocpp/cs3", target.encode(), 1)
                with row.attempt(), visit(fort, tried, password) as visitor:
                    assert visitor.ask(request).status == status
                    reason = "profile_too_low" if status == 401 else "target"
                    assert fort.refusals() == [reason]


def _report(variable: str, value: str) -> dict[str, Any]:
    data = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": variable},
        "variableAttribute": [{"value": value}],
    }
    now = "2026-01-01T00:00:00Z"
    return {"requestId": 1, "generatedAt": now, "seqNo": 0, "reportData": [data]}


def _event(kind: str) -> dict[str, Any]:
    return {"type": kind, "timestamp": "2026-01-01T00:00:00Z"}


CHANGES = [
    {"minimum_security_profile": 1},
    {"minimum_security_profile": 2},
    {"security_profile": 1},
    {"security_profile": 2},
    {"minimum_security_profile": 1, "security_profile": 1},
    {"minimum_security_profile": 2, "security_profile": 2},
]


@pytest.mark.parametrize("seen_by_worker", [False, True])
def test_people_do_not_lower_it_and_send_no_network_profile_that_would(
    world: World, tmp_path: Path, scoreboard: Scoreboard, seen_by_worker: bool
) -> None:
    when = ("before" if not seen_by_worker else "after") + " the worker has seen it"
    row = scoreboard.row("A12", f"lowered by the operator, or by a CALL to the station, {when}")
    with keep(world, tmp_path, **PROFILE_1) as fort:
        station, how = at_profile(fort, "cs3", 3)
        with enter(fort, 3, how) as wire:
            if seen_by_worker:
                concluded(fort)
            before = record_of(fort, station)
            for changes in CHANGES:
                with row.attempt(), pytest.raises(Invalid):
                    fort.do(operator_changes(fort.home, station, **changes))
            for profile in (1, 2):
                with row.attempt(), pytest.raises(Invalid) as refused:
                    fort.do(command(fort, station, "SetNetworkProfile", network_profile(profile)))
                (violation,) = refused.value.violations
                assert violation.pointer == "/connectionData/securityProfile"
            for name in ("AllowSecurityProfileDowngrade", "allowsecurityprofiledowngrade"):
                allow = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": name}}
                payload = {"setVariableData": [allow | {"attributeValue": "true"}]}
                with row.attempt(), pytest.raises(Invalid):
                    fort.do(command(fort, station, "SetVariables", payload))
            assert record_of(fort, station) == before
            assert heard_nothing(wire), "the station was told something"


def network_profile(profile: int) -> dict[str, Any]:
    return {
        "configurationSlot": 1,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": "ws://csms.example/ocpp",
            "messageTimeout": 30,
            "securityProfile": profile,
            "ocppInterface": "Wired0",
        },
    }


def test_the_api_says_422_and_names_the_field(sqlite_store_url: str) -> None:
    """The same through the API; a profile that is not lower goes out."""

    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1", profile=2)
        path = "/stations/CS-1"
        for field in ("security_profile", "minimum_security_profile"):
            answer = await api.call("PATCH", path, {field: 1})
            assert answer.status_code == 422, answer.text
            assert f"/{field}" in {error["pointer"] for error in answer.json()["errors"]}
        send = f"{path}/commands/SetNetworkProfile"
        answer = await api.call("POST", send, network_profile(1))
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/connectionData/securityProfile"
        assert api.house.link.calls == []
        for profile in (2, 3):
            api.house.link.answers = [{"status": "Accepted"}]
            answer = await api.call("POST", send, network_profile(profile))
            assert answer.status_code == 200

    room(sqlite_store_url, scene)
