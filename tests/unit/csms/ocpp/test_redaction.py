"""Secrets by schema position (A01.FR.09, B09, C04.FR.04): gone from what is kept."""

import json
from typing import Any

import pytest

from csms.ocpp.actions import Action, Kind
from csms.ocpp.redaction import REDACTED, redact, redact_all
from csms.ocpp.schemas import explain

SECRET = "hunter2"
NOW = "2026-01-31T10:00:00Z"
APN = {"apn": "internet", "apnAuthentication": "CHAP", "apnUserName": "user"}
VPN = {"server": "s", "user": "user", "password": SECRET, "key": SECRET, "type": "IKEv2"}
PROFILE = {
    "ocppVersion": "OCPP20",
    "ocppTransport": "JSON",
    "ocppCsmsUrl": f"wss://user:{SECRET}@csms.example/ocpp",
    "messageTimeout": 30,
    "securityProfile": 2,
    "ocppInterface": "Wired0",
    "apn": APN | {"apnPassword": SECRET, "simPin": 777777},
    "vpn": VPN,
}


def variable(name: str = "BasicAuthPassword", component: str = "SecurityCtrlr") -> dict[str, Any]:
    return {"component": {"name": component}, "variable": {"name": name}}


def token(kind: str = "KeyCode") -> dict[str, str]:
    return {"idToken": SECRET, "type": kind}


HOLDS_A_SECRET: dict[str, tuple[Action, Kind, dict[str, Any]]] = {
    "set_variables": (
        Action.SET_VARIABLES,
        Kind.REQUEST,
        {"setVariableData": [variable() | {"attributeValue": SECRET}]},
    ),
    "set_variables_in_any_case": (
        Action.SET_VARIABLES,
        Kind.REQUEST,
        {
            "setVariableData": [
                variable("bASICaUTHpASSWORD", "SECURITYCTRLR") | {"attributeValue": SECRET}
            ]
        },
    ),
    "get_variables": (
        Action.GET_VARIABLES,
        Kind.RESPONSE,
        {
            "getVariableResult": [
                variable() | {"attributeStatus": "Accepted", "attributeValue": SECRET}
            ]
        },
    ),
    "notify_report": (
        Action.NOTIFY_REPORT,
        Kind.REQUEST,
        {
            "requestId": 1,
            "generatedAt": NOW,
            "seqNo": 0,
            "reportData": [variable() | {"variableAttribute": [{"value": SECRET}]}],
        },
    ),
    "notify_event": (
        Action.NOTIFY_EVENT,
        Kind.REQUEST,
        {
            "generatedAt": NOW,
            "seqNo": 0,
            "eventData": [
                variable()
                | {
                    "eventId": 1,
                    "timestamp": NOW,
                    "trigger": "Delta",
                    "actualValue": SECRET,
                    "eventNotificationType": "CustomMonitor",
                }
            ],
        },
    ),
    "set_network_profile": (
        Action.SET_NETWORK_PROFILE,
        Kind.REQUEST,
        {"configurationSlot": 1, "connectionData": PROFILE},
    ),
    "get_log": (
        Action.GET_LOG,
        Kind.REQUEST,
        {
            "logType": "SecurityLog",
            "requestId": 1,
            "log": {"remoteLocation": f"sftp://user:{SECRET}@host/dir"},
        },
    ),
    "get_log_with_a_slash_in_the_password": (
        Action.GET_LOG,
        Kind.REQUEST,
        {
            "logType": "SecurityLog",
            "requestId": 1,
            "log": {"remoteLocation": f"sftp://user:a/b?{SECRET}@host/dir"},
        },
    ),
    "update_firmware": (
        Action.UPDATE_FIRMWARE,
        Kind.REQUEST,
        {
            "requestId": 1,
            "firmware": {
                "location": f"https://user:{SECRET}@host/fw?signature={SECRET}",
                "retrieveDateTime": NOW,
            },
        },
    ),
    "publish_firmware": (
        Action.PUBLISH_FIRMWARE,
        Kind.REQUEST,
        {"requestId": 1, "checksum": "0" * 32, "location": f"user:{SECRET}@host/fw"},
    ),
    "publish_firmware_status": (
        Action.PUBLISH_FIRMWARE_STATUS_NOTIFICATION,
        Kind.REQUEST,
        {"status": "Published", "location": [f"https://user:{SECRET}@host/fw"]},
    ),
    "authorize_by_key_code": (Action.AUTHORIZE, Kind.REQUEST, {"idToken": token()}),
    "group_token": (
        Action.AUTHORIZE,
        Kind.RESPONSE,
        {"idTokenInfo": {"status": "Accepted", "groupIdToken": token()}},
    ),
    "transaction_event_by_key_code": (
        Action.TRANSACTION_EVENT,
        Kind.REQUEST,
        {
            "eventType": "Started",
            "timestamp": NOW,
            "triggerReason": "Authorized",
            "seqNo": 0,
            "transactionInfo": {"transactionId": "t"},
            "idToken": token(),
        },
    ),
    "custom_data": (
        Action.HEARTBEAT,
        Kind.REQUEST,
        {"customData": {"vendorId": "v", "password": SECRET}},
    ),
}


@pytest.mark.parametrize("case", HOLDS_A_SECRET)
def test_the_secret_is_gone_and_the_payload_itself_untouched(case: str) -> None:
    action, kind, payload = HOLDS_A_SECRET[case]
    assert explain(action, kind, payload) == [], "the case must be a valid message"
    before = json.dumps(payload)
    kept = json.dumps(redact(action, kind, payload))
    assert SECRET not in kept
    assert "777777" not in kept
    assert json.dumps(payload) == before


@pytest.mark.parametrize("case", HOLDS_A_SECRET)
def test_the_secret_is_gone_from_a_message_that_breaks_its_schema_too(case: str) -> None:
    action, kind, payload = HOLDS_A_SECRET[case]
    kept = json.dumps(redact(action, kind, payload | {f"x{SECRET}": [SECRET, 777777, None, True]}))
    assert SECRET not in kept
    assert "777777" not in kept


def test_what_is_no_secret_stays_readable() -> None:
    action, kind, payload = HOLDS_A_SECRET["set_network_profile"]
    data = redact(action, kind, payload)["connectionData"]
    assert data["ocppCsmsUrl"] == f"wss://{REDACTED}@csms.example/ocpp"
    assert data["apn"] == APN | {"apnPassword": REDACTED, "simPin": REDACTED}
    assert data["vpn"] == VPN | {"password": REDACTED, "key": REDACTED}
    assert data["securityProfile"] == 2


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        (
            Action.SET_VARIABLES,
            {"setVariableData": [variable("OrganizationName") | {"attributeValue": "ACME"}]},
        ),
        (Action.AUTHORIZE, {"idToken": token("ISO14443")}),
        (
            Action.GET_LOG,
            {
                "logType": "SecurityLog",
                "requestId": 1,
                "log": {"remoteLocation": "https://host/dir"},
            },
        ),
    ],
)
def test_messages_without_a_secret_are_kept_whole(action: Action, payload: Any) -> None:
    assert redact(action, Kind.REQUEST, payload) == payload


def test_only_the_attribute_of_the_secret_variable_goes() -> None:
    both = [
        variable() | {"attributeValue": SECRET},
        variable("OrganizationName") | {"attributeValue": "ACME"},
    ]
    kept = redact(Action.SET_VARIABLES, Kind.REQUEST, {"setVariableData": both})
    assert kept["setVariableData"][0]["variable"] == {"name": "BasicAuthPassword"}
    assert kept["setVariableData"][1]["attributeValue"] == "ACME"


def test_a_broken_payload_keeps_its_shape_only() -> None:
    kept = redact(Action.HEARTBEAT, Kind.REQUEST, {"status": "x", "evil": [1, None, True, {}]})
    assert kept == {"status": REDACTED, "[property 1]": [REDACTED, None, True, {}]}


@pytest.mark.parametrize("payload", [SECRET, 7, [SECRET], None])
def test_a_payload_that_is_no_object_is_redacted_as_well(payload: Any) -> None:
    assert SECRET not in json.dumps(redact(Action.HEARTBEAT, Kind.REQUEST, payload))


def test_depth_is_bounded() -> None:
    value: object = SECRET
    for _ in range(200):
        value = [value]
    assert json.dumps(redact_all(value)).count("[") == 32 + 1
