"""Payloads against the schemas: the code of each rule (behaviour table), and no echo."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from csms.ocpp import messages
from csms.ocpp.actions import Action, Kind
from csms.ocpp.errors import CallErrorCode, ProtocolError
from csms.ocpp.schemas import CODES, Rule, SchemaViolation, decode, encode, explain

BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
EVENT = {"type": "FirmwareUpdated", "timestamp": "2026-01-31T10:00:00Z"}
HOSTILE = "hunter2"


def request(action: Action, payload: Any) -> Any:
    return decode(action, Kind.REQUEST, payload)


def refusal(action: Action, payload: Any, kind: Kind = Kind.REQUEST) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        decode(action, kind, payload)
    return refused.value


def set_variables(**changes: Any) -> dict[str, Any]:
    one = {"attributeValue": "1", "component": {"name": "C"}, "variable": {"name": "V"}}
    return {"setVariableData": [one | changes]}


def test_a_request_becomes_its_struct_with_the_standards_names_on_the_wire() -> None:
    boot = request(Action.BOOT_NOTIFICATION, BOOT)
    assert isinstance(boot, messages.BootNotificationRequest)
    assert boot.charging_station.vendor_name == "V"
    assert boot.reason is messages.BootReasonEnumType.POWER_UP
    assert encode(boot) == BOOT


def test_payload_may_come_as_bytes() -> None:
    text = json.dumps(BOOT).encode()
    assert request(Action.BOOT_NOTIFICATION, text) == request(Action.BOOT_NOTIFICATION, BOOT)


def test_a_string_is_a_value_and_not_text() -> None:
    assert refusal(Action.HEARTBEAT, "{}").code is CallErrorCode.TYPE_CONSTRAINT_VIOLATION


@pytest.mark.parametrize("payload", [b"{", b"\xff", b'{"a":1,"a":1}', rb'{"reason":"\u0000"}'])
def test_text_that_is_not_strict_json_is_a_format_violation(payload: Any) -> None:
    assert refusal(Action.BOOT_NOTIFICATION, payload).code is CallErrorCode.FORMAT_VIOLATION


def test_request_and_response_of_an_action_are_told_apart() -> None:
    answer = {"status": "Accepted"}
    accepted = messages.SignCertificateResponse(status=messages.GenericStatusEnumType.ACCEPTED)
    assert decode(Action.SIGN_CERTIFICATE, Kind.RESPONSE, answer) == accepted
    assert refusal(Action.SIGN_CERTIFICATE, answer).code is CallErrorCode.FORMAT_VIOLATION


@pytest.mark.parametrize(
    ("action", "payload", "code", "pointer"),
    [
        # Required field missing, cardinality.
        (Action.SIGN_CERTIFICATE, {}, "OccurrenceConstraintViolation", "/csr"),
        (
            Action.BOOT_NOTIFICATION,
            BOOT | {"chargingStation": {"model": "M"}},
            "OccurrenceConstraintViolation",
            "/chargingStation/vendorName",
        ),
        (
            Action.SET_VARIABLES,
            {"setVariableData": []},
            "OccurrenceConstraintViolation",
            "/setVariableData",
        ),
        (
            Action.GET_CERTIFICATE_STATUS,
            {"ocspRequestData": {}},
            "OccurrenceConstraintViolation",
            "/ocspRequestData/",
        ),
        (
            Action.SIGN_CERTIFICATE,
            {"csr": "x", "customData": {}},
            "OccurrenceConstraintViolation",
            "/customData/vendorId",
        ),
        # Wrong JSON type.
        (Action.SIGN_CERTIFICATE, {"csr": 7}, "TypeConstraintViolation", "/csr"),
        (Action.SIGN_CERTIFICATE, [], "TypeConstraintViolation", "The payload"),
        (Action.SIGN_CERTIFICATE, "hunter2", "TypeConstraintViolation", "The payload"),
        (Action.SET_VARIABLES, {"setVariableData": {}}, "TypeConstraintViolation", "/set"),
        (
            Action.SET_VARIABLES,
            set_variables(component={"name": "C", "evse": {"id": 1.0}}),
            "TypeConstraintViolation",
            "/setVariableData/0/component/evse/id",
        ),
        (
            Action.SET_VARIABLES,
            set_variables(component={"name": "C", "evse": {"id": True}}),
            "TypeConstraintViolation",
            "/setVariableData/0/component/evse/id",
        ),
        # Enum, length, range.
        (
            Action.BOOT_NOTIFICATION,
            BOOT | {"reason": "powerup"},
            "PropertyConstraintViolation",
            "/reason",
        ),
        (Action.SIGN_CERTIFICATE, {"csr": "x" * 5501}, "PropertyConstraintViolation", "/csr"),
        (
            Action.SET_VARIABLES,
            set_variables(component={"name": "C", "evse": {"id": 2**31}}),
            "PropertyConstraintViolation",
            "/setVariableData/0/component/evse/id",
        ),
        (
            Action.SET_VARIABLES,
            set_variables(component={"name": "C", "evse": {"id": -(2**31) - 1}}),
            "PropertyConstraintViolation",
            "/setVariableData/0/component/evse/id",
        ),
        # Additional property, null for absent.
        (Action.HEARTBEAT, {"hunter2": 1}, "FormatViolation", "The payload"),
        (
            Action.SIGN_CERTIFICATE,
            {"csr": "x", "certificateType": None},
            "FormatViolation",
            "/certificateType",
        ),
        (Action.HEARTBEAT, None, "FormatViolation", "The payload"),
        # Several at once: the worst by the order of CODES.
        (Action.SIGN_CERTIFICATE, {"csr": 7, "hunter2": 1}, "FormatViolation", "The payload"),
    ],
)
def test_every_broken_rule_has_its_code_and_pointer(
    action: Action, payload: Any, code: str, pointer: str
) -> None:
    error = refusal(action, payload)
    assert error.code == code
    assert error.description.startswith(pointer)
    assert len(error.description) <= 255
    assert HOSTILE not in error.description


@pytest.mark.parametrize("csr", ["x" * 5500, "\U0001f600" * 5500])
def test_lengths_count_characters(csr: str) -> None:
    assert request(Action.SIGN_CERTIFICATE, {"csr": csr}).csr == csr


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31)])
def test_integers_of_31_bits_and_a_sign_pass(number: int) -> None:
    payload = set_variables(component={"name": "C", "evse": {"id": number}})
    assert request(Action.SET_VARIABLES, payload).set_variable_data[0].component.evse.id == number


@pytest.mark.parametrize(
    "instant",
    [
        "2026-01-31T10:00:00Z",
        "2026-01-31T10:00:00.123Z",
        "2026-01-31T10:00:00.123456789+02:00",
        "1970-01-01T00:00:00Z",
        "2100-12-31T23:59:59-14:00",
        "2024-02-29T00:00:00Z",
    ],
)
def test_rfc_3339_instants_of_the_years_1970_to_2100_pass(instant: str) -> None:
    event = request(Action.SECURITY_EVENT_NOTIFICATION, EVENT | {"timestamp": instant})
    assert event.timestamp.utcoffset() is not None


@pytest.mark.parametrize(
    "instant",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T10:00:00",
        "2026-01-31T10:00Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T10:00:00+25:00",
        "1969-12-31T23:59:59Z",
        "2101-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "222222017-01-01T00:00:00Z",
    ],
)
def test_other_instants_are_format_violations(instant: str) -> None:
    error = refusal(Action.SECURITY_EVENT_NOTIFICATION, EVENT | {"timestamp": instant})
    assert error.code is CallErrorCode.FORMAT_VIOLATION
    assert error.description.startswith("/timestamp")


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_custom_data_of_an_unknown_vendor_is_no_error_and_kept() -> None:
    """TC_P_03."""
    custom = {"vendorId": "com.example", "deep": nested(7), "big": "x" * 8000}
    payload = {"customData": custom}
    heartbeat = request(Action.HEARTBEAT, payload)
    assert heartbeat.custom_data.vendor_id == "com.example"
    assert encode(heartbeat) == payload


@pytest.mark.parametrize(
    "custom", [{"vendorId": "v", "deep": nested(8)}, {"vendorId": "v", "big": "x" * 8192}]
)
def test_custom_data_is_bounded_where_the_schemas_are_not(custom: Any) -> None:
    """Threat D04: 8 KiB, 8 levels."""
    error = refusal(Action.HEARTBEAT, {"customData": custom})
    assert error.code is CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION
    assert error.description.startswith("/customData is larger or deeper")


@pytest.mark.parametrize("custom", [{"vendorId": 7}, {"vendorId": "v" * 256}, [], "v"])
def test_custom_data_that_is_none_is_refused(custom: Any) -> None:
    assert refusal(Action.HEARTBEAT, {"customData": custom}).code in {
        CallErrorCode.TYPE_CONSTRAINT_VIOLATION,
        CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    }


@pytest.mark.parametrize("data", ["x", {"a": [1, None]}, None, nested(8)])
def test_data_transfer_takes_any_json(data: Any) -> None:
    assert request(Action.DATA_TRANSFER, {"vendorId": "v", "data": data}).data == data


def test_data_transfer_needs_no_data() -> None:
    assert encode(request(Action.DATA_TRANSFER, {"vendorId": "v"})) == {"vendorId": "v"}


@pytest.mark.parametrize("data", ["x" * 8192, nested(9), {"a": nested(8)}])
def test_data_transfer_is_bounded_too(data: Any) -> None:
    for kind, payload in (
        (Kind.REQUEST, {"vendorId": "v"}),
        (Kind.RESPONSE, {"status": "Accepted"}),
    ):
        error = refusal(Action.DATA_TRANSFER, payload | {"data": data}, kind)
        assert error.code is CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION


def meter_value(value: Any) -> dict[str, Any]:
    sample = {"timestamp": "2026-01-31T10:00:00Z", "sampledValue": [{"value": value}]}
    return {"evseId": 1, "meterValue": [sample]}


@pytest.mark.parametrize("value", [10**15, -(10**15), 1e15, 0.1, -0.0, 1e-300])
def test_decimals_that_a_meter_may_count_pass(value: float) -> None:
    sample = request(Action.METER_VALUES, meter_value(value)).meter_value[0].sampled_value[0]
    assert sample.value == value


@pytest.mark.parametrize("value", [10**15 + 1, -(10**15) - 1, 1.1e15, 1e308, -1e308, 10**300])
def test_decimals_beyond_what_can_be_added_up_are_refused(value: float) -> None:
    """Threat D02: 1e308 is finite and storable, and the sum of two of them is neither."""
    error = refusal(Action.METER_VALUES, meter_value(value))
    assert error.code is CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION
    assert error.description.startswith("/meterValue/0/sampledValue/0/value is ")


def test_a_number_beyond_any_float_is_refused() -> None:
    error = refusal(Action.METER_VALUES, meter_value(10**400))
    assert error.code is CallErrorCode.FORMAT_VIOLATION


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), True, 1e300])
def test_vendors_may_count_in_64_bits(number: float) -> None:
    custom = {"vendorId": "v", "deep": [{"n": number}]}
    assert request(Action.HEARTBEAT, {"customData": custom}).custom_data.content == custom


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**300])
@pytest.mark.parametrize("within", [lambda n: n, lambda n: [{"n": n}]], ids=["plain", "deep"])
def test_but_not_in_more(number: int, within: Any) -> None:
    for action, payload in (
        (Action.HEARTBEAT, {"customData": {"vendorId": "v", "n": within(number)}}),
        (Action.DATA_TRANSFER, {"vendorId": "v", "data": within(number)}),
    ):
        assert refusal(action, payload).code is CallErrorCode.PROPERTY_CONSTRAINT_VIOLATION


def test_explain_finds_nothing_in_what_decodes() -> None:
    assert explain(Action.BOOT_NOTIFICATION, Kind.REQUEST, BOOT) == []


def test_explain_lists_every_violation_worst_first() -> None:
    payload = {"reason": "hunter2", "chargingStation": {"model": None}, "hunter2": 1}
    assert explain(Action.BOOT_NOTIFICATION, Kind.REQUEST, payload) == [
        SchemaViolation(
            "", Rule.ADDITIONAL_PROPERTY, "has a property that the schema does not know"
        ),
        SchemaViolation("/chargingStation/model", Rule.NULL, "is null; what is absent is left out"),
        SchemaViolation("/chargingStation/vendorName", Rule.REQUIRED, "is required"),
        SchemaViolation("/reason", Rule.ENUM, "is none of the values that the schema lists"),
    ]


def test_explain_says_what_only_the_decoder_refuses() -> None:
    payload = {"vendorId": "v", "customData": {"vendorId": "v", "x": "y" * 9000}}
    assert [one.pointer for one in explain(Action.DATA_TRANSFER, Kind.REQUEST, payload)] == [
        "/customData"
    ]


@pytest.mark.parametrize("value", ["\0", "\ud800", float("nan"), nested(100)])
def test_explain_refuses_what_cannot_be_stored_before_looking_further(value: Any) -> None:
    """An API's JSON parser may let through what ours does not."""
    found = explain(Action.DATA_TRANSFER, Kind.REQUEST, {"vendorId": "v", "data": value})
    assert [one.rule for one in found] == [Rule.UNSTORABLE]


def test_explain_stops_at_twenty() -> None:
    payload = {"setVariableData": [{"hunter2": 1}] * 50}
    assert len(explain(Action.SET_VARIABLES, Kind.REQUEST, payload)) == 20


def test_messages_name_limits_and_maxima() -> None:
    """maxItems and maximum occur in few schemas: charging schedules and state of charge."""
    schedule = {
        "id": 1,
        "chargingRateUnit": "W",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 1}],
    }
    profile = {
        "id": 1,
        "stackLevel": -1,
        "chargingProfilePurpose": "TxProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule] * 4,
    }
    found = explain(
        Action.SET_CHARGING_PROFILE, Kind.REQUEST, {"evseId": 1, "chargingProfile": profile}
    )
    assert (
        SchemaViolation(
            "/chargingProfile/chargingSchedule", Rule.MAX_ITEMS, "has more than 3 elements"
        )
        in found
    )
    needs = {
        "requestedEnergyTransfer": "DC",
        "dcChargingParameters": {"evMaxCurrent": 1, "evMaxVoltage": 1, "stateOfCharge": 101},
    }
    [one] = explain(
        Action.NOTIFY_EV_CHARGING_NEEDS, Kind.REQUEST, {"evseId": 1, "chargingNeeds": needs}
    )
    assert (one.rule, one.pointer.rpartition("/")[2]) == (Rule.MAXIMUM, "stateOfCharge")


@pytest.mark.parametrize(
    ("number", "message"), [(2**31, "greater than 2147483647"), (-(2**31) - 1, "less than -2147")]
)
def test_wide_integers_are_told_their_bound(number: int, message: str) -> None:
    payload = set_variables(component={"name": "C", "evse": {"id": number}})
    assert message in refusal(Action.SET_VARIABLES, payload).description


def test_every_rule_has_a_code() -> None:
    assert set(CODES) == set(Rule)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime(2026, 1, 31, 10, tzinfo=UTC), "2026-01-31T10:00:00Z"),
        (datetime(2026, 1, 31, 10, 0, 0, 999, tzinfo=UTC), "2026-01-31T10:00:00Z"),
        (datetime(2026, 1, 31, 10, 0, 0, 123456, tzinfo=UTC), "2026-01-31T10:00:00.123Z"),
        (
            datetime(2026, 1, 31, 10, tzinfo=timezone(timedelta(hours=2))),
            "2026-01-31T08:00:00Z",
        ),
    ],
)
def test_instants_go_out_as_utc_with_at_most_milliseconds(instant: datetime, text: str) -> None:
    """Part 2 §3.1."""
    assert encode(messages.HeartbeatResponse(current_time=instant)) == {"currentTime": text}


def test_unset_fields_are_left_out_and_lists_stay_lists() -> None:
    variable = messages.SetVariableDataType(
        attribute_value="1",
        component=messages.ComponentType(name="C"),
        variable=messages.VariableType(name="V"),
    )
    assert encode(messages.SetVariablesRequest(set_variable_data=(variable,))) == set_variables()


def test_names_that_do_not_follow_camel_case_are_kept() -> None:
    data = messages.OCSPRequestDataType(
        hash_algorithm=messages.HashAlgorithmEnumType.SHA256,
        issuer_key_hash="a",
        issuer_name_hash="b",
        responder_url="http://x",
        serial_number="1",
    )
    request_ = messages.GetCertificateStatusRequest(ocsp_request_data=data)
    assert "responderURL" in encode(request_)["ocspRequestData"]


def test_what_is_no_json_is_not_encoded() -> None:
    message = messages.DataTransferRequest(vendor_id="v", data={})
    message.data["x"] = object()
    with pytest.raises(TypeError, match="no JSON for object"):
        encode(message)
