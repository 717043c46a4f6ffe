"""JSON literals that have hurt parsers, databases and listings: D02's table.

Each is text that is put in the place of a value. `READS` says what must become of the frame by
the JSON alone: no JSON at all, JSON with a flaw, or a value, over which the field's schema decides.
"""

from __future__ import annotations

from enum import Enum


class Reads(Enum):
    NO_JSON = "the frame is no JSON: RpcFrameworkError under -1"
    FLAWED = "the id can be read: FormatViolation under it"
    VALUE = "the schema of the field decides"


def quoted(text: str) -> str:
    return f'"{text}"'


NO_JSON = (
    "NaN", "-NaN", "Infinity", "-Infinity", "nan", "undefined", "None", "True", "01", "-01", "1.",
    ".5", "-.5", "+1", "1e", "1e+", "0x1F", "1_000", "1,000", "--1", "- 1", "'a'", '"\\x41"',
    '"\\u12"', '"\\u{41}"', '"a\nb"', '"a\tb"', '"a\0b"', '"\x1f"', "/* */1", "// \n1", "\ufeff1",
    "\u00a01", "\u20281", '"', "[1,]", '{"a":1,}', "{a:1}", '"\\"', "",
)  # fmt: skip
FLAWED = (
    '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff"', '"\\ude00\\ud83d"', '"\\ud83dx"',
    '{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '{"\\u0000":1}', '{"\\udc00":1}',
    "1e309", "-1e309", "1E400", "1e999999999", "9" * 309, "9" * 400, "9" * 4301, "-" + "9" * 5000,
    "1" + "0" * 309 + ".5",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "-0.0", "0.0", "1", "-1", "1.0", "1e0", "1.5", "1E2", "100e-2", "0.1", "1e-400",
    "5e-324", "0." + "1" * 5000, "2147483647", "-2147483648", "2147483648", "-2147483649",
    "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "18446744073709551616", "1e15", "1.1e15", "1e16", "1e22", "1e100",
    "1e308", "-1e308", "9" * 40, "9" * 300, "100.00000000000001",
)  # fmt: skip
TIMES = tuple(
    map(
        quoted,
        (
            "2026-01-31T10:00:00Z", "2026-01-31T10:00:00.1Z", "2026-01-31T10:00:00.123Z",
            "2026-01-31T10:00:00.1234567Z", "2026-01-31T10:00:00.123456789+02:00",
            "2026-01-31T10:00:00." + "9" * 900 + "Z", "2026-01-31t10:00:00z",
            "2026-01-31 10:00:00Z", "2026-01-31T10:00:00-00:00", "2026-01-31T10:00:00+23:59",
            "2026-01-31T10:00:00+24:00", "2026-01-31T10:00:00+0100", "2026-01-31T10:00:00",
            "2026-01-31T10:00Z", "2026-01-31", "2026-01-31T24:00:00Z", "2026-02-30T00:00:00Z",
            "2024-02-29T00:00:00Z", "2026-00-10T00:00:00Z", "2026-13-01T00:00:00Z",
            "2016-12-31T23:59:60Z", "2026-01-31T10:00:61Z", "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "2100-12-31T23:59:59-23:59",
            "2101-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z",
            "20000-10-27T00:00:00Z", "222222017-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00", "-0001-01-01T00:00:00Z", "+002026-01-31T10:00:00Z",
            "2026-W05-6T10:00:00Z", "2026-031T10:00:00Z", "20260131T100000Z", "1769853600", "now",
            "\uff12026-01-31T10:00:00Z", "2026-01-31T10:00:00,5Z", "2026-01-31T10:00:00Z ",
            "2026-01-31T10:00:00 Europe/Berlin", "infinity", "-infinity", "epoch", "allballs",
        ),
    )
)  # fmt: skip
STRINGS = tuple(
    map(
        quoted,
        (
            "", " ", "x", "\\\\", '\\"', "\\/", "\\n\\r\\t\\b\\f", "\\u0001\\u001f\\u007f\\u0085",
            "\\u2028\\u2029", "\\ufeff\\ufffe\\uffff", "\\ud83d\\ude00", "\U0001f600",
            "\u202edlrow", "e\\u0301", "\u0130\u0131\u212a\ufb03", "\\u200b", "\\ufdd0",
            "\\udbff\\udfff",
            "' OR 1=1 --", "%00", "%s%n%x", "${jndi:ldap://x}", "{{7*7}}", "=cmd|' /C calc'!A0",
            "<script>alert(1)</script>", "\\u003cimg src=x onerror=1\\u003e", "../../etc/passwd",
            "\\u001b[2J", "\\r\\nSet-Cookie: a=b", "null", "true", "0", "x" * 49, "x" * 256,
            "x" * 5501, "\U0001f600" * 20, "\\u00e9" * 255, "a" * 60_000,
        ),
    )
)  # fmt: skip
OTHERS = (
    "null", "true", "false", "[]", "{}", "[[]]", '[""]', '{"":""}', '{"__proto__":1}',
    '{"vendorId":"v"}', "[" * 20 + "]" * 20, '{"a":' * 20 + "1" + "}" * 20,
)  # fmt: skip

LITERALS: tuple[tuple[str, Reads], ...] = (
    *((text, Reads.NO_JSON) for text in NO_JSON),
    *((text, Reads.FLAWED) for text in FLAWED),
    *((text, Reads.VALUE) for text in (*NUMBERS, *TIMES, *STRINGS, *OTHERS)),
)
