"""bootstrap/: modes, whole files, and endpoints that exist exactly while all is ready."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from csms.adapters.bootstrap import Bootstrap, Endpoints

ENDPOINTS = Endpoints(ocpp={"2": "wss://h:1/ocpp"}, api="https://h:2", metrics="http://h", pki="")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True, params=[0o000, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_the_secret_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    bootstrap = Bootstrap(tmp_path)
    bootstrap.write_administrator("id", "secret", token_endpoint="https://h/t")
    bootstrap.publish(ENDPOINTS, root_pem="root")
    bootstrap.publish_audit_key("audit")
    assert mode(bootstrap.directory) == 0o700
    assert mode(bootstrap.administrator_file) == 0o600
    for file in (bootstrap.root_file, bootstrap.audit_file, bootstrap.endpoints_file):
        assert mode(file) == 0o644
    assert json.loads(bootstrap.endpoints_file.read_text())["api"] == "https://h:2"
    assert not list(bootstrap.directory.glob(".*")), "nothing half-written stays behind"


def test_a_secret_that_people_opened_up_is_closed_again(tmp_path: Path) -> None:
    bootstrap = Bootstrap(tmp_path)
    bootstrap.write_administrator("id", "secret", token_endpoint="https://h/t")
    bootstrap.administrator_file.chmod(0o644)
    bootstrap.keep_administrator(token_endpoint="https://h/t")
    assert mode(bootstrap.administrator_file) == 0o600


def test_what_a_crash_left_half_written_does_not_hold_the_secret(tmp_path: Path) -> None:
    """Neither an open file nor a link to somewhere else gets it."""
    bootstrap = Bootstrap(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    half = bootstrap.directory / ".admin-client.json.new"
    half.symlink_to(elsewhere)
    bootstrap.write_administrator("id", "secret", token_endpoint="https://h/t")
    assert elsewhere.read_text() == "untouched"
    half.write_text("x")
    half.chmod(0o666)
    with half.open() as reader:
        bootstrap.write_administrator("id", "other secret", token_endpoint="https://h/t")
        assert "other secret" not in reader.read()


def test_a_write_that_fails_leaves_the_file_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full, at the last moment."""
    bootstrap = Bootstrap(tmp_path)
    bootstrap.write_administrator("id", "secret", token_endpoint="https://h/t")
    before = bootstrap.administrator_file.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        bootstrap.write_administrator("new", "new", token_endpoint="https://h/t")
    assert bootstrap.administrator_file.read_text() == before


def test_endpoints_are_withdrawn_also_when_there_are_none(tmp_path: Path) -> None:
    bootstrap = Bootstrap(tmp_path)
    bootstrap.publish(ENDPOINTS, root_pem="root")
    for _ in range(2):
        bootstrap.withdraw()
        assert not bootstrap.endpoints_file.exists()
    assert bootstrap.root_file.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b"null"])
def test_an_administrators_file_that_says_nothing(tmp_path: Path, content: bytes) -> None:
    bootstrap = Bootstrap(tmp_path)
    assert bootstrap.administrator() is None
    bootstrap.administrator_file.write_bytes(content)
    assert bootstrap.administrator() is None
