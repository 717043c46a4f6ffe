"""A16: no common subprotocol, no connection; and no frame is handled that was not let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csms.domain.station import parse_identity
from tests.attacks.entering import BOOT, Credential, certified, request_of, visit
from tests.attacks.hostile import frame
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import World

PROFILE_1 = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
NAME = "Sec-WebSocket-Protocol"
OURS = "ocpp2.0.1"
# A header line has at most 8,190 bytes: a thousand names of six, and a thousand too long ones.
THOUSAND = ", ".join(f"x{number:03}" for number in range(1000))
THOUSAND_LONG = ", ".join(f"ocpp2.0.{number}x" for number in range(1000))

REFUSED = {
    "none": [],
    "empty": [""],
    "a comma": [","],
    "commas": [" , ,, "],
    "ocpp1.6": ["ocpp1.6"],
    "ocpp2.0": ["ocpp2.0"],
    "ocpp2.1": ["ocpp2.1"],
    "capitals": ["OCPP2.0.1"],
    "mixed": ["Ocpp2.0.1"],
    "longer": ["ocpp2.0.10"],
    "shorter": ["ocpp2.0."],
    "a prefix": ["xocpp2.0.1"],
    "v201": ["v2.0.1"],
    "a path": ["/ocpp2.0.1"],
    "quoted": ['"ocpp2.0.1"'],
    "with a parameter": ["ocpp2.0.1;q=1"],
    "semicolons": ["ocpp1.6;ocpp2.0.1"],
    "spaces": ["ocpp1.6 ocpp2.0.1"],
    "a space inside": ["ocpp 2.0.1"],
    "NUL": ["ocpp2.0.1\x00"],
    "a tab inside": ["ocpp2.0.1\tx"],
    "no-break space": ["ocpp2.0.1\xa0"],
    "a wildcard": ["*"],
    "a thousand others": [THOUSAND],
    "a thousand long others": [THOUSAND_LONG],
    "two headers of others": ["ocpp1.6", "ocpp2.1"],
    "two thousand in headers": [THOUSAND, THOUSAND],
}
# The parser lets no such bytes through, and what it says is not the door's: none, or 431.
NO_HTTP = {"NUL": 0, "a thousand long others": 431}
ACCEPTED = {
    "alone": [OURS],
    "white space around": [f"  {OURS}\t"],
    "first": [f"{OURS}, ocpp1.6"],
    "last": [f"ocpp2.1,ocpp1.6,{OURS}"],
    "among empty elements": [f",, {OURS} ,,"],
    "twice": [f"{OURS}, {OURS}"],
    "two headers": [OURS, OURS],
    "in the second header": ["ocpp1.6", OURS],
    "behind a thousand": [f"{THOUSAND}, {OURS}"],
    "capitals beside it": [f"OCPP2.0.1, {OURS}"],
}
BOOT_CALL = frame(json.dumps([2, "boot", "BootNotification", BOOT]).encode())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def request(how: Credential, names: list[str]) -> bytes:
    return request_of(how, *(f"{NAME}: {name}" for name in names), subprotocol=None)


def how_on(fort: Keep, profile: int) -> Credential:
    station = fort.do(fort.home.add("cs001", "SN001", minimum=profile, security_profile=profile))
    return certified(fort, station) if profile == 3 else Credential("cs001")


def has_booted(fort: Keep) -> bool:
    async def read() -> bool:
        async with fort.home.store.reading() as work:
            station, _ = await work.stations.for_admission(parse_identity("cs001"), None)
        assert station is not None
        return station.booted_as is not None

    return fort.do(read())


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_without_a_common_subprotocol_it_is_400_and_what_follows_is_not_read(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    """TC_B_58; and the frames are not handled that came in the same breath."""
    row = scoreboard.row("A16", f"subprotocols that are not ours, a frame behind; {profile}")
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort), fort.bounded_lag():
        how = how_on(fort, profile)
        fort.records()
        for what, names in REFUSED.items():
            with row.attempt(), visit(fort, profile, how) as visitor:
                answer = visitor.ask(request(how, names) + BOOT_CALL)
                assert answer.status == NO_HTTP.get(what, 400), (what, answer.raw)
                assert answer.header(NAME) is None, what
                (reason,) = fort.refusals()  # "http" where the list itself cannot be read
                assert reason in ({"http"} if what in NO_HTTP else {"subprotocol", "http"}), what
                assert not has_booted(fort), what


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_ours_among_others_is_taken_and_named_exactly(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    row = scoreboard.row("A16", f"ours among others, profile {profile}")
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort):
        how = how_on(fort, profile)
        for what, names in ACCEPTED.items():
            with row.attempt(), visit(fort, profile, how) as visitor:
                answer = visitor.ask(request(how, names))
                assert answer.status == 101, (what, answer.raw)
                head = answer.head.decode().lower()
                assert answer.header(NAME) == OURS, what
                assert head.count(NAME.lower()) == 1
                assert visitor.call("BootNotification", BOOT)[0] == 3


def test_what_is_sent_before_the_101_has_come_is_handled_in_order_and_once(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """A station that is let in may be in a hurry."""
    row = scoreboard.row("A16", "frames in one breath with an accepted request")
    numbers = [str(number) for number in range(12)]
    hurry = BOOT_CALL + b"".join(
        frame(json.dumps([2, number, "Heartbeat", {}]).encode()) for number in numbers
    )
    with keep(world, tmp_path) as fort, Witness(fort):
        how = how_on(fort, 2)
        for profile_request in (request(how, [OURS]), request(how, ["ocpp1.6", OURS])):
            with row.attempt(), visit(fort, 2, how) as visitor:
                assert visitor.ask(profile_request + hurry).status == 101
                answers = [visitor.read_text() for _ in range(1 + len(numbers))]
                assert [answer[:2] for answer in answers] == [[3, "boot"]] + [
                    [3, number] for number in numbers
                ]
                assert visitor.call("Heartbeat", {}, "the next")[:2] == [3, "the next"]


def test_a_second_request_on_a_refused_connection_is_not_read(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """The answer says close; a right request behind a wrong one finds nobody."""
    row = scoreboard.row("A16", "a right request behind a refused one")
    with keep(world, tmp_path) as fort, Witness(fort):
        how = how_on(fort, 2)
        fort.records()
        for names in ([], ["ocpp1.6"]):
            right = request(how, [OURS])
            with row.attempt(), visit(fort, 2, how) as visitor:
                answer = visitor.ask(request(how, names) + right + BOOT_CALL)
                # What follows a request is read as frames, and these are none: it may end so soon
                # that the 400 does not come any more.
                assert answer.status in {0, 400}
                assert answer.raw.count(b"HTTP/1.1") <= 1
                assert fort.refusals() == ["subprotocol"]
        assert not has_booted(fort)
