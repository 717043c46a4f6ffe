"""Files for secrets."""

import os
from pathlib import Path

import pytest

from csms.api_client.secret_file import secret_file
from csms.api_client.session import ApiFailed


def test_it_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    before = os.umask(0)
    try:
        with secret_file(path) as file:
            assert file is not None
            assert path.stat().st_mode & 0o777 == 0o600
            file.write("hush")
    finally:
        os.umask(before)
    assert path.read_text() == "hush"


def test_what_is_there_is_left_alone_also_when_it_leads_elsewhere(tmp_path: Path) -> None:
    there, link = tmp_path / "there", tmp_path / "link"
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for path in (there, link):
        with pytest.raises(ApiFailed, match="exists already"), secret_file(path):
            pytest.fail("it was opened")
    assert there.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_where_nothing_can_be_written_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(ApiFailed, match="No such file"), secret_file(tmp_path / "no" / "secret"):
        pytest.fail("it was opened")


def test_without_a_secret_there_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ApiFailed, match="refused"), secret_file(path):
        raise ApiFailed("refused")
    assert not path.exists()


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ApiFailed, match=r"No space left.*remove it"), secret_file(path):
        raise OSError(28, "No space left on device")
    assert not path.exists()


def test_no_file_is_wanted() -> None:
    with secret_file(None) as file:
        assert file is None
