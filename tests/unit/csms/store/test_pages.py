"""Cursors: what we made reads back, anything else is CursorInvalid and nothing else."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import column
from structlog.testing import capture_logs

from csms.ports.store import CursorInvalid
from csms.store.pages import Listing, guarded, instant, number, word

LISTING = Listing(name="things", order=(column("at"), column("id")), key=(instant, UUID))
COUNTED = Listing(name="counted", order=(column("n"),), key=(number,))
WORDED = Listing(name="worded", order=(column("w"),), key=(word,))


def encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def test_a_cursor_of_ours_reads_back() -> None:
    place = (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), uuid4())
    assert LISTING.position(LISTING.cursor(place)) == place
    assert COUNTED.position(COUNTED.cursor((2**63 - 1,))) == (2**63 - 1,)


@given(st.text())
def test_any_word_reads_back(text: str) -> None:
    if len(text) < 100:
        assert WORDED.position(WORDED.cursor((text,))) == (text,)


@pytest.mark.parametrize("value", [-1, 2**63, 1.0, True, "1", None, [1]])
def test_a_position_outside_a_counter_is_refused(value: object) -> None:
    with pytest.raises(CursorInvalid):
        COUNTED.position(encoded(["counted", value]))


@pytest.mark.parametrize(
    "document",
    [
        ["things", "2026-01-01T00:00:00", str(uuid4())],
        ["things", "2026-01-01T00:00:00+00:00", "x"],
        ["things", "2026-01-01T00:00:00+00:00"],
        ["things", 5, str(uuid4())],
        ["things", "2026-01-01T00:00:00+00:00", str(uuid4()), 1],
        ["others", "2026-01-01T00:00:00+00:00", str(uuid4())],
        {"things": 1},
        None,
    ],
)
def test_a_cursor_of_another_shape_is_refused(document: object) -> None:
    with pytest.raises(CursorInvalid):
        LISTING.position(encoded(document))


@given(st.one_of(st.text(), st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode())))
def test_nothing_but_cursor_invalid_comes_out_of_garbage(cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        LISTING.position(cursor)


def test_a_row_that_cannot_be_read_is_logged_without_its_content() -> None:
    with capture_logs() as logs:
        assert guarded("things", UUID, "5ecre7") is None
    assert logs == [
        {"event": "row_unreadable", "log_level": "error", "table": "things", "error": "ValueError"}
    ]
    assert guarded("things", UUID, str(UUID(int=7))) == UUID(int=7)
