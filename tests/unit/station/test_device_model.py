"""Variables: mutability, types, and the one that can never be read."""

import pytest

from station import device_model as dm
from station.device_model import DeviceModel, Name, VariableStatus


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        (dm.HEARTBEAT_INTERVAL, "60", VariableStatus.ACCEPTED),
        (dm.HEARTBEAT_INTERVAL, "-1", VariableStatus.REJECTED),
        (dm.HEARTBEAT_INTERVAL, "soon", VariableStatus.REJECTED),
        (dm.SECURITY_PROFILE, "1", VariableStatus.REJECTED),
        (dm.ORGANIZATION_NAME, "Example CSO", VariableStatus.ACCEPTED),
        (Name("ISO15118Ctrlr", "PnCEnabled"), "true", VariableStatus.ACCEPTED),
        (Name("ISO15118Ctrlr", "PnCEnabled"), "yes", VariableStatus.REJECTED),
        (Name("Nothing", "AtAll"), "1", VariableStatus.UNKNOWN_COMPONENT),
        (Name("SecurityCtrlr", "AtAll"), "1", VariableStatus.UNKNOWN_VARIABLE),
        (Name("OCPPCommCtrlr", "MessageTimeout"), "1", VariableStatus.UNKNOWN_VARIABLE),
        (dm.BASIC_AUTH_PASSWORD, "a" * 16, VariableStatus.ACCEPTED),
        (dm.BASIC_AUTH_PASSWORD, "a" * 40, VariableStatus.ACCEPTED),
        (dm.BASIC_AUTH_PASSWORD, "a" * 15, VariableStatus.REJECTED),
        (dm.BASIC_AUTH_PASSWORD, "a" * 41, VariableStatus.REJECTED),
        (dm.BASIC_AUTH_PASSWORD, "a" * 15 + "ä", VariableStatus.REJECTED),
    ],
)
def test_writing_follows_mutability_and_type(
    name: Name, value: str, status: VariableStatus
) -> None:
    assert DeviceModel().write(name, value) is status


def test_rejected_value_is_not_kept() -> None:
    model = DeviceModel()
    model.write(dm.HEARTBEAT_INTERVAL, "soon")
    assert model.get(dm.HEARTBEAT_INTERVAL) == "300"


def test_password_can_never_be_read_back() -> None:
    """B06.FR.09."""
    model = DeviceModel()
    model.write(dm.BASIC_AUTH_PASSWORD, "correct-horse-battery")
    assert model.read(dm.BASIC_AUTH_PASSWORD) == (VariableStatus.REJECTED, None)


def test_stations_do_not_share_values() -> None:
    one, other = DeviceModel(), DeviceModel()
    one.put(dm.ORGANIZATION_NAME, "Example CSO")
    assert other.get(dm.ORGANIZATION_NAME) == ""
