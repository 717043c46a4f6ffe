"""What people change while a station is connected, or at the door: it takes effect at once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from websockets.asyncio.server import ServerConnection

from csms.domain.signing_budget import BURST
from csms.domain.station import RegistrationStatus, SecurityProfile, Station
from csms.gateway import sessions
from csms.gateway.handshake import Door
from csms.ocpp.actions import Action
from csms.operations.change_station import delete_station
from csms.ports.bus import BusError
from csms.ports.station_link import NotAllowedNow
from tests.fixtures.gateway_house import (
    BOOT,
    LOOPS,
    OPERATOR,
    PASSWORD,
    House,
    World,
    basic,
    closed_with,
    eventually,
    house,
    operator_changes,
    run,
    talk,
    upgrade,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def polled_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hints here: the outbox alone must do (decision 7)."""
    monkeypatch.setattr(sessions, "POLL_SECONDS", 0.02)


async def delete(home: House, station: Station) -> None:
    async with home.store.writing() as work:
        await delete_station(work, station.identity, principal=OPERATOR, now=datetime.now(UTC))
        await work.commit()


RAISED = {"minimum_security_profile": 3, "security_profile": 3}


@pytest.mark.parametrize("changes", [{"blocked": True}, RAISED, None])
def test_who_would_not_be_let_in_again_is_sent_away(
    loop: str, world: World, tmp_path: Path, changes: dict[str, Any] | None
) -> None:
    """Blocked, a higher minimum profile (A05.FR.07), deleted."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                if changes is None:
                    await delete(home, station)
                else:
                    await operator_changes(home, station, **changes)
                assert await closed_with(client) == 1008
            request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")
            assert b" 401 " in await home.answer(2, request)

    run(loop, main)


def test_a_raised_minimum_leaves_a_session_on_that_profile_alone(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            await home.certify(station, leaf)
            async with home.connect(3, "cs001", leaf=leaf) as client:
                await operator_changes(home, station, **RAISED)
                await home.gateway._sessions.catch_up()
                assert (await talk(client, "BootNotification", BOOT))[0] == 3

    run(loop, main)


@pytest.mark.parametrize(
    ("changes", "reason"), [({"blocked": True}, "blocked"), (RAISED, "profile_too_low")]
)
def test_what_changes_between_decision_and_claim_counts(
    loop: str,
    world: World,
    tmp_path: Path,
    changes: dict[str, Any],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claimed = Door._claim

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")

            async def changed_before(self: Door, *arguments: Any) -> Any:
                await operator_changes(home, station, **changes)
                return await claimed(self, *arguments)

            monkeypatch.setattr(Door, "_claim", changed_before)
            request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")
            assert b" 401 " in await home.answer(2, request)
            assert await home.reasons() == [reason]
            assert await home.session_of(station) is None

    run(loop, main)


@pytest.mark.parametrize("changes", [{"blocked": True}, RAISED])
def test_what_changes_between_claim_and_registration_counts(
    loop: str,
    world: World,
    tmp_path: Path,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claimed = Door._claim

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")

            async def changed_after(self: Door, *arguments: Any) -> Any:
                epoch = await claimed(self, *arguments)
                await operator_changes(home, station, **changes)
                await home.gateway._sessions.catch_up()
                return epoch

            monkeypatch.setattr(Door, "_claim", changed_after)
            async with home.connect(2, "cs001") as client:
                assert await closed_with(client) == 1008
            assert len(home.gateway._sessions) == 0

    run(loop, main)


def test_of_two_connections_at_once_the_lower_profile_never_takes_the_higher_ones_place(
    loop: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A05.FR.07: both were decided before either had claimed; whoever still knows the password must
    not displace the station in the very moment it proves profile 3.
    """
    claimed = Door._claim

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")

            async def profile_3_first(self: Door, *arguments: Any) -> Any:
                async with home.store.writing() as work:
                    await work.sessions.claim(
                        station_id=station.id,
                        node="node-2",
                        profile=SecurityProfile.TLS_CERTIFICATE,
                        certificate_id=None,
                        peer="-",
                        at=datetime.now(UTC),
                    )
                    await work.commit()
                return await claimed(self, *arguments)

            monkeypatch.setattr(Door, "_claim", profile_3_first)
            request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")
            assert b" 401 " in await home.answer(2, request)
            assert await home.reasons() == ["profile_too_low"]
            assert (await home.session(station)).epoch == 1

    run(loop, main)


def test_a_station_deleted_at_the_door_is_unknown_and_no_bug(
    loop: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = Door._claim

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")

            async def deleted_meanwhile(self: Door, *arguments: Any) -> Any:
                await delete(home, station)
                return await claimed(self, *arguments)

            monkeypatch.setattr(Door, "_claim", deleted_meanwhile)
            request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")
            with structlog.testing.capture_logs() as logs:
                assert b" 401 " in await home.answer(2, request)
            assert "upgrade_failed" not in {entry["event"] for entry in logs}
            assert (await home.reasons())[-1] == "unknown_station"

    run(loop, main)


@pytest.mark.parametrize("becomes", ["Pending", "Rejected"])
def test_a_station_that_is_accepted_no_more_comes_back_behind_a_closed_gate(
    loop: str, world: World, tmp_path: Path, becomes: str
) -> None:
    """B02.FR.09, B03.FR.03, B03.FR.07: it does not boot again on a reconnect (Part 4 §5.3)."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                assert (await talk(client, "BootNotification", BOOT))[2]["status"] == "Accepted"
                assert (await talk(client, "Heartbeat", {}))[0] == 3
                await operator_changes(home, station, registration_status=becomes)
                assert await closed_with(client) == 1008
            async with home.connect(2, "cs001") as client:
                assert (await talk(client, "Heartbeat", {}))[2] == "SecurityError"
                if becomes == "Rejected":
                    with pytest.raises(NotAllowedNow):
                        await home.link.call(station.id, Action.CLEAR_CACHE, {})
                assert (await talk(client, "BootNotification", BOOT))[2]["status"] == becomes
                await operator_changes(home, station, registration_status="Accepted")
                assert (await talk(client, "BootNotification", BOOT))[2]["status"] == "Accepted"
                assert (await talk(client, "Heartbeat", {}))[0] == 3

    run(loop, main)


@pytest.mark.parametrize("hint_is_lost", [False, True])
def test_a_peer_that_leaves_before_its_101_does_not_leave_an_unseen_session_behind(
    loop: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hint_is_lost: bool
) -> None:
    """It has taken the epoch; whoever had it before is sent away to come back."""
    handshake = ServerConnection.handshake

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                await talk(client, "BootNotification", BOOT)

                async def breaks_off(self: ServerConnection, *rest: Any, **more: Any) -> None:
                    await handshake(self, *rest, **more)
                    raise ConnectionResetError

                async def lost(*_: Any) -> None:
                    raise BusError("lost")

                monkeypatch.setattr(ServerConnection, "handshake", breaks_off)
                if hint_is_lost:
                    monkeypatch.setattr(home.bus, "publish", lost)
                request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")
                with structlog.testing.capture_logs():
                    await home.answer(2, request)
                assert await closed_with(client) == 1008

            async def nobody() -> bool:
                return await home.session_of(station) is None and not home.gateway.health().sessions

            await eventually(nobody)

    run(loop, main)


def test_reconnecting_does_not_refill_the_budget_of_certificate_requests(
    world: World, tmp_path: Path
) -> None:
    """C07."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            codes = []
            for _ in range(BURST + 1):
                async with home.connect(2, "cs001") as client:
                    answer = await talk(client, "SignCertificate", {"csr": "x"})
                    codes.append(answer[2]["statusInfo"]["reasonCode"])
            assert codes == ["InvalidCSR"] * BURST + ["TooManyRequests"]

    run("asyncio", main)


def test_a_trigger_while_pending_is_good_for_one_heartbeat(world: World, tmp_path: Path) -> None:
    """B01.FR.10, over the wire."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001", status=RegistrationStatus.PENDING)
            async with home.connect(2, "cs001") as client:
                await talk(client, "BootNotification", BOOT)
                async with asyncio.TaskGroup() as group:
                    group.create_task(answered(client))
                    await home.link.call(
                        station.id, Action.TRIGGER_MESSAGE, {"requestedMessage": "Heartbeat"}
                    )
                assert (await talk(client, "Heartbeat", {}))[0] == 3
                assert (await talk(client, "Heartbeat", {}))[2] == "SecurityError"

    run("asyncio", main)


async def answered(client: Any) -> None:
    call = json.loads(await client.recv())
    await client.send(json.dumps([3, call[1], {"status": "Accepted"}]))
