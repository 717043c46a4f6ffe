"""GetBaseReport and GetReport: acknowledged first, then told in NotifyReport frames (B07, B08)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from station import device_model as dm
from station.clock import Clock, timestamp
from station.codec import Payload
from station.effects import Reaction, Send, accepted, status
from station.state import StationState

# Small enough that a full inventory takes several frames with `tbc`, as real stations send it.
_VARIABLES_PER_FRAME: Final = 12
_BASES: Final = frozenset({"ConfigurationInventory", "FullInventory", "SummaryInventory"})


def get_base_report(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    if payload["reportBase"] not in _BASES:
        return status("NotSupported")
    entries = [
        _report_data(name, definition, value)
        for name, definition, value in state.model
        if payload["reportBase"] == "FullInventory"
        or (definition.mutability is not dm.Mutability.READ_ONLY)
        == (payload["reportBase"] == "ConfigurationInventory")
    ]
    return accepted(*_notify(int(payload["requestId"]), entries, clock))


def get_report(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    """By component and variable; criteria (problems and the like) are never met here."""
    if payload.get("componentCriteria"):
        return status("EmptyResultSet")
    wanted = payload.get("componentVariable", [])
    entries = [
        _report_data(name, definition, value)
        for name, definition, value in state.model
        if not wanted or any(_matches(name, item) for item in wanted)
    ]
    if not entries:
        return status("EmptyResultSet")
    return accepted(*_notify(int(payload["requestId"]), entries, clock))


def component_variable(name: dm.Name) -> dict[str, Any]:
    variable = {"name": name.variable}
    if name.instance is not None:
        variable["instance"] = name.instance
    return {"component": {"name": name.component}, "variable": variable}


def _matches(name: dm.Name, wanted: dict[str, Any]) -> bool:
    if wanted["component"]["name"] != name.component:
        return False
    variable = wanted.get("variable")
    if variable is None:
        return True
    instance = variable.get("instance", name.instance)
    return (variable["name"], instance) == (name.variable, name.instance)


def _report_data(name: dm.Name, definition: dm.Definition, value: str) -> dict[str, Any]:
    attribute: dict[str, Any] = {"type": "Actual", "mutability": definition.mutability.value}
    if definition.mutability is not dm.Mutability.WRITE_ONLY:
        attribute["value"] = value
    characteristics: dict[str, Any] = {
        "dataType": definition.data_type.value,
        "supportsMonitoring": False,
    }
    if definition.values is not None:
        characteristics["valuesList"] = definition.values
    if definition.max_limit is not None:
        characteristics["maxLimit"] = definition.max_limit
    return {
        **component_variable(name),
        "variableAttribute": [attribute],
        "variableCharacteristics": characteristics,
    }


def _notify(request_id: int, entries: Sequence[dict[str, Any]], clock: Clock) -> Iterable[Send]:
    """B07.FR.04: one requestId, seqNo from 0, `tbc` on all but the last."""
    for sequence, start in enumerate(range(0, len(entries), _VARIABLES_PER_FRAME)):
        payload = {
            "requestId": request_id,
            "generatedAt": timestamp(clock.now()),
            "seqNo": sequence,
            "tbc": start + _VARIABLES_PER_FRAME < len(entries),
            "reportData": entries[start : start + _VARIABLES_PER_FRAME],
        }
        yield Send("NotifyReport", payload, triggered=True)
