"""Frames as an attacker writes them: grammar first, then accidents to the text.

Everything comes from one `Random`, so that a seed is a corpus. Most frames are nearly right, since
what is plainly wrong is refused at the first look.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from csms.ocpp.actions import Action, Kind
from tests.fixtures.ocpp_corpus import Messages, schema_of

TYPES: tuple[Any, ...] = (2,) * 12 + (3, 3, 4, 4) + (0, 1, 5, -2, 2.0, True, "2", None, [2], 10**30)
IDS: tuple[Any, ...] = (
    *("", "a", "-1", "x" * 36, "x" * 37, "é" * 36, "\U0001f600" * 36, "\n", "a\tb", "\0"),
    *("\ud800", 7, None, True, [], {}, "a" * 5000, "'; DROP TABLE x; --", "<script>", "%s%n"),
)
ACTIONS = tuple(action.value for action in Action)
# What is handled and stored comes up most.
HANDLED = (
    "BootNotification",
    "Heartbeat",
    "SecurityEventNotification",
    "SignCertificate",
    "StatusNotification",
)
NO_ACTIONS: tuple[Any, ...] = (
    *("", "heartbeat", "HEARTBEAT", "Heartbeat ", "HeartbeatRequest", "Heartbeat\0", "Nothing"),
    *(None, 7, [], {}, "Heartbeat-Signed", "x" * 9000, "__class__"),
)
LEAVES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 2**31, 2**63, 10**40, "", "x", "\0", "\ud800"),
    *("x" * 3000, [], {}, [[]], {"": ""}, {"customData": {}}),
)
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "9" * 5000, "01", "1.", ".5",
    "+1", "0x10", "'a'", '"\\ud800"', '"\\u0000"', '"\\x41"', '"a\nb"', "tru", "nul", "[1,]",
    "{,}", '{"a":1,"a":2}', "{'a':1}", "/**/1", "\ufeff1", "\u00a01", "1 2", '"',
    "[" * 33 + "]" * 33, '{"a":' * 40 + "1" + "}" * 40, "\u2028", "undefined",
)  # fmt: skip
PIECES = (
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"',
    "\\",
    "\\u",
    "\\ud800",
    "\0",
    "e",
    "-",
    "9" * 40,
    "\x7f",
)


class Grammar:
    def __init__(self, seed: str) -> None:
        self.random = Random(seed)

    def texts(self, count: int) -> Iterator[str]:
        for _ in range(count):
            text = self.frame()
            if self.random.random() < 0.35:
                text = self.damaged(text)
            yield text

    def frame(self) -> str:
        random = self.random
        match random.randrange(12):
            case 0:
                return self.raw_value()
            case 1:
                return self.spelled([random.choice(LEAVES) for _ in range(random.randrange(7))])
            case 2:
                text = self.spelled(self.call())
                return text[: text.rindex(",") + 1] + random.choice(RAW) + "]"
        kind = random.choice(TYPES)
        if kind == 3:
            return self.spelled([3, self.message_id(), self.payload(Kind.RESPONSE)])
        if kind == 4:
            rest = [random.choice(["GenericError", "X", 7, None]), random.choice(["", "x", 9]), {}]
            return self.spelled([4, self.message_id(), *rest])
        frame = self.call()
        frame[0] = kind
        if random.random() < 0.15:
            frame = frame[: random.randrange(6)] + [random.choice(LEAVES)] * random.randrange(3)
        return self.spelled(frame)

    def call(self) -> list[Any]:
        known = self.random.random() < 0.9
        self._action = self.random.choice(self.random.choice([ACTIONS, HANDLED]))
        action = self._action if known else self.random.choice(NO_ACTIONS)
        return [2, self.message_id(), action, self.payload(Kind.REQUEST)]

    def message_id(self) -> Any:
        if self.random.random() < 0.2:
            return self.random.choice(IDS)
        return f"{self.random.getrandbits(64):016x}"

    def payload(self, kind: Kind) -> Any:
        random = self.random
        action = Action(getattr(self, "_action", "Heartbeat"))
        draw = Messages(schema_of(action, kind), random)
        if random.random() < 0.1:
            return random.choice(LEAVES)
        message = draw.valid(draw.root, random.choice([0.0, 0.2, 0.6]))
        if random.random() < 0.5:
            return message
        place = random.choice([path for path, _ in draw.places(draw.root, message)])
        if not place:
            return random.choice(LEAVES)
        inside = message
        for step in place[:-1]:
            inside = inside[step]
        inside[place[-1]] = random.choice(LEAVES)
        return message

    def raw_value(self) -> str:
        return self.random.choice([*RAW, "", " ", "[]", "[2]", "{}", "null", "[" * 10_000])

    def spelled(self, value: Any) -> str:
        """Compact or spaced, ASCII or not: the same frame."""
        random = self.random
        separators = random.choice([(",", ":"), (", ", ": "), (" ,\t", "\n:\r ")])
        return json.dumps(value, separators=separators, ensure_ascii=random.random() < 0.5)

    def damaged(self, text: str) -> str:
        random = self.random
        for _ in range(random.choice([1, 1, 1, 2, 4])):
            at = random.randrange(len(text) + 1)
            end = min(len(text), at + random.choice([1, 1, 2, 8, 40]))
            match random.randrange(5):
                case 0:
                    text = text[:at] + text[end:]
                case 1:
                    text = text[:at] + random.choice(PIECES) + text[at:]
                case 2:
                    text = text[:at] + chr(random.randrange(0x3000)) + text[end:]
                case 3:
                    text = text[:end] + text[at:]
                case _:
                    text = text[:at] + random.choice(RAW) + text[end:]
        return text
