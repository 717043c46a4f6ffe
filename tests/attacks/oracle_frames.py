"""What OCPP-J asks for, written from the specification and without a look at the product.

Part 4 (edition 3, with its errata) §4.1-4.4, RFC 8259 and RFC 7493, as a model small enough to be
read beside them. `judge` says which answers a station may get to one text frame, on a session with
no history and no CALL outstanding. Where the specification leaves a choice the verdict has several
codes or ids, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

UNREADABLE = "-1"  # §4.2.3
ANYTHING = frozenset({"*"})

# Part 2: what a station sends, and what it only receives.
_FROM_STATION = """
    Authorize BootNotification ClearedChargingLimit DataTransfer FirmwareStatusNotification
    Get15118EVCertificate GetCertificateStatus Heartbeat LogStatusNotification MeterValues
    NotifyChargingLimit NotifyCustomerInformation NotifyDisplayMessages NotifyEVChargingNeeds
    NotifyEVChargingSchedule NotifyEvent NotifyMonitoringReport NotifyReport
    PublishFirmwareStatusNotification ReportChargingProfiles ReservationStatusUpdate
    SecurityEventNotification SignCertificate StatusNotification TransactionEvent
"""
FROM_STATION = frozenset(_FROM_STATION.split())
_TO_STATION = """
    CancelReservation CertificateSigned ChangeAvailability ClearCache ClearChargingProfile
    ClearDisplayMessage ClearVariableMonitoring CostUpdated CustomerInformation
    DeleteCertificate GetBaseReport GetChargingProfiles GetCompositeSchedule GetDisplayMessages
    GetInstalledCertificateIds GetLocalListVersion GetLog GetMonitoringReport GetReport
    GetTransactionStatus GetVariables InstallCertificate PublishFirmware
    RequestStartTransaction RequestStopTransaction ReserveNow Reset SendLocalList
    SetChargingProfile SetDisplayMessage SetMonitoringBase SetMonitoringLevel SetNetworkProfile
    SetVariableMonitoring SetVariables TriggerMessage UnlockConnector UnpublishFirmware
    UpdateFirmware
"""
TO_STATION = frozenset(_TO_STATION.split())


class Kind(Enum):
    ANSWERED = "a CALLERROR is due"
    TAKEN = "a CALL in good form: it is handled, or refused for its payload"
    DROPPED = "an answer, good or bad, to nothing that was asked: nothing is sent"


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Kind
    ids: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()


# JSON, by RFC 8259's own grammar


class NoJson(Exception):
    pass


@dataclass(slots=True)
class Reader:
    """Recursive descent with a stack of its own, so that depth is a number and not a crash."""

    text: str
    at: int = 0
    deepest: int = 0
    flawed: bool = False

    def whole(self) -> Any:
        value = self.value(1)
        self.space()
        if self.at != len(self.text):
            raise NoJson
        return value

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\n\r":
            self.at += 1

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        self.space()
        match self.peek():
            case "[" | "{" as opening:
                self.deepest = max(self.deepest, depth)
                if depth > 400:
                    raise TooDeep
                return self.array(depth) if opening == "[" else self.object(depth)
            case '"':
                return self.string()
            case "-" | "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
                return self.number()
        for word, meaning in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meaning
        raise NoJson

    def array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        self.space()
        if self.peek() == "]":
            self.at += 1
            return found
        while True:
            found.append(self.value(depth + 1))
            if self.after_element("]"):
                return found

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        self.space()
        if self.peek() == "}":
            self.at += 1
            return found
        while True:
            self.space()
            if self.peek() != '"':
                raise NoJson
            key = self.string()
            self.space()
            if self.peek() != ":":
                raise NoJson
            self.at += 1
            self.flawed |= key in found  # RFC 7493 §2.3
            found[key] = self.value(depth + 1)
            if self.after_element("}"):
                return found

    def after_element(self, closing: str) -> bool:
        self.space()
        mark = self.peek()
        self.at += 1
        if mark not in {",", closing} or not mark:
            raise NoJson
        return mark == closing

    def string(self) -> str:
        units: list[int] = []
        self.at += 1
        while True:
            char = self.peek()
            self.at += 1
            if not char or char < " ":
                raise NoJson
            if char == '"':
                break
            units += self.escape() if char == "\\" else utf16(char)
        if 0 in units:
            self.flawed = True  # no database takes it (threat D02)
        try:
            return b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be")
        except UnicodeDecodeError:
            self.flawed = True  # RFC 7493 §2.1: no lone surrogates
            return "\ufffd" * (len(units) + 100)  # no id, whatever its length

    def escape(self) -> list[int]:
        char = self.peek()
        self.at += 1
        if char == "u":
            digits = self.text[self.at : self.at + 4]
            self.at += 4
            if len(digits) != 4 or any(one not in "0123456789abcdefABCDEF" for one in digits):
                raise NoJson
            return [int(digits, 16)]
        plain = {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, '"': 34, "\\": 92, "/": 47}
        if not char or char not in plain:
            raise NoJson
        return [plain[char]]

    def number(self) -> Any:
        start = self.at
        if self.peek() == "-":
            self.at += 1
        if self.peek() == "0":
            self.at += 1
        else:
            self.digits()
        whole = self.at
        if self.peek() == ".":
            self.at += 1
            self.digits()
        if self.peek() in {"e", "E"}:
            self.at += 1
            if self.peek() in {"+", "-"}:
                self.at += 1
            self.digits()
        literal = self.text[start : self.at]
        if float(literal) in {float("inf"), float("-inf")}:
            self.flawed = True  # RFC 7493 §2.2
            return None
        return int(literal) if self.at == whole else float(literal)

    def digits(self) -> None:
        start = self.at
        while self.peek() and self.peek() in "0123456789":
            self.at += 1
        if start == self.at:
            raise NoJson


class TooDeep(Exception):
    pass


def utf16(char: str) -> list[int]:
    raw = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


# Frames


def judge(text: str) -> Verdict:
    reader = Reader(text)
    try:
        frame = reader.whole()
    except NoJson:
        if text.count("[") + text.count("{") > 32:
            return too_deep()  # broken and perhaps too deep: which is noticed first is open
        return answered("RpcFrameworkError", UNREADABLE)
    except TooDeep:
        return too_deep()
    if reader.deepest > 32:
        return too_deep()
    if not isinstance(frame, list) or not frame:
        return answered("RpcFrameworkError", UNREADABLE)
    kind = frame[0]
    if type(kind) is int and kind in {3, 4}:
        return Verdict(Kind.DROPPED)  # §4.2.2, §4.2.3: an answer is never answered
    readable = ids_of(frame)
    if type(kind) is not int:
        # §4.1.3 knows numbers only; §4.4 may be meant for this too. Open between the two.
        return Verdict(
            Kind.ANSWERED, readable, frozenset({"RpcFrameworkError", "MessageTypeNotSupported"})
        )
    if kind != 2:
        return Verdict(Kind.ANSWERED, readable, frozenset({"MessageTypeNotSupported"}))
    if UNREADABLE in readable and frame[1:2] != [UNREADABLE]:
        return Verdict(Kind.ANSWERED, readable, frozenset({"RpcFrameworkError"}))
    if len(frame) != 4 or not isinstance(frame[2], str):
        return Verdict(Kind.ANSWERED, readable, frozenset({"RpcFrameworkError"}))
    if reader.flawed:
        # §4.1.2 wants valid JSON; RFC 7493's rules are ours. The id could be read.
        return Verdict(Kind.ANSWERED, readable, frozenset({"FormatViolation"}))
    if frame[2] in FROM_STATION:
        return Verdict(Kind.TAKEN, readable)
    code = "NotSupported" if frame[2] in TO_STATION else "NotImplemented"
    return Verdict(Kind.ANSWERED, readable, frozenset({code}))


def ids_of(frame: list[Any]) -> frozenset[str]:
    """§4.1.4: a string of at most 36 characters, and not empty. Control characters in it: open."""
    if len(frame) < 2 or not isinstance(frame[1], str) or not 1 <= len(frame[1]) <= 36:
        return frozenset({UNREADABLE})
    if any(char < " " for char in frame[1]):
        return frozenset({UNREADABLE})
    return frozenset({frame[1]})


def too_deep() -> Verdict:
    """Depth is a bound of ours: the code, whether the id is still looked for, and whether what
    looks like an answer is dropped are open.
    """
    return Verdict(Kind.ANSWERED, ANYTHING, frozenset({"FormatViolation", "RpcFrameworkError"}))


def answered(code: str, message_id: str) -> Verdict:
    return Verdict(Kind.ANSWERED, frozenset({message_id}), frozenset({code}))
