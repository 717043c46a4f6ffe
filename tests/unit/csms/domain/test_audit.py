"""Audit records and their hash."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from csms.domain.audit import AuditAction, AuditRecord, Outcome, record_hash

RECORD = AuditRecord(
    at=datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
    actor="client:abc",
    action=AuditAction.STATION_REGISTER,
    subject="station:cs-1",
    outcome=Outcome.SUCCESS,
    details={"serial_number": "SN-1", "security_profile": 2, "blocked": False, "note": None},
)


def test_the_hash_is_over_canonical_json() -> None:
    """Sorted keys, no blanks, UTF-8 as it is: what anybody can make again without our code."""
    record = replace(RECORD, reason="grün")
    document = {
        "action": "station.register",
        "actor": "client:abc",
        "at": "2026-11-23T12:00:00+00:00",
        "details": {
            "blocked": False,
            "note": None,
            "security_profile": 2,
            "serial_number": "SN-1",
        },
        "outcome": "success",
        "reason": "grün",
        "subject": "station:cs-1",
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    assert record_hash(record) == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_details_does_not_matter() -> None:
    turned = replace(RECORD, details=dict(reversed(list(RECORD.details.items()))))
    assert record_hash(turned) == record_hash(RECORD)


@pytest.mark.parametrize(
    "change",
    [
        {"at": RECORD.at + timedelta(microseconds=1)},
        {"actor": "client:abd"},
        {"action": AuditAction.STATION_CHANGE},
        {"subject": "station:cs-2"},
        {"outcome": Outcome.REFUSED},
        {"reason": ""},
        {"details": {}},
        {"details": {**RECORD.details, "security_profile": "2"}},
        {"details": {**RECORD.details, "blocked": 0}},
    ],
)
def test_any_change_changes_the_hash(change: dict[str, Any]) -> None:
    assert record_hash(replace(RECORD, **change)) != record_hash(RECORD)


def test_an_action_is_an_object_and_a_verb() -> None:
    for action in AuditAction:
        subject, dot, verb = action.value.partition(".")
        assert subject.isalpha(), action
        assert dot, action
        assert verb.replace("_", "").isalpha(), action
