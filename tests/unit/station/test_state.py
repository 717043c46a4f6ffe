"""What a power cycle keeps."""

import json
from pathlib import Path

import pytest

from station import device_model as dm
from station.keystore import KeyStore
from station.misbehaviour import Misbehaviour
from station.state import Registration, StateInvalid, StationConfig, StationState, new_state


def state_in(directory: Path, password: str | None = "correct-horse-battery") -> StationState:
    config = StationConfig(
        url="wss://csms/ocpp",
        identity="CS001",
        serial_number="SN001",
        password=password,
        profile3_url="wss://csms:9003/ocpp",
        data=directory,
    )
    return new_state(config, keystore=KeyStore(), misbehaviour=Misbehaviour())


def test_password_slots_and_variables_survive_and_the_registration_does_not(
    tmp_path: Path,
) -> None:
    first = state_in(tmp_path)
    first.password = "another-password-1"
    first.registration = Registration.ACCEPTED
    first.network.priority = (2, 1)
    first.model.put(dm.ORGANIZATION_NAME, "Example CSO")
    first.save()
    second = state_in(tmp_path, password=None)
    assert second.password == "another-password-1"
    assert second.network.current.security_profile == 3
    assert second.model.get(dm.ORGANIZATION_NAME) == "Example CSO"
    assert second.model.get(dm.SECURITY_PROFILE) == "3"
    assert second.registration is Registration.UNKNOWN
    assert second.boot_required


def test_file_is_private_and_the_password_not_among_the_variables(tmp_path: Path) -> None:
    state_in(tmp_path).save()
    path = tmp_path / "state.json"
    assert path.stat().st_mode & 0o777 == 0o600
    names = [name for name, _ in json.loads(path.read_text())["values"]]
    assert all("BasicAuthPassword" not in name for name in names)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"password":1,"slots":[],"priority":1}'])
def test_spoilt_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StateInvalid, match=r"state\.json"):
        state_in(tmp_path)


def test_secrets_do_not_show_in_repr(tmp_path: Path) -> None:
    assert "correct-horse" not in repr(state_in(tmp_path))
