"""The command line: errors of one line, exit codes, and nothing that a terminal acts on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from csms import cli
from csms.wiring import StartFailed

HOSTILE = "[red]\x1b[31m[/nothing] :warning: \u202etxt"


@pytest.fixture(autouse=True)
def this_process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` limits the process it runs in; here that is the tests' own."""
    monkeypatch.setattr(cli, "forbid_core_dumps", lambda: None)


class Wiring:
    """Does nothing but what it is told."""

    StartFailed = StartFailed

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    async def vault_verify(self, _: object) -> Any:
        return self._done()

    async def migrate(self, _: object) -> Any:
        return self._done()

    async def run_product(self, *_: object, **__: object) -> Any:
        return self._done()

    def _done(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_configure_logging", lambda: None)
    before = os.umask(0o022)
    yield
    os.umask(before)


def run(monkeypatch: pytest.MonkeyPatch, outcome: Any, *arguments: str) -> Result:
    monkeypatch.setattr(cli, "_wiring", lambda: Wiring(outcome))
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_what_users_can_mend_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    result = run(monkeypatch, StartFailed("two\nlines [and] a\x1b[31m colour"), command)
    assert result.exit_code == 1
    assert result.stderr == "csms: two lines [and] a\N{REPLACEMENT CHARACTER}[31m colour\n"
    assert result.stdout == ""


def test_settings_that_are_wrong_are_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_BIND", "[red]")
    result = run(monkeypatch, None, "up")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("csms: bind='[red]'")


def test_what_vault_says_is_printed_as_it_is_and_harmless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A policy's capabilities look like markup."""
    findings = [
        {"what": "policy x", "problem": "over-wide", "detail": f'["read"] [read] {HOSTILE}'}
    ]
    result = run(monkeypatch, findings, "vault", "verify")
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert '["read"] [read] [red]' in line
    assert ":warning:" in line
    assert all(one.isprintable() for one in line)
    shown = run(monkeypatch, findings, "vault", "verify", "--json").stdout
    assert json.loads(shown) == findings
    assert shown.isascii()
    assert "\x1b" not in shown


@pytest.mark.parametrize("command", ["up", "migrate", "vault verify"])
def test_whatever_a_command_writes_is_its_owners_alone(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    run(monkeypatch, [], *command.split())
    assert os.umask(0o022) == 0o077


@pytest.mark.parametrize(
    "setting",
    ["CSMS_DATABASE_URL=postgresql://u:hunter2@h/db", "CSMS_VAULT__SECRET_ID=hunter2"],
)
def test_a_secret_in_the_wrong_place_is_in_no_output(tmp_path: Path, setting: str) -> None:
    name, _, value = setting.partition("=")
    ended = subprocess.run(
        [sys.executable, "-m", "csms", "up"],
        env={**os.environ, name: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "hunter2" not in ended.stdout + ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_an_exception_in_the_log_has_no_control_characters() -> None:
    event = {"event": "x", "exception": "Traceback\n  boom \x1b[31m\u202e"}
    cleaned = cli._without_control_characters(None, "error", event)["exception"]
    assert cleaned == "Traceback\n  boom \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
