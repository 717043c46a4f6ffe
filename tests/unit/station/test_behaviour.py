"""The handlers, without a socket: CALL in, answer and effects out."""

from datetime import timedelta
from typing import Any

import pytest

from station import device_model as dm
from station.behaviour import react
from station.clock import Clock
from station.codec import Call, ErrorCode
from station.effects import AskForCertificate, CallRefused, Reaction, Reconnect, Send
from station.hash_data import hash_data
from station.keystore import CSMS_ROOT, KeyStore, StationCertificate
from station.misbehaviour import Misbehaviour
from station.state import StationConfig, StationState, new_state
from tests.unit.station.csms_double import Issuer

ROOT = Issuer.root()


@pytest.fixture
def state() -> StationState:
    config = StationConfig(url="wss://csms/ocpp", identity="CS001", serial_number="SN001")
    keystore = KeyStore()
    keystore.install_root(CSMS_ROOT, ROOT.certificate)
    return new_state(config, keystore=keystore, misbehaviour=Misbehaviour())


def ask(state: StationState, action: str, payload: dict[str, Any]) -> Reaction:
    return react(state, Call("1", action, payload), Clock())


def install(state: StationState, pem: str, use: str = CSMS_ROOT) -> str:
    request = {"certificateType": use, "certificate": pem}
    return str(ask(state, "InstallCertificate", request).answer["status"])


def test_root_is_installed_listed_by_hash_and_deleted_by_it(state: StationState) -> None:
    new = Issuer.root("New Root")
    assert install(state, new.pem) == "Accepted"
    assert install(state, new.pem) == "Accepted"
    listed = ask(state, "GetInstalledCertificateIds", {}).answer["certificateHashDataChain"]
    assert len(listed) == 2
    wanted = hash_data(new.certificate, issuer=new.certificate)
    assert {"certificateType": CSMS_ROOT, "certificateHashData": wanted} in listed
    request = {"certificateHashData": wanted}
    assert ask(state, "DeleteCertificate", request).answer == {"status": "Accepted"}
    assert ask(state, "DeleteCertificate", request).answer == {"status": "NotFound"}


def test_filter_without_a_match_finds_nothing(state: StationState) -> None:
    request = {"certificateType": ["V2GRootCertificate"]}
    assert ask(state, "GetInstalledCertificateIds", request).answer == {"status": "NotFound"}


@pytest.mark.parametrize("use", ["V2GCertificateChain", "Nonsense"])
def test_other_certificate_types_are_not_installed(state: StationState, use: str) -> None:
    assert install(state, ROOT.pem, use) == "Rejected"


def test_issuing_ca_is_no_root(state: StationState) -> None:
    assert install(state, ROOT.issuing_ca().pem) == "Rejected"


def test_expired_root_and_text_are_rejected(state: StationState) -> None:
    assert install(state, Issuer.root("Old Root", days=-1).pem) == "Rejected"
    assert install(state, "no certificate") == "Rejected"


def test_station_that_swallows_non_roots_accepts_and_never_lists_them() -> None:
    """EVerest #2109."""
    config = StationConfig(
        url="wss://csms/ocpp", identity="CS001", serial_number="SN001", swallows_non_roots=True
    )
    state = new_state(config, keystore=KeyStore(), misbehaviour=Misbehaviour())
    assert install(state, ROOT.issuing_ca().pem) == "Accepted"
    assert ask(state, "GetInstalledCertificateIds", {}).answer == {"status": "NotFound"}


def test_full_store_rejects_another_root(state: StationState) -> None:
    for _ in range(19):
        assert install(state, Issuer.root().pem) == "Accepted"
    assert install(state, Issuer.root().pem) == "Rejected"
    assert install(state, ROOT.pem) == "Accepted", "replacing needs no room"


def test_last_csms_root_and_own_certificate_are_not_deleted(state: StationState) -> None:
    root = hash_data(ROOT.certificate, issuer=ROOT.certificate)
    answer = ask(state, "DeleteCertificate", {"certificateHashData": root}).answer
    assert answer["status"] == "Failed"
    key = state.keystore.new_pending_key(now=0)
    own = StationCertificate((ROOT.sign("SN001", key.public_key()),), key)
    state.keystore.install(own)
    request = hash_data(own.leaf, issuer=ROOT.certificate)
    answer = ask(state, "DeleteCertificate", {"certificateHashData": request}).answer
    assert answer["status"] == "Failed"


def test_full_inventory_comes_in_numbered_frames_that_say_what_follows(
    state: StationState,
) -> None:
    """B07.FR.04."""
    request = {"requestId": 7, "reportBase": "FullInventory"}
    reaction = ask(state, "GetBaseReport", request)
    frames = [effect.payload for effect in reaction.then if isinstance(effect, Send)]
    assert [frame["seqNo"] for frame in frames] == list(range(len(frames)))
    assert [frame["tbc"] for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert {frame["requestId"] for frame in frames} == {7}
    entries = [entry for frame in frames for entry in frame["reportData"]]
    assert len(entries) == len(dm.DEFINITIONS)
    password = next(e for e in entries if e["variable"]["name"] == "BasicAuthPassword")
    assert "value" not in password["variableAttribute"][0]


def test_unknown_report_base_is_not_supported(state: StationState) -> None:
    request = {"requestId": 7, "reportBase": "Everything"}
    assert ask(state, "GetBaseReport", request).answer == {"status": "NotSupported"}


def test_report_holds_the_variables_asked_for_or_says_there_are_none(
    state: StationState,
) -> None:
    wanted = [{"component": {"name": "SecurityCtrlr"}, "variable": {"name": "SecurityProfile"}}]
    reaction = ask(state, "GetReport", {"requestId": 1, "componentVariable": wanted})
    assert isinstance(reaction.then[0], Send)
    entry = reaction.then[0].payload["reportData"][0]
    assert entry["variableAttribute"][0]["value"] == "2"
    nothing = [{"component": {"name": "Tariff"}}]
    answer = ask(state, "GetReport", {"requestId": 1, "componentVariable": nothing}).answer
    assert answer == {"status": "EmptyResultSet"}


def test_variables_are_read_each_with_its_own_status(state: StationState) -> None:
    def item(component: str, variable: str, **more: str) -> dict[str, Any]:
        return {"component": {"name": component}, "variable": {"name": variable}, **more}

    request = [
        item("SecurityCtrlr", "SecurityProfile"),
        item("SecurityCtrlr", "BasicAuthPassword"),
        item("SecurityCtrlr", "Nothing"),
        item("SecurityCtrlr", "SecurityProfile", attributeType="MaxSet"),
    ]
    answer = ask(state, "GetVariables", {"getVariableData": request}).answer
    results = answer["getVariableResult"]
    assert [result["attributeStatus"] for result in results] == [
        "Accepted",
        "Rejected",
        "UnknownVariable",
        "NotSupportedAttributeType",
    ]
    assert [result.get("attributeValue") for result in results] == ["2", None, None, None]


def test_trigger_starts_what_it_names(state: StationState) -> None:
    def trigger(kind: str, **more: Any) -> Reaction:
        return ask(state, "TriggerMessage", {"requestedMessage": kind, **more})

    assert trigger("SignChargingStationCertificate").then == (AskForCertificate(),)
    evse = {"id": 1, "connectorId": 1}
    sent = trigger("StatusNotification", evse=evse).then[0]
    assert isinstance(sent, Send)
    assert (sent.payload["evseId"], sent.payload["connectorId"]) == (1, 1)
    assert trigger("StatusNotification", evse={"id": 9}).answer == {"status": "Rejected"}
    assert trigger("SignV2GCertificate").answer == {"status": "NotImplemented"}


def test_reset_comes_back_with_boot_and_an_evse_cannot_be_reset(state: StationState) -> None:
    assert Reconnect(boot=True) in ask(state, "Reset", {"type": "Immediate"}).then
    assert ask(state, "Reset", {"type": "OnIdle", "evseId": 1}).answer["status"] == "Rejected"
    with pytest.raises(CallRefused) as caught:
        ask(state, "Reset", {"type": "Soon"})
    assert caught.value.code is ErrorCode.PROPERTY_CONSTRAINT_VIOLATION


def test_set_network_profile_answers_with_its_reason_code(state: StationState) -> None:
    data = {"ocppCsmsUrl": "wss://csms/ocpp", "securityProfile": 3}
    request = {"configurationSlot": 2, "connectionData": data}
    answer = ask(state, "SetNetworkProfile", request).answer
    assert answer == {"status": "Rejected", "statusInfo": {"reasonCode": "InvalidNetworkConf"}}


def test_certificate_longer_than_the_station_takes_is_rejected(state: StationState) -> None:
    """A02.FR.16."""
    state.model.put(dm.MAX_CHAIN_SIZE, "10")
    answer = ask(state, "CertificateSigned", {"certificateChain": ROOT.pem}).answer
    assert answer["status"] == "Rejected"


def test_certificate_of_another_type_is_not_taken(state: StationState) -> None:
    request = {"certificateChain": ROOT.pem, "certificateType": "V2GCertificate"}
    assert ask(state, "CertificateSigned", request).answer["status"] == "Rejected"


def test_chain_that_is_not_yet_valid_is_rejected_and_told_as_an_event(
    state: StationState,
) -> None:
    key = state.keystore.new_pending_key(now=Clock().elapsed())
    leaf = ROOT.sign("SN001", key.public_key(), starts=timedelta(hours=1))
    pem = StationCertificate((leaf,), key).chain_pem().decode()
    reaction = ask(state, "CertificateSigned", {"certificateChain": pem})
    assert reaction.answer["status"] == "Rejected"
    event = next(effect for effect in reaction.then if isinstance(effect, Send))
    assert event.payload["type"] == "InvalidChargingStationCertificate"
    assert event.payload["techInfo"] == "not yet valid"
    assert event.durable
