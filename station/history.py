"""What a station sent, what was acknowledged, what it applied: the record a checker reads.

One JSON object per line, so that the histories of many stations can be joined and compared with
the database and the CA's ledger. Payloads are kept only when asked for, and never with a password
in them (A01.FR.11).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

_REDACTED: Final = "***"
_SECRET_VARIABLES: Final = frozenset({"BasicAuthPassword"})
_SECRET_FIELDS: Final = frozenset({"basicAuthPassword", "apnPassword", "password", "key", "simPin"})

Entry = dict[str, Any]


@dataclass(slots=True)
class History:
    """Entries of one or many stations: the last `keep` in memory, all of them to `sink`."""

    sink: TextIO | None = None
    keep: int = 0
    payloads: bool = False
    entries: deque[Entry] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = deque(maxlen=self.keep)

    def add(self, at: str, station: str, event: str, /, **facts: Any) -> None:
        if self.sink is None and not self.keep:
            return
        payload = facts.pop("payload", None)
        entry: Entry = {"at": at, "station": station, "event": event, **facts}
        if self.payloads and payload is not None:
            entry["payload"] = redacted(payload)
        self.entries.append(entry)
        if self.sink is not None:
            self.sink.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def of(self, event: str, **facts: Any) -> list[Entry]:
        """The kept entries of one kind, oldest first."""
        return [
            entry
            for entry in self.entries
            if entry["event"] == event and facts.items() <= entry.items()
        ]


def redacted(value: Any) -> Any:
    """The payload without secrets: by field name, and by variable in SetVariables."""
    if isinstance(value, list):
        return [redacted(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    variable = value.get("variable")
    secret = isinstance(variable, Mapping) and variable.get("name") in _SECRET_VARIABLES
    return {
        name: _REDACTED
        if name in _SECRET_FIELDS or (secret and name in {"attributeValue", "value"})
        else redacted(item)
        for name, item in value.items()
    }
