"""Secrets out of payloads, before anything is logged or stored (A01.FR.09, C04.FR.04, B09).

`redact` answers a copy to be read by people, which no longer fits its schema. It goes by the
position that the schemas give a secret, in every message that can hold it, and errs on the side
of too much: variable names match in any case and on any component, URLs lose their query as well
as their user, customData keeps its vendor only. A payload that does not decode has no positions
to go by, so that all of its values go.
"""

import re
from typing import Final

from csms.ocpp.actions import Action, Kind
from csms.ocpp.errors import ProtocolError
from csms.ocpp.messages.json_schemas import DEFINITIONS, MESSAGES
from csms.ocpp.schemas import decode
from csms.ocpp.strict_json import DEPTH_LIMIT, Json

REDACTED: Final = "[redacted]"

# Device model variables whose values are secrets; identifiers are case-insensitive (Part 1 §4).
# Whatever the component is called: BasicAuthPassword of SecurityCtrlr in 2.0.1, and with the
# others of NetworkConfiguration from 2.1 on.
SECRET_VARIABLES: Final = frozenset(
    {"basicauthpassword", "apnpassword", "apnsimpin", "vpnpassword", "vpnkey"}
)
# Where the message types name the variable beside its value.
VALUE_KEYS: Final = frozenset({"attributeValue", "actualValue", "variableAttribute"})
# APNType and VPNType, which only SetNetworkProfile carries.
NETWORK_SECRETS: Final = frozenset({"apnPassword", "simPin", "password", "key"})
URL_KEYS: Final = frozenset({"remoteLocation", "location", "ocppCsmsUrl"})

# Up to the last @, wherever it stands: a password may hold a / or ? that nobody escaped.
_USER_INFO: Final = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)
_QUERY: Final = re.compile(r"[?#].*$", re.DOTALL)
_PROPERTY_NAMES: Final = frozenset(
    name
    for text in (*DEFINITIONS.values(), *MESSAGES.values())
    for name in re.findall(r'"(\w+)": \{', text)
)


def redact(action: Action, kind: Kind, payload: Json) -> Json:
    """A copy of the payload without what nobody may read later."""
    try:
        decode(action, kind, payload)
    except ProtocolError:
        return redact_all(payload)
    return _redact(
        payload, NETWORK_SECRETS if action is Action.SET_NETWORK_PROFILE else frozenset()
    )


def redact_all(value: Json, *, depth: int = DEPTH_LIMIT) -> Json:
    """The shape alone: for payloads that break their schema and for CALLERROR details."""
    if value is None or isinstance(value, bool):
        return value
    if depth == 0 or not isinstance(value, dict | list):
        return REDACTED
    if isinstance(value, list):
        return [redact_all(part, depth=depth - 1) for part in value]
    return {
        key if key in _PROPERTY_NAMES else f"[property {position}]": redact_all(
            part, depth=depth - 1
        )
        for position, (key, part) in enumerate(value.items())
    }


def _redact(value: Json, secret_keys: frozenset[str]) -> Json:
    if isinstance(value, list):
        return [_redact(part, secret_keys) for part in value]
    if not isinstance(value, dict):
        return value
    hidden = secret_keys | _hidden_beside(value)
    return {key: _redact_property(key, part, hidden, secret_keys) for key, part in value.items()}


def _hidden_beside(value: dict[str, Json]) -> frozenset[str]:
    """Keys whose values are secret because of what stands beside them."""
    match value:
        case {"variable": {"name": str(name)}} if name.strip().casefold() in SECRET_VARIABLES:
            return VALUE_KEYS
        case {"type": "KeyCode", "idToken": str()}:  # C04.FR.04: the PIN that a driver typed
            return frozenset({"idToken"})
    return frozenset()


def _redact_property(
    key: str, part: Json, hidden: frozenset[str], secret_keys: frozenset[str]
) -> Json:
    if key in hidden:
        return redact_all(part)
    if key == "customData":
        return {"vendorId": part["vendorId"]}
    if key in URL_KEYS:
        parts = part if isinstance(part, list) else [part]
        cleaned = [_redact_url(one) if isinstance(one, str) else one for one in parts]
        return cleaned if isinstance(part, list) else cleaned[0]
    return _redact(part, secret_keys)


def _redact_url(url: str) -> str:
    """Credentials stand before the @ of the authority, or, in signed URLs, in the query."""
    return _QUERY.sub(f"?{REDACTED}", _USER_INFO.sub(rf"\1{REDACTED}@", url))
