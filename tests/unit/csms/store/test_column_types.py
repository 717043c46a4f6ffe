"""Column types: what goes in comes out, and no text can break a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from csms.store.column_types import REPLACEMENT, JSONText, UTCDateTime, Words, storable

DIALECT = sqlite.dialect()
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_storable_text_has_no_nul_and_is_utf8_and_good_text_stays_as_it_is(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept
    assert storable(kept) == kept
    if "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text):
        assert kept == text


def test_what_cannot_be_stored_is_replaced_and_not_dropped() -> None:
    assert storable("a\0b") == f"a{REPLACEMENT}b"
    assert REPLACEMENT in storable("a\ud800b")
    assert Words().process_bind_param(None, DIALECT) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | ANY_TEXT, st.lists))
def test_json_reads_back_and_is_ascii_without_nul(value: Any) -> None:
    text = JSONText().process_bind_param(value, DIALECT)
    assert text.isascii()
    assert "\0" not in text
    assert JSONText().process_result_value(text, DIALECT) == value


def test_json_refuses_nan_on_the_way_in_and_reads_garbage_as_null() -> None:
    with pytest.raises(ValueError, match="JSON"):
        JSONText().process_bind_param(float("nan"), DIALECT)
    assert JSONText().process_result_value("{", DIALECT) is None


def test_times_are_utc_and_aware_on_both_ways() -> None:
    local = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    bound = UTCDateTime().process_bind_param(local, DIALECT)
    assert bound == local
    assert bound is not None
    assert bound.tzinfo is UTC
    naive = bound.replace(tzinfo=None)
    assert UTCDateTime().process_result_value(naive, DIALECT) == local
    with pytest.raises(ValueError, match="zone"):
        UTCDateTime().process_bind_param(naive, DIALECT)
