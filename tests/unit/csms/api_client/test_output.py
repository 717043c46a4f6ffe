"""What the commands print."""

from uuid import UUID

import pytest

from csms.api_client.output import cell, plain, print_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (False, "no"),
        (0, "0"),
        ([], ""),
        (["a", "b"], "a, b"),
        ({"a": 1}, '{"a": 1}'),
        ("2026-11-23T12:00:00.123Z", "2026-11-23T12:00:00Z"),
        ("2026-11-23T12:00:00.123456+01:00", "2026-11-23T12:00:00+01:00"),
        ("at 2026-11-23T12:00:00.123Z", "at 2026-11-23T12:00:00.123Z"),
        ("x\x1b[31m\n\u202ey", "x\ufffd[31m\ufffd\ufffdy"),
    ],
)
def test_a_value_becomes_a_cell(value: object, text: str) -> None:
    assert cell(value) == text


def test_what_a_terminal_would_act_on_is_gone() -> None:
    assert plain("\x07\x08\r\x9b1mword") == "\ufffd\ufffd\ufffd\ufffd1mword"


def test_a_table_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets are no markup."""
    print_table(("name", "at_all"), [{"name": "[red]x[/red]", "at_all": None}, {"name": "y"}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "at", "all"]
    assert lines[1].strip() == "[red]x[/red]"


@pytest.mark.parametrize("width", ["80", "20"])
def test_what_is_copied_is_never_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", width)
    row = {"id": str(UUID(int=7)), "detail": "long words " * 20, "serial_number": "S" * 25}
    print_table(("id", "detail", "serial_number"), [row])
    shown = capsys.readouterr().out
    assert row["id"] in shown
    assert row["serial_number"] in shown
    assert len(shown.splitlines()) > 3  # the rest makes room
