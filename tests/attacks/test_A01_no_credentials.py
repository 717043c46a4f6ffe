"""A01: there is no way in without credentials, and no such setting."""

from __future__ import annotations

import pytest

from tests.attacks.hostile import basic, upgrade
from tests.attacks.keep import Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import PASSWORD, World

NO_CREDENTIALS = {
    "none": [],
    "empty": ["Authorization:"],
    "the scheme alone": ["Authorization: Basic"],
    "empty user and password": [f"Authorization: {basic('', '')}"],
    "Bearer": [f"Authorization: Bearer {PASSWORD}"],
    "Digest": ['Authorization: Digest username="cs001", response="00"'],
    "two headers, the second right": [
        f"Authorization: {basic('cs001', 'x' * 40)}",
        f"Authorization: {basic('cs001', PASSWORD)}",
    ],
    "two headers, both right": [f"Authorization: {basic('cs001', PASSWORD)}"] * 2,
    "another header": [f"Proxy-Authorization: {basic('cs001', PASSWORD)}"],
    "a cookie": [f"Cookie: Authorization={basic('cs001', PASSWORD)}"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_without_credentials_nobody_gets_in(
    world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("A01", "no credentials, wrong schemes, two headers; profiles 1 and 2")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    with keep(world, tmp_path_factory.mktemp("keep"), **settings) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        with fort.bounded_lag():
            for profile in (1, 2):
                for what, headers in NO_CREDENTIALS.items():
                    with row.attempt(), fort.visit(profile) as visitor:
                        answer = visitor.ask(upgrade("/ocpp/cs001", *headers))
                        assert answer.status == 401, (profile, what)
                        assert fort.refusals()[0].startswith("credentials_") or "empty" in what
        assert fort.session_of(station) is None
