"""The station's variables (OCPP 2.0.1 device model) and the plain rules for reading and setting.

Definitions are shared by all stations of a process; a station holds only the values that differ
from the default. Rules that need more than the variable itself (slots, roots, certificates) are
left to `network` and `behaviour`, which ask here last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple


class Name(NamedTuple):
    """A variable of a component; `instance` only where the standard has several."""

    component: str
    variable: str
    instance: str | None = None


class Mutability(StrEnum):
    READ_ONLY = "ReadOnly"
    WRITE_ONLY = "WriteOnly"
    READ_WRITE = "ReadWrite"


class DataType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    MEMBER_LIST = "MemberList"
    SEQUENCE_LIST = "SequenceList"


class VariableStatus(StrEnum):
    """Answers of GetVariables and SetVariables."""

    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    UNKNOWN_COMPONENT = "UnknownComponent"
    UNKNOWN_VARIABLE = "UnknownVariable"
    NOT_SUPPORTED_ATTRIBUTE_TYPE = "NotSupportedAttributeType"


@dataclass(frozen=True, slots=True)
class Definition:
    default: str
    mutability: Mutability = Mutability.READ_WRITE
    data_type: DataType = DataType.STRING
    values: str | None = None
    max_limit: int | None = None


_RO: Final = Mutability.READ_ONLY
_INT: Final = DataType.INTEGER

BASIC_AUTH_PASSWORD: Final = Name("SecurityCtrlr", "BasicAuthPassword")
ORGANIZATION_NAME: Final = Name("SecurityCtrlr", "OrganizationName")
SECURITY_PROFILE: Final = Name("SecurityCtrlr", "SecurityProfile")
IDENTITY: Final = Name("SecurityCtrlr", "Identity")
CERTIFICATE_ENTRIES: Final = Name("SecurityCtrlr", "CertificateEntries")
MAX_CHAIN_SIZE: Final = Name("SecurityCtrlr", "MaxCertificateChainSize")
SIGNING_WAIT_MINIMUM: Final = Name("SecurityCtrlr", "CertSigningWaitMinimum")
SIGNING_REPEAT_TIMES: Final = Name("SecurityCtrlr", "CertSigningRepeatTimes")
NETWORK_PRIORITY: Final = Name("OCPPCommCtrlr", "NetworkConfigurationPriority")
ACTIVE_PROFILE: Final = Name("OCPPCommCtrlr", "ActiveNetworkProfile")
CONNECTION_ATTEMPTS: Final = Name("OCPPCommCtrlr", "NetworkProfileConnectionAttempts")
MESSAGE_TIMEOUT: Final = Name("OCPPCommCtrlr", "MessageTimeout", "Default")
HEARTBEAT_INTERVAL: Final = Name("OCPPCommCtrlr", "HeartbeatInterval")
PING_INTERVAL: Final = Name("OCPPCommCtrlr", "WebSocketPingInterval")
BACK_OFF_WAIT_MINIMUM: Final = Name("OCPPCommCtrlr", "RetryBackOffWaitMinimum")
BACK_OFF_RANDOM_RANGE: Final = Name("OCPPCommCtrlr", "RetryBackOffRandomRange")
BACK_OFF_REPEAT_TIMES: Final = Name("OCPPCommCtrlr", "RetryBackOffRepeatTimes")

SLOTS: Final = (1, 2, 3)

DEFINITIONS: Final[Mapping[Name, Definition]] = {
    BASIC_AUTH_PASSWORD: Definition("", Mutability.WRITE_ONLY, max_limit=40),
    IDENTITY: Definition("", _RO, max_limit=48),
    ORGANIZATION_NAME: Definition(""),
    SECURITY_PROFILE: Definition("0", _RO, _INT),
    CERTIFICATE_ENTRIES: Definition("0", _RO, _INT, max_limit=20),
    Name("SecurityCtrlr", "AdditionalRootCertificateCheck"): Definition(
        "false", _RO, DataType.BOOLEAN
    ),
    MAX_CHAIN_SIZE: Definition("10000", _RO, _INT, max_limit=10_000),
    SIGNING_WAIT_MINIMUM: Definition("30", data_type=_INT),
    SIGNING_REPEAT_TIMES: Definition("3", data_type=_INT),
    NETWORK_PRIORITY: Definition(
        "1", data_type=DataType.SEQUENCE_LIST, values=",".join(map(str, SLOTS))
    ),
    ACTIVE_PROFILE: Definition("1", _RO, _INT),
    CONNECTION_ATTEMPTS: Definition("3", data_type=_INT),
    MESSAGE_TIMEOUT: Definition("30", data_type=_INT),
    HEARTBEAT_INTERVAL: Definition("300", data_type=_INT),
    PING_INTERVAL: Definition("30", data_type=_INT),
    BACK_OFF_WAIT_MINIMUM: Definition("5", data_type=_INT),
    BACK_OFF_RANDOM_RANGE: Definition("10", data_type=_INT),
    BACK_OFF_REPEAT_TIMES: Definition("5", data_type=_INT),
    Name("OCPPCommCtrlr", "FileTransferProtocols"): Definition(
        "HTTPS", _RO, DataType.MEMBER_LIST, values="HTTPS"
    ),
    Name("OCPPCommCtrlr", "ResetRetries"): Definition("1", data_type=_INT),
    Name("DeviceDataCtrlr", "ItemsPerMessage", "GetReport"): Definition("100", _RO, _INT),
    Name("DeviceDataCtrlr", "ItemsPerMessage", "GetVariables"): Definition("100", _RO, _INT),
    Name("DeviceDataCtrlr", "ItemsPerMessage", "SetVariables"): Definition("100", _RO, _INT),
    Name("ISO15118Ctrlr", "CountryName"): Definition(""),
    Name("ISO15118Ctrlr", "PnCEnabled"): Definition("false", data_type=DataType.BOOLEAN),
    Name("AuthCtrlr", "LocalPreAuthorize"): Definition("false", data_type=DataType.BOOLEAN),
    Name("TxCtrlr", "StopTxOnInvalidId"): Definition("true", data_type=DataType.BOOLEAN),
    Name("ChargingStation", "Available"): Definition("true", _RO, DataType.BOOLEAN),
    Name("ClockCtrlr", "TimeSource"): Definition("Heartbeat", data_type=DataType.SEQUENCE_LIST),
}
COUNTRY_NAME: Final = Name("ISO15118Ctrlr", "CountryName")
_COMPONENTS: Final = frozenset(name.component for name in DEFINITIONS)

# A00.FR.205: passwordString. The lower bound is ours to hold, the upper the variable's maxLimit.
_PASSWORD: Final = re.compile(r"[A-Za-z0-9*\-_=:+|@.]{16,40}", re.ASCII)


@dataclass(slots=True)
class DeviceModel:
    """The values of one station."""

    values: dict[Name, str] = field(default_factory=dict)

    def get(self, name: Name) -> str:
        return self.values.get(name, DEFINITIONS[name].default)

    def integer(self, name: Name) -> int:
        return int(self.get(name))

    def put(self, name: Name, value: str) -> None:
        """The station's own writing, which mutability does not bind."""
        self.values[name] = value

    def read(self, name: Name) -> tuple[VariableStatus, str | None]:
        """What GetVariables answers (B06)."""
        absent = _absent(name)
        if absent is not None:
            return absent, None
        # B06.FR.09: a WriteOnly variable can never be read back.
        if DEFINITIONS[name].mutability is Mutability.WRITE_ONLY:
            return VariableStatus.REJECTED, None
        return VariableStatus.ACCEPTED, self.get(name)

    def write(self, name: Name, value: str) -> VariableStatus:
        """What SetVariables answers (B05), and the new value when Accepted."""
        absent = _absent(name)
        if absent is not None:
            return absent
        definition = DEFINITIONS[name]
        if definition.mutability is Mutability.READ_ONLY or not _fits(name, definition, value):
            return VariableStatus.REJECTED
        self.values[name] = value
        return VariableStatus.ACCEPTED

    def __iter__(self) -> Iterator[tuple[Name, Definition, str]]:
        for name, definition in DEFINITIONS.items():
            yield name, definition, self.get(name)


def _absent(name: Name) -> VariableStatus | None:
    if name in DEFINITIONS:
        return None
    if name.component not in _COMPONENTS:
        return VariableStatus.UNKNOWN_COMPONENT
    return VariableStatus.UNKNOWN_VARIABLE


def _fits(name: Name, definition: Definition, value: str) -> bool:
    if name == BASIC_AUTH_PASSWORD:
        return _PASSWORD.fullmatch(value) is not None
    if definition.data_type is DataType.BOOLEAN:
        return value in {"true", "false"}
    if definition.data_type is DataType.INTEGER:
        return value.isascii() and value.isdecimal()
    return len(value) <= (definition.max_limit or 1000)
