"""What the commands print."""

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
