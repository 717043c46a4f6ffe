"""A01: there is no way in without credentials, and no such setting."""

from __future__ import annotations

import pytest

from tests.attacks.hostile import basic, client_tls, upgrade
from tests.attacks.keep import Witness, keep
from tests.attacks.matrix import Matrix, Verdict
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import PASSWORD, World

MISSING, MALFORMED, USER = "credentials_missing", "credentials_malformed", "user_name"
RIGHT = basic("cs001", PASSWORD)
NO_CREDENTIALS = {
    "none": ([], MISSING),
    "empty": (["Authorization:"], MALFORMED),
    "the scheme alone": (["Authorization: Basic"], MALFORMED),
    "empty user and password": ([f"Authorization: {basic('', '')}"], USER),
    "Bearer": ([f"Authorization: Bearer {PASSWORD}"], MALFORMED),
    "Digest": (['Authorization: Digest username="cs001", response="00"'], MALFORMED),
    "two headers, the second right": (
        [f"Authorization: {basic('cs001', 'x' * 40)}", f"Authorization: {RIGHT}"],
        MALFORMED,
    ),
    "two headers, both right": ([f"Authorization: {RIGHT}"] * 2, MALFORMED),
    "another header": ([f"Proxy-Authorization: {RIGHT}"], MISSING),
    "a cookie": ([f"Cookie: Authorization={RIGHT}"], MISSING),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_without_credentials_nobody_gets_in(
    world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """On profile 3 there is none without a certificate, whatever else is shown."""
    row = scoreboard.row("A01", "no credentials, wrong schemes, two headers; profiles 1 to 3")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    with keep(world, tmp_path_factory.mktemp("keep"), **settings) as fort, Witness(fort):
        station = fort.add("CS001", "SN001")
        matrix = Matrix(fort)
        with fort.bounded_lag():
            for profile in (1, 2, 3):
                context = client_tls(fort.trust) if profile > 1 else None
                for what, (headers, reason) in NO_CREDENTIALS.items():
                    by_tls = Verdict(0, "tls_handshake", "DID_NOT_RETURN_A_CERTIFICATE")
                    matrix.knock(
                        f"{what}, profile {profile}",
                        by_tls if profile == 3 else Verdict(401, reason),
                        upgrade("/ocpp/cs001", *headers),
                        profile=profile,
                        names=("cs001",),
                        context=context,
                    )
        matrix.verdict()
        matrix.is_uniform()
        assert fort.session_of(station) is None
        row.count(len(matrix))
