"""`test-ocpp` (PyPI) agrees on who gets in: it connects, boots and beats once, on both profiles.

It cannot enrol, so profile 3 borrows the certificate that the `ocpp` package's station obtained.
Passwords go through its function, as its command line would show them in the process list.
"""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_ocpp import ConnectionResult, check_connection
from websockets.exceptions import InvalidHandshake, InvalidStatus

from tests.fixtures.peer import Key
from tests.fixtures.product import Product
from tests.interop.ocpp_package_station import Memory
from tests.interop.ocpp_package_steps import enrolled, registered
from tests.interop.operator_desk import OperatorDesk

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would ask the environment for one, even on loopback."""
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")


def check(product: Product, profile: int, identity: str, **how: Any) -> ConnectionResult:
    trust = {"ca": str(product.root_pem), "ocpp": "2.0.1"}
    return asyncio.run(check_connection(product.ocpp(profile), identity, **(trust | how)))


def by(key: Key) -> dict[str, str]:
    return {"cert": str(key.chain_file), "key": str(key.key_file)}


def expect_in(result: ConnectionResult) -> None:
    assert result.subprotocol == "ocpp2.0.1"
    assert result.tls_version in {"TLSv1.2", "TLSv1.3"}
    assert result.boot_notification["status"] == "Accepted"
    assert result.heartbeat["currentTime"]


def test_the_right_password_gets_in_on_profile_2(product: Product) -> None:
    station = product.station()
    expect_in(check(product, 2, station["identity"], password=station["password"]))


PASSWORD_REFUSALS: dict[str, tuple[Callable[[Json, Json], Json], int]] = {
    "wrong password": (lambda one, _: {"password": "x" * 40}, 401),
    "no credentials": (lambda one, _: {}, 401),
    "another station's password": (lambda one, other: {"password": other["password"]}, 401),
    "another user name": (
        lambda one, other: {"username": other["identity"], "password": one["password"]},
        401,
    ),
    "another station's credentials": (
        lambda one, other: {"username": other["identity"], "password": other["password"]},
        401,
    ),
    # TC_B_58: no common subprotocol.
    "ocpp 1.6": (lambda one, _: {"password": one["password"], "ocpp": "1.6"}, 400),
}


@pytest.mark.parametrize("case", PASSWORD_REFUSALS)
def test_anything_else_stays_out_of_profile_2(product: Product, case: str) -> None:
    one, other = product.station(), product.station()
    how, status = PASSWORD_REFUSALS[case]
    with pytest.raises(InvalidStatus) as refusal:
        check(product, 2, one["identity"], **how(one, other))
    assert refusal.value.response.status_code == status


def test_an_unknown_station_is_refused_like_a_wrong_password(product: Product) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        check(product, 2, "NOBODY", password="x" * 40)
    assert refusal.value.response.status_code == 401


def test_it_does_not_believe_the_server_without_the_csms_root(product: Product) -> None:
    station = product.station()
    with pytest.raises(ssl.SSLCertVerificationError):
        check(product, 2, station["identity"], password=station["password"], ca=None)


@pytest.fixture
def station(product: Product, tmp_path: Path) -> tuple[OperatorDesk, Memory]:
    return asyncio.run(enrolled(product, tmp_path))


def test_the_right_certificate_gets_in_on_profile_3_and_the_password_no_longer_does(
    product: Product, station: tuple[OperatorDesk, Memory]
) -> None:
    desk, memory = station
    expect_in(check(product, 3, desk.identity, **by(memory.keys[0])))
    desk.wait_for_certificates({memory.serial_of(0): "active"})
    product.eventually(lambda: desk.profiles() == (3, 3))
    with pytest.raises(InvalidStatus) as refusal:
        check(product, 2, desk.identity, password=desk.password)
    assert refusal.value.response.status_code == 401


def test_a_certificate_opens_no_other_station(
    product: Product, station: tuple[OperatorDesk, Memory], tmp_path: Path
) -> None:
    _, memory = station
    other, _ = registered(product, tmp_path)
    for identity in (other.identity, "NOBODY"):
        with pytest.raises(InvalidStatus) as refusal:
            check(product, 3, identity, **by(memory.keys[0]))
        assert refusal.value.response.status_code == 403


def test_a_password_opens_nothing_on_profile_3(product: Product) -> None:
    """Without a certificate the refusal is TLS's own; TLS 1.3 tells it after the handshake."""
    desk = OperatorDesk(product, product.station())
    with pytest.raises((ssl.SSLError, InvalidHandshake, ConnectionError)):
        check(product, 3, desk.identity, password=desk.password)
    assert desk.last_seen() is None
    expect_in(check(product, 2, desk.identity, password=desk.password))
    product.eventually(desk.last_seen)


def test_its_command_line_says_the_same(
    product: Product, station: tuple[OperatorDesk, Memory]
) -> None:
    desk, memory = station

    def ran(identity: str) -> subprocess.CompletedProcess[str]:
        files = by(memory.keys[0]) | {"ca": str(product.root_pem), "ocpp": "2.0.1"}
        options = [word for name, value in files.items() for word in (f"--{name}", value)]
        command = [sys.executable, "-m", "test_ocpp", product.ocpp(3), identity, *options]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)

    good, bad = ran(desk.identity), ran("NOBODY")
    assert good.returncode == 0, good.stdout
    assert good.stdout.endswith("SUCCESS\n")
    assert bad.returncode == 1
    assert "HTTP 403" in bad.stdout
