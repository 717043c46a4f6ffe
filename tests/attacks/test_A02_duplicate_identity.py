"""A02, P15: two stations with one identity; the newest authenticated is the only one."""

from __future__ import annotations

import re
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from csms.domain.security_event import CSMSEvent
from csms.domain.station import Station
from csms.domain.takeovers import MOST_IN_WINDOW
from csms.ports.station_link import StationCallError
from tests.attacks.entering import (
    Credential,
    Talker,
    certified,
    command,
    enter,
    events_of,
    heard_nothing,
    request_of,
    visit,
)
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import World

ADDRESS = r"127\.0\.0\.1:\d+"
DUPLICATE, FLAPPING = CSMSEvent.DUPLICATE_STATION_CONNECTION, CSMSEvent.STATION_SESSION_FLAPPING


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


class Commander(threading.Thread):
    """An operator who sends command after command, each with a name of its own."""

    def __init__(self, fort: Keep, station: Station, label: str) -> None:
        super().__init__(name=f"operator {label}")
        self._label = label
        self._fort, self._station = fort, station
        self._enough = threading.Event()
        self.issued: dict[str, float] = {}
        self.answered: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.start()

    def run(self) -> None:
        for number in count():
            if self._enough.is_set():
                return
            name = f"{self._label}{number}"
            self.issued[name] = time.monotonic()
            payload = {"vendorId": "test", "messageId": name}
            try:
                answer = self._fort.do(command(self._fort, self._station, "DataTransfer", payload))
            except StationCallError as error:
                self.failed[name] = type(error).__name__
            else:
                self.answered[name] = str(answer["data"])

    def stop(self) -> None:
        self._enough.set()
        self.join(30)
        assert not self.is_alive()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("profile", [2, 3])
def test_the_newest_takes_the_place_and_every_command_reaches_it_or_fails(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    row = scoreboard.row("A02 P15", f"swaps under commands, profile {profile}")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        station = fort.add("CS001", "SN001")
        credential = certified(fort, station) if profile == 3 else Credential("cs001")
        talkers = [Talker(enter(fort, profile, credential), "0")]
        entered = [time.monotonic()]
        operators = [Commander(fort, station, label) for label in "abc"]
        slowest = 0.0
        try:
            for swap in range(1, SIZES.swaps + 1):
                with row.attempt():
                    wire = enter(fort, profile, credential)
                    entered.append(time.monotonic())
                    talkers.append(Talker(wire, str(swap)))
                    assert talkers[-2].ends().code == 1008
                    slowest = max(slowest, talkers[-2].ended_at - entered[-1])
                    session = fort.session_of(station)
                    assert session is not None
                    assert session.epoch == swap + 1
                    assert fort.now(lambda: len(fort.home.gateway._sessions)) == 2  # and Witness
        finally:
            for operator in operators:
                operator.stop()
            talkers[-1].leave()
        row.measure(f"old one closed after at most {slowest * 1000:.0f} ms")
        issued = {name: at for each in operators for name, at in each.issued.items()}
        answered = [name for each in operators for name in each.answered]
        failed = [why for each in operators for why in each.failed.values()]
        row.measure(f"{len(answered)} commands answered, {len(failed)} failed")

        arrived = [name for talker in talkers for name in talker.received]
        assert len(arrived) == len(set(arrived)), "a command was delivered twice"
        assert set(answered) <= set(arrived)
        assert set(failed) <= {"NotConnected", "NoAnswer"}
        for talker, successor_entered in zip(talkers[:-1], entered[1:], strict=True):
            late = [n for n in talker.received if issued[n] > successor_entered]
            assert late == [], "a command went to the one that had lost its place"

        events = events_of(fort, station)
        told = [str(event.tech_info) for event in events if event.type == DUPLICATE]
        by = f"certificate {credential.record.id}" if credential.record else "password"
        assert len(told) == SIZES.swaps
        assert all(re.fullmatch(f"from {ADDRESS} by {by}, was {ADDRESS} by {by}", t) for t in told)
        alarms = [event for event in events if event.type == FLAPPING]
        assert len(alarms) == (SIZES.swaps > MOST_IN_WINDOW), "one alarm in a window"


def test_a_certificate_displaces_the_password_and_never_the_other_way(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """A05.FR.07: whoever still knows the password must not throw out the certificate."""
    row = scoreboard.row("A02 P15", "profile 3 over 2, 2 over 3")
    with keep(world, tmp_path) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        password, certificate = Credential("cs001"), certified(fort, station)
        with row.attempt():
            first = Talker(enter(fort, 2, password), "2")
            with enter(fort, 3, certificate) as second:
                assert first.ends().code == 1008
                fort.records()
                (event,) = events_of(fort, station)
                assert f"by certificate {certificate.record.id}" in str(event.tech_info)  # type: ignore[union-attr]
                assert str(event.tech_info).endswith("by password")
                before = fort.session_of(station)
                with visit(fort, 2, password) as visitor:
                    assert visitor.ask(request_of(password)).status == 401
                assert fort.refusals() == ["profile_too_low"]
                assert fort.session_of(station) == before
                assert heard_nothing(second)
                assert second.call("Heartbeat", {})[0] == 3


def test_who_has_no_right_to_the_place_disturbs_nobody_byte_for_byte(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("A02 P15", "wrong credentials beside a live session")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        for profile in (2, 3):
            station = fort.add(f"CS{profile}", f"SN{profile}")
            other = fort.add(f"CS{profile}-other", f"SN{profile}-other")
            mine = certified(fort, station) if profile == 3 else Credential(station.identity)
            strangers = certified(fort, other)
            wrong: list[tuple[int, Credential, str]] = [
                (2, Credential(station.identity, password="x" * 40), "password"),
                (2, Credential(station.identity, password=""), "password"),
                (3, Credential(station.identity, leaf=strangers.leaf), OTHERS),
                (3, Credential(station.identity, leaf=unknown_leaf(fort, station)), UNKNOWN),
            ]
            with enter(fort, profile, mine) as wire:
                fort.records()
                before = fort.session_of(station)
                for door, credential, reason in wrong:
                    with row.attempt(), visit(fort, door, credential) as visitor:
                        answer = visitor.ask(request_of(credential))
                        assert answer.status == (401 if door == 2 else 403)
                        assert fort.refusals() == [reason]
                        assert heard_nothing(wire)
                        assert fort.session_of(station) == before
                assert wire.call("Heartbeat", {})[0] == 3


OTHERS, UNKNOWN = "certificate_of_another_station", "certificate_unknown"


def unknown_leaf(fort: Keep, station: Station) -> Path:
    """Signed by the station issuing CA, right in every field, and not on record."""
    leaf = fort.home.world.stations.station(station.serial_number)
    return leaf.write(fort.home.directory, f"unknown-{station.identity}.pem")
