"""The record: kept or written, and never with a secret in it."""

import io
import json

from station.history import History, redacted


def test_entries_are_json_lines_and_the_last_ones_stay_in_memory() -> None:
    sink = io.StringIO()
    history = History(sink=sink, keep=2)
    for number in range(3):
        history.add("2026-01-01T00:00:00Z", "CS001", "sent", id=str(number), payload={"a": 1})
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [line["id"] for line in lines] == ["0", "1", "2"]
    assert [entry["id"] for entry in history.of("sent")] == ["1", "2"]
    assert "payload" not in lines[0]


def test_password_is_redacted_wherever_a_frame_carries_it() -> None:
    item = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": "correct-horse-battery",
    }
    other = {"variable": {"name": "Identity"}, "attributeValue": "CS001"}
    payload = {"setVariableData": [item, other], "connectionData": {"vpn": {"password": "x1"}}}
    history = History(keep=1, payloads=True)
    history.add("", "CS001", "received", payload=payload)
    text = json.dumps(list(history.entries))
    assert "correct-horse" not in text
    assert "x1" not in text
    assert "CS001" in text
    assert redacted(other) == other
    assert item["attributeValue"] == "correct-horse-battery", "the frame itself is untouched"
