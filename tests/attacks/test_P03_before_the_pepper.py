"""P03: until the pepper has been read a password opens nothing, whoever comes."""

from __future__ import annotations

import pytest

from csms.domain.password import LatePeppers
from tests.attacks.hostile import basic, upgrade
from tests.attacks.keep import keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import PASSWORD, PEPPERS, World

VISITORS = {
    "the right password": ("/ocpp/cs001", [f"Authorization: {basic('cs001', PASSWORD)}"]),
    "a wrong password": ("/ocpp/cs001", [f"Authorization: {basic('cs001', 'x' * 40)}"]),
    "an empty password": ("/ocpp/cs001", [f"Authorization: {basic('cs001', '')}"]),
    "no password": ("/ocpp/cs001", []),
    "nobody's identity": ("/ocpp/nobody", [f"Authorization: {basic('nobody', PASSWORD)}"]),
    "no identity": ("/ocpp/", []),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_without_the_pepper_nobody_gets_in_by_password(
    world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P03", "passwords before the pepper is read; profiles 1 and 2")
    peppers = LatePeppers()
    settings = {
        "profile1_port": 0,
        "profile1_networks": ["127.0.0.0/8"],
        "peppers": peppers,
    }
    with keep(world, tmp_path_factory.mktemp("keep"), **settings) as fort:
        station = fort.add("CS001", "SN001")
        answers = set()
        with fort.bounded_lag():
            for profile in (1, 2):
                for what, (target, headers) in VISITORS.items():
                    with row.attempt(), fort.visit(profile) as visitor:
                        answer = visitor.ask(upgrade(target, *headers))
                        assert answer.status == 503, (profile, what)
                        assert answer.header("Retry-After")
                        answers.add(answer.raw)
        assert len(answers) == 1, "one answer for all, to the byte"
        assert fort.session_of(station) is None
        peppers.arrive(PEPPERS)
        target, headers = VISITORS["the right password"]
        with fort.visit(2) as visitor:
            assert visitor.ask(upgrade(target, *headers)).status == 101
        target, headers = VISITORS["a wrong password"]
        with fort.visit(2) as visitor:
            assert visitor.ask(upgrade(target, *headers)).status == 401
