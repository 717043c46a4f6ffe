"""The bundled OpenBao as `csms up` runs it: first start, restart, crashes, what lies on disk."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from csms.adapters import openbao_process
from csms.adapters.openbao import BundledOpenBao, OpenBaoFailed
from csms.adapters.vault import (
    Key,
    Networks,
    Role,
    VaultConnection,
    VaultCredentials,
    VaultRefused,
    verify,
)
from tests.fixtures.vault import POLICIES

ON_LOOPBACK = Networks(("127.0.0.1/32",))


@dataclass
class Started:
    """A server after its first start, and what was seen while that ran."""

    server: BundledOpenBao
    ceremonies: list[VaultCredentials] = field(default_factory=list)
    setup: list[VaultCredentials] = field(default_factory=list)

    async def ceremony(self, identity: VaultCredentials) -> None:
        self.ceremonies.append(identity)
        directory = self.server.directory / "setup"
        self.setup.append(
            VaultCredentials(
                addr=self.server.addr,
                ca_file=self.server.ca_file,
                role_id=(directory / "role-id").read_text(),
                secret_id=(directory / "secret-id").read_text(),
            )
        )

    def start(self) -> None:
        asyncio.run(self.server.start(self.ceremony))

    def stop(self) -> None:
        asyncio.run(self.server.stop())

    def public_keys(self) -> dict[Key, object]:
        connection = VaultConnection.log_in_as(self.server.settings(Role.PROVISIONER))
        try:
            answers = {key: connection.read(f"transit/keys/{key}") for key in Key}
            return {key: answer["data"]["keys"] for key, answer in answers.items() if answer}
        finally:
            connection.close()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("openbao") / "openbao"
    one = Started(BundledOpenBao(directory, policies_dir=POLICIES))
    one.start()
    yield one
    one.stop()


def test_the_ceremony_is_held_once_and_its_secret_is_never_on_disk(started: Started) -> None:
    assert len(started.ceremonies) == 1
    secret = started.ceremonies[0].secret_id.encode()
    for file in started.server.directory.rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes()


def test_after_the_first_start_the_setup_identity_is_gone(started: Started) -> None:
    assert not (started.server.directory / "setup").exists()
    with pytest.raises(VaultRefused):
        VaultConnection.log_in_as(replace(started.setup[0], addr=started.server.addr))
    connection = VaultConnection.log_in_as(started.server.settings(Role.PROVISIONER))
    try:
        assert not [name for name in connection.list_keys("sys/policies/acl") if "setup" in name]
        assert not [name for name in connection.list_keys("auth/approle/role") if "setup" in name]
        # Verify also proves that what stands is what the files say, networks included.
        assert verify(connection, policies_dir=POLICIES, networks=ON_LOOPBACK) == []
    finally:
        connection.close()


def test_everything_on_disk_is_for_its_owner_only(started: Started) -> None:
    for path in [started.server.directory, *started.server.directory.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = 0o700 if path.is_dir() else 0o644 if path.name == "ca.pem" else 0o600
        assert mode == expected, path


def test_every_role_but_the_ceremony_has_its_files(started: Started) -> None:
    files = {path.name for path in started.server.secrets_dir.iterdir()}
    roles = set(Role) - {Role.CEREMONY}
    assert files == {f"{role}.{kind}" for role in roles for kind in ("role-id", "secret-id")}


def test_the_audit_file_names_what_was_done_and_holds_no_secret_in_clear(started: Started) -> None:
    text = started.server.audit_file.read_text()
    assert "transit/keys/csms-root" in text
    assert "auth/approle/login" in text
    secrets = [path.read_text() for path in started.server.secrets_dir.glob("*.secret-id")]
    secrets += [started.setup[0].secret_id, started.ceremonies[0].secret_id]
    assert len(secrets) == 8
    assert not [secret for secret in secrets if secret in text]


def test_no_secret_stands_on_the_command_line_or_in_the_environment(started: Started) -> None:
    process = Path("/proc") / str(started.server.pid)
    arguments = (process / "cmdline").read_bytes().split(b"\0")
    assert arguments[1:] == [
        b"server",
        f"-config={started.server.directory / 'config.hcl'}".encode(),
        b"",
    ]
    environment = (process / "environ").read_text().rstrip("\0").split("\0")
    # LC_CTYPE is what Python adds when there is no locale.
    assert {entry.split("=")[0] for entry in environment} <= {"HOME", "PATH", "LC_CTYPE"}
    secrets = [path.read_text() for path in started.server.secrets_dir.glob("*.secret-id")]
    config = (started.server.directory / "config.hcl").read_text()
    assert not [secret for secret in secrets if secret in config]


def test_a_restart_keeps_every_key_and_holds_no_second_ceremony(started: Started) -> None:
    before, port = started.public_keys(), started.server.addr
    started.stop()
    begun = time.monotonic()
    started.start()
    assert time.monotonic() - begun < 5
    assert (started.public_keys(), started.server.addr) == (before, port)
    assert len(started.ceremonies) == 1
    pki = VaultConnection.log_in_as(started.server.settings(Role.PKI))
    try:
        assert pki.write("transit/sign/csms-issuer-stations", {"input": "aGVsbG8="})["data"]
    finally:
        pki.close()


def test_a_restart_survives_that_somebody_took_its_ports(started: Started) -> None:
    port = int(started.server.addr.rsplit(":", 1)[1])
    before = started.public_keys()
    started.stop()
    with socket.create_server(("127.0.0.1", port)):
        started.start()
        assert started.server.addr != f"https://127.0.0.1:{port}"
        assert started.public_keys() == before


def test_the_server_dies_with_its_parent(started: Started) -> None:
    started.stop()
    script = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from csms.adapters.openbao import BundledOpenBao\n"
        "server = BundledOpenBao(Path(sys.argv[1]), policies_dir=Path(sys.argv[2]))\n"
        "asyncio.run(server.start(None))\n"
        "print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(started.server.directory), str(POLICIES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            lines = iter(parent.stdout.readline, "")
            pid = next(int(line) for line in lines if line.strip().isdigit())
            assert running(pid)
        finally:
            parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not running(pid)
    started.start()


def running(pid: int) -> bool:
    """Alive; an orphan that waits to be reaped is not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_lost_seal_key_is_told_and_nothing_is_overwritten(started: Started) -> None:
    started.stop()
    key = started.server.directory / "seal.key"
    kept = key.rename(key.with_suffix(".away"))
    with pytest.raises(OpenBaoFailed, match=r"seal\.key is missing"):
        started.start()
    assert not key.exists()
    kept.rename(key)
    started.start()


def test_lost_storage_is_told_and_no_new_keys_are_made(started: Started) -> None:
    started.stop()
    raft = started.server.directory / "raft"
    kept = raft.rename(raft.with_suffix(".away"))
    with pytest.raises(OpenBaoFailed, match=r"raft is missing: restore"):
        started.start()
    assert not raft.exists()
    kept.rename(raft)
    started.start()


def test_a_taken_configured_port_fails_in_one_line(started: Started) -> None:
    started.stop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = BundledOpenBao(started.server.directory, policies_dir=POLICIES, port=port)
        with pytest.raises(OpenBaoFailed, match=r"port \d+ is taken") as failed:
            asyncio.run(server.start(started.ceremony))
    assert "\n" not in str(failed.value)
    assert server.pid is None
    started.start()


def test_a_second_server_in_the_same_directory_is_refused(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openbao_process, "LOCK_SECONDS", 0.2)
    config = (started.server.directory / "config.hcl").read_bytes()
    second = BundledOpenBao(started.server.directory, policies_dir=POLICIES)
    with pytest.raises(OpenBaoFailed, match="another process"):
        asyncio.run(second.start(started.ceremony))
    with pytest.raises(OpenBaoFailed, match="runs already"):
        started.start()
    assert (started.server.directory / "config.hcl").read_bytes() == config
    assert started.public_keys()


def test_a_server_that_does_not_listen_to_a_polite_stop_is_killed(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = started.public_keys()
    monkeypatch.setattr(openbao_process, "STOP_SECONDS", 0.2)
    pid = started.server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    started.stop()
    assert not running(pid)
    started.start()
    assert started.public_keys() == before


def test_a_supervisor_learns_that_the_server_ended(started: Started) -> None:
    assert started.server.pid is not None
    os.kill(started.server.pid, signal.SIGKILL)
    assert asyncio.run(started.server.wait()) == -signal.SIGKILL
    started.stop()
    started.start()


def test_storage_that_cannot_be_opened_fails_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openbao_process, "START_SECONDS", 5)
    (tmp_path / "raft").mkdir()
    (tmp_path / "raft" / "vault.db").write_bytes(os.urandom(4096))
    (tmp_path / "seal.key").write_bytes(os.urandom(32))
    server = BundledOpenBao(tmp_path, policies_dir=POLICIES)
    with pytest.raises(OpenBaoFailed, match=r"OpenBao: .*server\.log") as failed:
        asyncio.run(server.start(Started(server).ceremony))
    assert "\n" not in str(failed.value)


class CrashesWhileCleaning(BundledOpenBao):
    """Ends between the two deletions of the clean-up."""

    def _delete_setup(self) -> None:
        provisioner = VaultConnection.log_in_as(self.settings(Role.PROVISIONER))
        provisioner.delete("auth/approle/role/csms-setup")
        provisioner.close()
        raise KeyboardInterrupt


def test_a_crash_anywhere_in_the_first_start_is_finished_by_the_next_one(tmp_path: Path) -> None:
    one = Started(BundledOpenBao(tmp_path / "openbao", policies_dir=POLICIES))

    # Killed while OpenBao initialised itself: its storage cannot be opened by anybody.
    one.server.secrets_dir.mkdir(parents=True)
    one.server._prepare()
    (tmp_path / "openbao" / "raft" / "vault.db").write_bytes(os.urandom(4096))

    # Provisioned, then the ceremony dies.
    async def dies(identity: VaultCredentials) -> None:
        await one.ceremony(identity)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(one.server.start(dies))
    assert one.server.pid is None

    # The ceremony succeeds, the clean-up dies half way.
    crashing = CrashesWhileCleaning(tmp_path / "openbao", policies_dir=POLICIES)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(crashing.start(one.ceremony))
    assert (tmp_path / "openbao" / "setup").exists()

    one.start()
    try:
        assert len(one.ceremonies) == 2
        test_after_the_first_start_the_setup_identity_is_gone(one)
    finally:
        one.stop()


@pytest.mark.parametrize("name", ['with"quote', "with$dollar", "with\\backslash"])
def test_a_directory_that_the_configuration_cannot_quote_is_refused(
    tmp_path: Path, name: str
) -> None:
    server = BundledOpenBao(tmp_path / name, policies_dir=POLICIES)
    with pytest.raises(OpenBaoFailed, match="character"):
        asyncio.run(server.start(Started(server).ceremony))
    assert not (tmp_path / name).exists()
