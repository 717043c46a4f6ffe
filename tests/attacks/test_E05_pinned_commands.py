"""E05, A02: a CALL meant for one session reaches that session or nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from csms.domain.password import matching_record
from csms.domain.station import Station
from csms.ocpp.actions import Action
from csms.operations.change_password import change_password
from csms.operations.errors import Conflict
from csms.operations.send_command import send_command
from csms.ports.bus import Json
from csms.ports.station_link import NotConnected
from tests.attacks.entering import OPERATOR, Credential, Talker, certified, enter
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import PASSWORD, PEPPERS, World

PROFILE_1 = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


class SwappingLink:
    """The gateway's own link; but somebody takes the station's place just before it is used."""

    def __init__(self, fort: Keep, profile: int, usurper: Credential) -> None:
        self._fort, self._profile, self._usurper = fort, profile, usurper
        self.talker: Talker | None = None
        self.sent: list[Json] = []

    async def call(
        self, station_id: UUID, action: Action, payload: Json, *, epoch: int | None = None
    ) -> Json:
        self.sent.append(payload)
        self.talker = await asyncio.to_thread(self._usurp)
        return await self._fort.home.link.call(station_id, action, payload, epoch=epoch)

    def _usurp(self) -> Talker:
        return Talker(enter(self._fort, self._profile, self._usurper), "usurper")

    async def disconnect(self, station_id: UUID, *, reason: str) -> bool:
        return await self._fort.home.link.disconnect(station_id, reason=reason)


async def new_password(fort: Keep, link: Any) -> Json:
    around = fort.home.gateway._around
    return await change_password(
        fort.home.store,
        link,
        "cs001",
        principal=OPERATOR,
        clock=around.clock,
        randomness=around.randomness,
        peppers=PEPPERS,
    )


async def passwords_of(fort: Keep, station: Station) -> Any:
    async with fort.home.store.reading() as work:
        found = await work.stations.by_id(station.id)
    assert found is not None
    return found.passwords


@pytest.mark.parametrize(("first", "then"), [(2, 2), (2, 3), (3, 3)])
def test_a_new_password_is_shown_to_no_session_that_came_since(
    world: World, tmp_path: Path, scoreboard: Scoreboard, first: int, then: int
) -> None:
    row = scoreboard.row("E05", f"taken over while a password is on its way, {first} to {then}")
    with keep(world, tmp_path) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        certificate, password = certified(fort, station), Credential("cs001")
        how = {2: password, 3: certificate}
        honest = Talker(enter(fort, first, how[first]), "honest")
        link = SwappingLink(fort, then, how[then])
        with row.attempt():
            with pytest.raises(NotConnected):
                fort.do(new_password(fort, link))
            assert honest.ends().received == []
            assert link.talker is not None
            assert link.talker.received == []
            (slot,) = fort.do(passwords_of(fort, station))
            assert matching_record(PASSWORD, (slot,), PEPPERS), "the new one is dropped"
            link.talker.leave()


def test_a_command_on_its_way_is_not_given_to_who_came_since(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("E05", "taken over while a command is on its way")
    with keep(world, tmp_path) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        honest = Talker(enter(fort, 2, Credential("cs001")), "honest")
        link = SwappingLink(fort, 2, Credential("cs001"))

        async def reset() -> Json:
            return await send_command(
                fort.home.store,
                link,
                station.identity,
                "Reset",
                {"type": "Immediate"},
                principal=OPERATOR,
                clock=fort.home.gateway._around.clock,
            )

        with row.attempt():
            with pytest.raises(NotConnected):
                fort.do(reset())
            assert honest.ends().received == []
            assert link.talker is not None
            assert link.talker.received == []
            link.talker.leave()


def test_an_epoch_that_is_not_the_sessions_reaches_nobody(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """A predecessor's, a successor's that is still to register, and nonsense."""
    row = scoreboard.row("E05", "CALLs pinned to another epoch")
    with keep(world, tmp_path) as fort:
        station = fort.add("CS001", "SN001")
        Talker(enter(fort, 2, Credential("cs001")), "1")
        talker = Talker(enter(fort, 2, Credential("cs001")), "2")
        call = fort.home.link.call
        for pinned in (0, 1, 3, 2**31):
            with row.attempt(), pytest.raises(NotConnected):
                fort.do(call(station.id, Action.CLEAR_CACHE, {}, epoch=pinned))
        assert talker.received == []
        for pinned_or_not in (2, None):
            with row.attempt():
                fort.do(call(station.id, Action.CLEAR_CACHE, {}, epoch=pinned_or_not))
        assert talker.received == ["ClearCache"] * 2
        talker.leave()


def test_a_password_is_never_sent_in_clear(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("E05", "a new password for a session on profile 1")
    with keep(world, tmp_path, **PROFILE_1) as fort, row.attempt():
        station = fort.add("CS001", "SN001", minimum=1, security_profile=1)
        talker = Talker(enter(fort, 1, Credential("cs001")), "in clear")
        with pytest.raises(Conflict):
            fort.do(new_password(fort, fort.home.link))
        assert talker.received == []
        assert len(fort.do(passwords_of(fort, station))) == 1
        talker.leave()
