"""A14: talking before being accepted, and with another's serial number (B01-B03)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from csms.domain.boot import TRIGGERED_BY_TRIGGER_MESSAGE
from csms.domain.station import RegistrationStatus, Station
from csms.gateway.connection import VIOLATION_LIMIT
from csms.ocpp.actions import FROM_CSMS, FROM_STATION, Action, Kind
from csms.ports.bus import Json
from csms.ports.station_link import NotAllowedNow
from tests.attacks.entering import BOOT, Credential, certified, enter, heard_nothing
from tests.attacks.hostile import HostileStation, frame
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import World
from tests.fixtures.ocpp_corpus import Messages, schema_of

PENDING, REJECTED = RegistrationStatus.PENDING, RegistrationStatus.REJECTED
# What a connection and an answer to it leave behind, whatever is said on it.
KEEPS_OF_THE_DOOR = {"audit_entries", "connection_attempts", "station_sessions", "outbox"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def valid(action: Action) -> Any:
    """A payload of that action, drawn from its schema with about half of the optional fields."""
    schema = schema_of(action, Kind.REQUEST)
    return Messages(schema, Random(zlib.crc32(action.encode()))).valid(schema, 0.5)


PAYLOADS = {action: valid(action) for action in Action}
# What each says that is registered with the serial number SN<its place>01.
OTHER_SERIALS = ("SN002", "sn101", "SN2010", "SN3", " SN401", "SN501 ", "*")
NOT_BOOT: list[Action] = [action for action in Action if action is not Action.BOOT_NOTIFICATION]


def stored(fort: Keep) -> dict[str, list[Any]]:
    """Every row of every table but those of the door, as the file says."""
    with closing(sqlite3.connect(fort.home.directory / "csms.db")) as database:
        names = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not name.startswith(("audit", "sqlite_")) and name not in KEEPS_OF_THE_DOOR
        ]
        assert {"stations", "security_events", "jobs"} <= set(names), names
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def in_state(fort: Keep, identity: str, status: RegistrationStatus | None) -> Station:
    """Registered, and booted as that; None: it has never booted."""
    registered = RegistrationStatus.ACCEPTED if status is None else status
    station = fort.do(fort.home.add(identity, identity.upper(), status=registered))
    if status is not None:
        fort.do(fort.home.booted(station, status))
    return station


def connections(fort: Keep, station: Station, actions: list[Action]) -> Iterator[Any]:
    """(a connection, actions to try on it): fewer than what would end it for its violations."""
    size = VIOLATION_LIMIT - 2
    for start in range(0, len(actions), size):
        with enter(fort, 2, Credential(station.identity)) as wire:
            yield wire, actions[start : start + size]


@pytest.mark.parametrize("status", [None, PENDING, REJECTED])
@pytest.mark.parametrize("is_well_formed", [True, False])
def test_every_action_but_boot_is_a_security_error_and_leaves_nothing(
    world: World,
    tmp_path: Path,
    scoreboard: Scoreboard,
    status: RegistrationStatus | None,
    is_well_formed: bool,
) -> None:
    """B01.FR.10, B02.FR.09, B03.FR.07; of the wrong direction and malformed ones alike."""
    name = status.value if status else "not booted"
    what = "every action" if is_well_formed else "every action malformed, and one invented"
    row = scoreboard.row("A14", f"{what}, {name}")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        station = in_state(fort, "cs001", status)
        before = stored(fort)
        for wire, actions in connections(fort, station, NOT_BOOT):
            for action in actions:
                payload = PAYLOADS[action] if is_well_formed else {"not": "in any schema"}
                with row.attempt():
                    assert wire.call(action.value, payload)[2] == "SecurityError", action
        if not is_well_formed:
            with row.attempt(), enter(fort, 2, Credential("cs001")) as wire:
                assert wire.call("Invented", {})[2] == "SecurityError"
                answer = wire.call("BootNotification", {"not": "in any schema"})
                assert answer[2] == "FormatViolation", "it may boot, and is told what is wrong"
        assert stored(fort) == before


def test_its_twin_that_has_booted_is_answered_by_the_specification(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("A14", "every action, accepted")
    with keep(world, tmp_path) as fort:
        station = in_state(fort, "cs001", RegistrationStatus.ACCEPTED)
        for wire, actions in connections(fort, station, NOT_BOOT):
            for action in actions:
                with row.attempt():
                    answer = wire.call(action.value, PAYLOADS[action])
                    if action not in FROM_STATION:
                        assert answer[2] == "NotSupported", action
                    else:
                        assert answer[0] == 3 or answer[2] == "NotSupported", action


def asked(fort: Keep, station: Station, wire: HostileStation, action: Action, what: Json) -> None:
    """The CSMS sends that CALL, and the station says Accepted."""

    async def call() -> Json:
        return await fort.home.link.call(station.id, action, what)

    running = asyncio.run_coroutine_threadsafe(call(), fort._loop)
    message = wire.read_text()
    assert message[2:] == [action.value, what]
    wire.send(frame(json.dumps([3, message[1], {"status": "Accepted"}]).encode()))
    assert running.result(5) == {"status": "Accepted"}


def test_a_trigger_opens_for_what_it_triggers_and_for_nothing_else(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("A14", "every trigger while Pending, then every action of a station")
    others = [action for action in NOT_BOOT if action in FROM_STATION]
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        for number, (trigger, opened) in enumerate(TRIGGERED_BY_TRIGGER_MESSAGE.items()):
            station = in_state(fort, f"cs{number}", PENDING)
            with enter(fort, 2, Credential(station.identity)) as wire:
                request = {"requestedMessage": trigger}
                asked(fort, station, wire, Action.TRIGGER_MESSAGE, request)
                let_in = []
                for action in others:
                    with row.attempt():
                        answer = wire.call(action.value, PAYLOADS[action])
                        if answer[0] == 3 or answer[2] != "SecurityError":
                            let_in.append(action)
                expected = [] if opened is Action.BOOT_NOTIFICATION else [opened]
                assert let_in == expected, trigger


def test_a_rejected_station_is_told_nothing_by_nobody(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """B03.FR.03."""
    row = scoreboard.row("A14", "every CALL of ours to a Rejected station")
    with keep(world, tmp_path) as fort, Witness(fort):
        station = in_state(fort, "cs001", REJECTED)
        with enter(fort, 2, Credential("cs001")) as wire:
            for booted_once_more in (False, True):
                if booted_once_more:
                    assert wire.call("BootNotification", BOOT)[2]["status"] == "Rejected"
                for action in sorted(FROM_CSMS):
                    with row.attempt(), pytest.raises(NotAllowedNow):
                        fort.do(fort.home.link.call(station.id, action, PAYLOADS[action]))
                assert heard_nothing(wire)


def test_a_boot_with_another_serial_number_ends_the_connection_on_profile_3(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """B01.FR.11, 12. On profile 2, where nothing has proved a serial number, it is reported."""
    row = scoreboard.row("A14", "Boot with another serial number")
    with keep(world, tmp_path) as fort, Witness(fort):
        for number, said in enumerate(OTHER_SERIALS):
            boot = {**BOOT, "chargingStation": {**BOOT["chargingStation"], "serialNumber": said}}
            station = fort.add(f"cs{number}", f"SN{number}01")
            with row.attempt(), enter(fort, 2, Credential(station.identity)) as wire:
                assert wire.call("BootNotification", boot)[2]["status"] == "Accepted", said
                assert fort.do(fort.home.events(station)) == ["SerialNumberMismatch"]
            with row.attempt(), enter(fort, 3, certified(fort, station)) as wire:
                assert wire.call("BootNotification", boot)[2]["status"] == "Rejected", said
                assert wire.close_code() == 1008
