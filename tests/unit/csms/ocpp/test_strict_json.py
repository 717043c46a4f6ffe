"""JSON dialect attacks (threats D02, D03): each accepted text has its refused twin."""

from typing import Any

import pytest

from csms.ocpp.strict_json import (
    DEPTH_LIMIT,
    JsonFlaw,
    JsonRefused,
    flaw_of,
    loads,
    nests_too_deeply,
    read,
    write,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        ('{"a":1,"b":1}', {"a": 1, "b": 1}),
        ("[1.5,-0,1e3,true,null]", [1.5, 0, 1000.0, True, None]),
        ("[1" + "0" * 308 + "]", [10**308]),
        ("[ -1" + "0" * 308 + "]", [-(10**308)]),
        ("0." + "1" * 5000, 0.1111111111111111),
        (r'"\ud83d\ude00"', "\U0001f600"),
        ('"\U0001f600 é"', "\U0001f600 é"),
        (r'"\\u0000"', r"\u0000"),
        (b'{"a":"\xc3\xa9"}', {"a": "é"}),
        ("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT, None),
    ],
)
def test_json_is_read(text: str | bytes, value: Any) -> None:
    read_value = loads(text)
    assert value is None or read_value == value


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", JsonFlaw.NOT_JSON),
        ("[", JsonFlaw.NOT_JSON),
        ("[1,]", JsonFlaw.NOT_JSON),
        ("{} {}", JsonFlaw.NOT_JSON),
        ("\ufeff{}", JsonFlaw.NOT_JSON),
        ("NaN", JsonFlaw.NOT_JSON),
        ("[Infinity]", JsonFlaw.NOT_JSON),
        ("[-Infinity]", JsonFlaw.NOT_JSON),
        ('"a\0b"', JsonFlaw.NOT_JSON),
        ("9" * 5000, JsonFlaw.NOT_FINITE),
        ("[ " + "9" * 5000 + "]", JsonFlaw.NOT_FINITE),
        ("[" + "9" * 309 + "]", JsonFlaw.NOT_FINITE),
        ("-1" + "0" * 400, JsonFlaw.NOT_FINITE),
        (b'"\xff"', JsonFlaw.NOT_JSON),
        ("1e400", JsonFlaw.NOT_FINITE),
        ("-1e400", JsonFlaw.NOT_FINITE),
        ("[1e400,-1e400]", JsonFlaw.NOT_FINITE),
        ('{"a":1,"a":1}', JsonFlaw.DUPLICATE_KEY),
        (r'{"a":1,"\u0061":1}', JsonFlaw.DUPLICATE_KEY),
        ('[{"a":1,"a":1},{"b":1,"b":1}]', JsonFlaw.DUPLICATE_KEY),
        (r'"\u0000"', JsonFlaw.NUL_CHARACTER),
        (r'{"\u0000":1}', JsonFlaw.NUL_CHARACTER),
        (r'"\ud800"', JsonFlaw.LONE_SURROGATE),
        (r'["\udc00\ud800"]', JsonFlaw.LONE_SURROGATE),
        ('"\ud800"', JsonFlaw.LONE_SURROGATE),
        ("[" * (DEPTH_LIMIT + 1) + "]" * (DEPTH_LIMIT + 1), JsonFlaw.TOO_DEEP),
        ("[" * 10_000, JsonFlaw.TOO_DEEP),
        ('{"a":' * 500_000, JsonFlaw.TOO_DEEP),
    ],
)
def test_what_json_is_not_or_must_not_hold_is_refused(text: str | bytes, flaw: JsonFlaw) -> None:
    with pytest.raises(JsonRefused) as refused:
        loads(text)
    assert refused.value.flaw is flaw


def test_a_flaw_of_the_content_comes_with_the_value_so_that_the_id_can_be_read() -> None:
    assert read('[2,"a","Reset",{"b":1,"b":2}]')[0][1] == "a"
    assert read('[2,"a","Reset",' + "9" * 5000 + "]")[0][1] == "a"


def test_many_brackets_side_by_side_or_in_strings_are_not_depth() -> None:
    assert not nests_too_deeply("[" + "[]," * 100 + "[]]")
    assert not nests_too_deeply('["' + "[" * 100 + r"\"" + "{" * 100 + '"]')
    assert nests_too_deeply('["]]]]",' * (DEPTH_LIMIT + 1))


def test_unterminated_runs_of_escaped_quotes_cost_linear_time() -> None:
    """A quadratic scan of this megabyte would outlast the test's timeout."""
    assert not nests_too_deeply("[" * 20 + "]" * 20 + "{" * 20 + '"' + r"\"" * 500_000)


@pytest.mark.parametrize(
    ("value", "flaw"),
    [
        ({"a": [1, 1.5, "x", None, True, ("y",)]}, None),
        ({"a": ["\0"]}, JsonFlaw.NUL_CHARACTER),
        ({"\0": 1}, JsonFlaw.NUL_CHARACTER),
        (["\udfff"], JsonFlaw.LONE_SURROGATE),
        ([float("nan")], JsonFlaw.NOT_FINITE),
        ([float("inf")], JsonFlaw.NOT_FINITE),
        ([10**309], JsonFlaw.NOT_FINITE),
        ([10**308, True], None),
    ],
)
def test_values_that_were_never_text_are_held_to_the_same(
    value: Any, flaw: JsonFlaw | None
) -> None:
    assert flaw_of(value) is flaw


def test_depth_of_a_value_is_bounded_like_that_of_a_text() -> None:
    value: object = 1
    for _ in range(DEPTH_LIMIT):
        value = [value]
    assert flaw_of(value) is None
    assert flaw_of([value]) is JsonFlaw.TOO_DEEP
    for _ in range(100_000):
        value = [value]
    assert flaw_of(value) is JsonFlaw.TOO_DEEP
    while isinstance(value, list):  # taken apart here: the destructor would recurse
        value = value.pop()


def test_writing_is_compact_ascii() -> None:
    assert write({"a": ["é", 1]}) == '{"a":["\\u00e9",1]}'


def test_writing_refuses_what_reading_refuses() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write(float("nan"))
