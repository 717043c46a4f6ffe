"""What a station answers to each CALL of its CSMS, and what it then does.

`react` is the only door: it finds the handler, turns a payload it cannot read into the right
CALLERROR, and returns a `Reaction` or raises `CallRefused`. Handlers change the `StationState`
they are given and do no I/O but the key store's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from station import device_model as dm
from station.certificates import (
    certificate_signed,
    delete_certificate,
    get_installed_certificate_ids,
    install_certificate,
    security_event,
)
from station.clock import Clock, timestamp
from station.codec import Call, ErrorCode, Payload
from station.effects import (
    AskForCertificate,
    BootAgain,
    CallRefused,
    Effect,
    Milestone,
    Reached,
    Reaction,
    Reconnect,
    Send,
    accepted,
    status,
)
from station.network import NetworkProfileRefused
from station.reports import component_variable, get_base_report, get_report
from station.state import Registration, StationState

Handler = Callable[[StationState, Payload, Clock], Reaction]


def react(state: StationState, call: Call, clock: Clock) -> Reaction:
    """The reaction to one CALL, or `CallRefused`."""
    handler = HANDLERS.get(call.action)
    if handler is None:
        known = call.action in _KNOWN_BUT_NOT_SUPPORTED
        code = ErrorCode.NOT_SUPPORTED if known else ErrorCode.NOT_IMPLEMENTED
        raise CallRefused(code, "not supported by this station" if known else "unknown action")
    try:
        return handler(state, call.payload, clock)
    except KeyError as error:
        raise CallRefused(ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, "field missing") from error
    except (TypeError, AttributeError) as error:
        raise CallRefused(ErrorCode.TYPE_CONSTRAINT_VIOLATION, "wrong JSON type") from error
    except ValueError as error:
        raise CallRefused(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "invalid value") from error


def boot_payload(state: StationState) -> Payload:
    config = state.config
    return {
        "reason": state.boot_reason,
        "chargingStation": {
            "model": config.model,
            "vendorName": config.vendor,
            "serialNumber": state.misbehaviour.boot_serial or config.serial_number,
            "firmwareVersion": config.firmware,
        },
    }


def status_notification(
    state: StationState, evse: int, connector: int, clock: Clock, *, triggered: bool = False
) -> Send:
    payload = {
        "timestamp": timestamp(clock.now()),
        "connectorStatus": state.connectors[evse, connector],
        "evseId": evse,
        "connectorId": connector,
    }
    return Send("StatusNotification", payload, triggered=triggered)


def after_boot(state: StationState, clock: Clock) -> list[Effect]:
    """What follows an Accepted boot: every connector's status, then what the log must tell."""
    statuses: list[Effect] = [
        status_notification(state, evse, connector, clock) for evse, connector in state.connectors
    ]
    kind = "StartupOfTheDevice" if state.boot_reason == "PowerUp" else "ResetOrReboot"
    return [*statuses, security_event(clock, kind)]


def _trigger_message(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    """F06, with the kinds this station knows."""
    kind = payload["requestedMessage"]
    if kind == "StatusNotification":
        return _trigger_status(state, payload, clock)
    # F06.FR.17: only of use before the station is accepted.
    if kind == "BootNotification" and state.registration is Registration.ACCEPTED:
        return status("Rejected")
    # A CSR is promised here even when none can be built afterwards, as EVerest does.
    effect = _TRIGGERS.get(kind)
    return status("NotImplemented") if effect is None else accepted(effect)


def _trigger_status(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    wanted = payload.get("evse", {})
    chosen = [
        (evse, connector)
        for evse, connector in state.connectors
        if wanted.get("id", evse) == evse and wanted.get("connectorId", connector) == connector
    ]
    if not chosen:
        return status("Rejected")
    return accepted(*(status_notification(state, *one, clock, triggered=True) for one in chosen))


def _set_variables(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    results, then = [], list[Effect]()
    for item in payload["setVariableData"]:
        name = _name(item)
        if item.get("attributeType", "Actual") != "Actual":
            word = dm.VariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE
        else:
            word = _set_one(state, name, item["attributeValue"], then)
        results.append({"attributeStatus": word.value, **_component_variable(item)})
    state.save()
    if any(isinstance(effect, Reconnect) for effect in then):
        # One reconnect is enough, whatever was changed.
        then = [effect for effect in then if not isinstance(effect, Reconnect)] + [Reconnect()]
    del clock
    return Reaction({"setVariableResult": results}, tuple(then))


def _set_one(
    state: StationState, name: dm.Name, value: str, then: list[Effect]
) -> dm.VariableStatus:
    if name == dm.NETWORK_PRIORITY:
        try:
            state.network.set_priority(value, credentials=state.credentials)
        except NetworkProfileRefused:
            return dm.VariableStatus.REJECTED
    result = state.model.write(name, value)
    if name == dm.BASIC_AUTH_PASSWORD and result is dm.VariableStatus.ACCEPTED:
        # A01.FR.01: kept by the state, not by the device model, whose values are reported.
        state.model.values.pop(name)
        state.password = value
        then += [Reached(Milestone.PASSWORD_CHANGED), Reconnect()]
    return result


def _get_variables(state: StationState, payload: Payload, _clock: Clock) -> Reaction:
    state.refresh()
    results = []
    for item in payload["getVariableData"]:
        word, value = state.model.read(_name(item))
        if item.get("attributeType", "Actual") != "Actual":
            word, value = dm.VariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE, None
        result: dict[str, Any] = {"attributeStatus": word.value, **_component_variable(item)}
        if value:
            result["attributeValue"] = value
        results.append(result)
    return Reaction({"getVariableResult": results})


def _set_network_profile(state: StationState, payload: Payload, _clock: Clock) -> Reaction:
    try:
        state.network.set_slot(payload, credentials=state.credentials)
    except NetworkProfileRefused as refused:
        return status("Rejected", reason=refused.reason.value)
    state.save()
    return accepted()


def _reset(state: StationState, payload: Payload, _clock: Clock) -> Reaction:
    """B11, B12: nothing charges here, so OnIdle is now as well."""
    kind = payload["type"]
    if kind not in {"Immediate", "OnIdle"}:
        raise CallRefused(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "unknown reset type")
    if "evseId" in payload:
        return status("Rejected", reason="NotSupported")
    state.boot_reason = "RemoteReset" if kind == "Immediate" else "ScheduledReset"
    return accepted(Reached(Milestone.RESET, {"type": kind}), Reconnect(boot=True))


def _data_transfer(_state: StationState, payload: Payload, _clock: Clock) -> Reaction:
    del payload["vendorId"]  # required; no vendor is known here
    return status("UnknownVendorId")


def _name(item: Mapping[str, Any]) -> dm.Name:
    component, variable = item["component"], item["variable"]
    return dm.Name(component["name"], variable["name"], variable.get("instance"))


def _component_variable(item: Mapping[str, Any]) -> dict[str, Any]:
    return component_variable(_name(item))


_TRIGGERS: Final[Mapping[str, Effect]] = {
    "BootNotification": BootAgain(),
    "SignChargingStationCertificate": AskForCertificate(),
    "Heartbeat": Send("Heartbeat", {}, triggered=True),
    "FirmwareStatusNotification": Send(
        "FirmwareStatusNotification", {"status": "Idle"}, triggered=True
    ),
    "LogStatusNotification": Send("LogStatusNotification", {"status": "Idle"}, triggered=True),
}

HANDLERS: Final[Mapping[str, Handler]] = {
    "CertificateSigned": certificate_signed,
    "DataTransfer": _data_transfer,
    "DeleteCertificate": delete_certificate,
    "GetBaseReport": get_base_report,
    "GetInstalledCertificateIds": get_installed_certificate_ids,
    "GetReport": get_report,
    "GetVariables": _get_variables,
    "InstallCertificate": install_certificate,
    "Reset": _reset,
    "SetNetworkProfile": _set_network_profile,
    "SetVariables": _set_variables,
    "TriggerMessage": _trigger_message,
}

# Actions of OCPP 2.0.1 a CSMS may send: known here, but this station is not equipped for them.
_KNOWN_BUT_NOT_SUPPORTED: Final = frozenset(
    """
    CancelReservation ChangeAvailability ClearCache ClearChargingProfile
    ClearDisplayMessage ClearVariableMonitoring CostUpdated CustomerInformation GetChargingProfiles
    GetCompositeSchedule GetDisplayMessages GetLocalListVersion GetLog GetMonitoringReport
    GetTransactionStatus PublishFirmware RequestStartTransaction RequestStopTransaction ReserveNow
    SendLocalList SetChargingProfile SetDisplayMessage SetMonitoringBase SetMonitoringLevel
    SetVariableMonitoring UnlockConnector UnpublishFirmware UpdateFirmware
    """.split()  # noqa: SIM905 - a list literal of 29 lines says no more
)
