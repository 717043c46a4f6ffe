"""Block B, Provisioning: certification cases of a CSMS, over the wire."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.fixtures.peer import Peer, basic, trusting
from tests.fixtures.product import Product

API = ThreadPoolExecutor(2)


def connected(product: Product, station: dict[str, Any], *subprotocols: str) -> Peer:
    return Peer.connect(
        product.ocpp(2),
        station["identity"],
        context=trusting(product.root_pem),
        headers=basic(station["identity"], station["password"]),
        subprotocols=subprotocols or ("ocpp2.0.1",),
    )


def test_TC_B_01_a_known_station_is_accepted(product: Product) -> None:
    with connected(product, station := product.station()) as peer:
        answer = peer.boot(station["serial_number"])
        assert answer["status"] == "Accepted"
        assert answer["interval"] > 0
        assert answer["currentTime"].endswith("Z")
        assert peer.status()[0] == 3


def test_TC_B_02_pending_first_and_accepted_at_the_next_boot(product: Product) -> None:
    station = product.station(registration_status="Pending")
    with connected(product, station) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Pending"
        changed = product.api(
            "PATCH", f"/api/v1/stations/{station['identity']}", {"registration_status": "Accepted"}
        )
        assert changed.status_code == 200, changed.text
        assert peer.boot(station["serial_number"])["status"] == "Accepted"
        assert peer.status()[0] == 3


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_TC_B_30_before_it_is_accepted_a_station_is_not_listened_to(
    product: Product, status: str
) -> None:
    station = product.station(registration_status=status)
    with connected(product, station) as peer:
        assert peer.boot(station["serial_number"])["status"] == status
        refusal = peer.status()
        assert refusal[0] == 4
        assert refusal[2] == "SecurityError"
    # B01-B03: the state outlives the socket, since a reconnect does not boot.
    with connected(product, station) as peer:
        assert peer.status()[2] == "SecurityError"


def test_before_its_first_boot_a_station_is_not_listened_to(product: Product) -> None:
    with connected(product, product.station()) as peer:
        assert peer.status()[2] == "SecurityError"


def test_TC_B_31_a_pending_station_may_be_asked_to_boot_again(product: Product) -> None:
    station = product.station(registration_status="Pending")
    with connected(product, station) as peer:
        peer.boot(station["serial_number"])
        product.api(
            "PATCH", f"/api/v1/stations/{station['identity']}", {"registration_status": "Accepted"}
        )
        asked = API.submit(
            product.command,
            station["identity"],
            "TriggerMessage",
            {"requestedMessage": "BootNotification"},
        )
        message_id, _ = peer.expect("TriggerMessage")
        peer.reply(message_id, {"status": "Accepted"})
        assert asked.result().json() == {"status": "answered", "response": {"status": "Accepted"}}
        assert peer.boot(station["serial_number"], reason="Triggered")["status"] == "Accepted"


def test_a_rejected_station_is_told_nothing(product: Product) -> None:
    """B03.FR.03."""
    station = product.station(registration_status="Rejected")
    with connected(product, station) as peer:
        peer.boot(station["serial_number"])
        answer = product.command(
            station["identity"], "TriggerMessage", {"requestedMessage": "BootNotification"}
        )
        assert answer.status_code == 409, answer.text
        assert peer.boot(station["serial_number"])["status"] == "Rejected"


@pytest.mark.parametrize(
    "offered", [("ocpp0.1", "ocpp2.0.1"), ("ocpp2.1", "ocpp2.0.1"), ("ocpp2.0.1", "ocpp1.6")]
)
def test_TC_B_58_the_common_subprotocol_is_chosen(
    product: Product, offered: tuple[str, ...]
) -> None:
    with connected(product, product.station(), *offered) as peer:
        assert peer.connection.subprotocol == "ocpp2.0.1"


@pytest.mark.parametrize("offered", [("ocpp0.1",), ("OCPP2.0.1",), ("ocpp1.6", "ocpp2.1")])
def test_TC_B_58_without_a_common_subprotocol_there_is_no_upgrade(
    product: Product, offered: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        connected(product, product.station(), *offered)
    assert refusal.value.response.status_code == 400


def test_a_reconnect_without_boot_is_still_accepted(product: Product) -> None:
    """Part 4 §5.3: a plain reconnect does not boot again."""
    station = product.station()
    with connected(product, station) as peer:
        peer.boot(station["serial_number"])
    with connected(product, station) as peer:
        assert peer.status()[0] == 3


def test_the_newest_authenticated_connection_wins(product: Product) -> None:
    station = product.station()
    with connected(product, station) as old:
        old.boot(station["serial_number"])
        with connected(product, station) as new:
            assert new.status()[0] == 3
            with pytest.raises(Exception, match="1008"):
                old.connection.recv(timeout=5)


def test_the_two_errors_users_meet_most_are_told_apart(product: Product) -> None:
    station = product.station()
    trigger = {"requestedMessage": "Heartbeat"}
    offline = product.command(station["identity"], "TriggerMessage", trigger)
    assert offline.status_code == 409
    with connected(product, station) as peer:
        peer.boot(station["serial_number"])
        wrong = product.command(station["identity"], "TriggerMessage", {"requestedMessage": 7})
        assert wrong.status_code == 422
        assert wrong.headers["content-type"].startswith("application/problem+json")
        asked = API.submit(product.command, station["identity"], "TriggerMessage", trigger)
        message_id, _ = peer.expect("TriggerMessage")
        peer.connection.send(f'[4,"{message_id}","NotSupported","no",{{}}]')
        assert asked.result().status_code == 502
