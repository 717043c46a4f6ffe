"""SetNetworkProfile and NetworkConfigurationPriority: what a station refuses, and why."""

from typing import Any

import pytest

from station.network import (
    Credentials,
    NetworkProfile,
    NetworkProfileRefused,
    NetworkProfiles,
    SlotRefusal,
)

ALL = Credentials(has_csms_root=True, has_certificate=True)
NO_CERTIFICATE = Credentials(has_csms_root=True, has_certificate=False)
NOTHING = Credentials(has_csms_root=False, has_certificate=False)


def on_profile(number: int) -> NetworkProfiles:
    scheme = "ws" if number == 1 else "wss"
    return NetworkProfiles(slots={1: NetworkProfile(f"{scheme}://csms/ocpp", number)})


def request(slot: int, profile: int, url: str = "wss://csms/ocpp") -> dict[str, Any]:
    data = {"ocppCsmsUrl": url, "securityProfile": profile, "ocppTransport": "JSON"}
    return {"configurationSlot": slot, "connectionData": data}


def test_spare_slot_takes_a_higher_profile() -> None:
    network = on_profile(2)
    network.set_slot(request(2, 3), credentials=ALL)
    assert network.slots[2] == NetworkProfile("wss://csms/ocpp", 3)


@pytest.mark.parametrize(
    ("current", "asked", "credentials", "reason"),
    [
        (2, request(1, 3), ALL, SlotRefusal.INVALID_SLOT),
        (2, request(9, 3), ALL, SlotRefusal.INVALID_SLOT),
        (2, request(2, 3), NO_CERTIFICATE, SlotRefusal.INVALID_CONFIGURATION),
        (1, request(2, 2), NOTHING, SlotRefusal.INVALID_CONFIGURATION),
        (2, request(2, 3, "ws://csms/ocpp"), ALL, SlotRefusal.INVALID_CONFIGURATION),
        (1, request(2, 1, "wss://csms/ocpp"), ALL, SlotRefusal.INVALID_CONFIGURATION),
        (2, request(2, 4), ALL, SlotRefusal.INVALID_CONFIGURATION),
        (2, request(2, 1, "ws://csms/ocpp"), ALL, SlotRefusal.NO_DOWNGRADE),
        (3, request(2, 2), ALL, SlotRefusal.NO_DOWNGRADE),
    ],
)
def test_slot_is_refused_for_its_one_reason(
    current: int, asked: dict[str, Any], credentials: Credentials, reason: SlotRefusal
) -> None:
    network = on_profile(current)
    with pytest.raises(NetworkProfileRefused) as caught:
        network.set_slot(asked, credentials=credentials)
    assert caught.value.reason is reason
    assert list(network.slots) == [1]


def test_slot_in_the_priority_list_cannot_be_edited() -> None:
    network = on_profile(2)
    network.set_slot(request(2, 3), credentials=ALL)
    network.set_priority("2,1", credentials=ALL)
    with pytest.raises(NetworkProfileRefused):
        network.set_slot(request(2, 3), credentials=ALL)


@pytest.mark.parametrize(
    ("value", "credentials"),
    [
        ("3", ALL),
        ("", ALL),
        ("2,2", ALL),
        ("two", ALL),
        ("2,1", NO_CERTIFICATE),
        ("2,1", NOTHING),
    ],
)
def test_priority_is_refused_without_slot_or_credentials(
    value: str, credentials: Credentials
) -> None:
    """A05.FR.02-03."""
    network = on_profile(2)
    network.slots[2] = NetworkProfile("wss://csms/ocpp", 3)
    with pytest.raises(NetworkProfileRefused):
        network.set_priority(value, credentials=credentials)
    assert network.priority == (1,)


def test_new_priority_works_from_the_next_boot_on() -> None:
    network = on_profile(2)
    network.slots[2] = NetworkProfile("wss://csms/ocpp", 3)
    network.set_priority("2,1", credentials=ALL)
    assert network.active == 1
    network.boot()
    assert network.active == 2
    network.advance()
    assert network.active == 1, "the lower slot is there until the higher one has worked"
    network.advance()
    assert network.connected()
    assert (list(network.slots), network.priority, network.plan) == ([2], (2,), (2,))
