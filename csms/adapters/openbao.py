"""The OpenBao that `csms up` brings along: started, provisioned once, stopped.

What is where, under the directory given (0700, every file 0600 unless noted):

    raft/           OpenBao's storage, encrypted by its barrier: all keys, the pepper, all policies
    seal.key        the static seal's key, which opens raft/
    ca.pem (0644)   whom clients trust; tls.crt and tls.key: the listener's
    secrets/        role id and secret id of every role but the ceremony's
    setup/          only until the first start is complete: the set-up identity, and how far it got
    audit.log       OpenBao's audit device: every request and answer, secrets as HMAC
    server.log      its own messages since the last start; config.hcl and ports.json: how it runs
    lock            held while a server runs here

After the first start no root token, administrator or unseal key exists outside these files: OpenBao
revokes its root token while it initialises itself, there are no recovery keys, and the set-up
identity is deleted. Whoever copies the whole directory has everything: seal.key lies beside raft/.

The first start, each step repeatable, so that the next start finishes what a crash left:

1. stage `fresh`: empty raft/, self-initialisation makes AppRole login and the identity csms-setup
2. stage `provisioning`: csms-setup runs `apply`, then the caller's ceremony signs with the root key
3. stage `cleanup`: csms-provisioner, which may do just that, deletes csms-setup and its policy
4. setup/ is removed
"""

import asyncio
import secrets
import shutil
import uuid
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from csms.adapters.openbao_files import (
    LOOPBACK,
    PortTaken,
    choose_ports,
    config,
    initialize,
    last_port,
    make_listener_certificate,
)
from csms.adapters.openbao_process import OpenBaoFailed, OpenBaoProcess
from csms.adapters.vault import (
    Networks,
    Outcome,
    Role,
    VaultConnection,
    VaultCredentials,
    VaultError,
    VaultSettings,
    apply,
    ceremony_credentials,
    settings_from,
)
from csms.adapters.vault.identities import write_private

__all__ = ["BundledOpenBao", "OnFirstStart", "OpenBaoFailed"]

log = structlog.get_logger()

OnFirstStart = Callable[[VaultCredentials], Awaitable[None]]

SETUP: Final = "csms-setup"


class Stage(StrEnum):
    """How far the first start got; no stage file means it is complete."""

    FRESH = "fresh"
    PROVISIONING = "provisioning"
    CLEANUP = "cleanup"


class BundledOpenBao:
    """One server process. `start` and `stop` may be called again after each other."""

    def __init__(
        self,
        directory: Path,
        *,
        policies_dir: Path,
        port: int | None = None,
        certification: bool = False,
    ) -> None:
        self._certification = certification
        self.directory = directory.absolute()
        self.policies_dir = policies_dir.absolute()
        self.secrets_dir = self.directory / "secrets"
        self.ca_file = self.directory / "ca.pem"
        self.audit_file = self.directory / "audit.log"
        self._setup = self.directory / "setup"
        self._raft = self.directory / "raft"
        self._configured_port = port
        self._port = 0
        self._process = OpenBaoProcess(self.directory)

    @property
    def addr(self) -> str:
        return f"https://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def settings(self, role: Role) -> VaultSettings:
        """The identity of a role; every role but the ceremony has one."""
        return settings_from(self.secrets_dir, role, addr=self.addr, ca_file=self.ca_file)

    def running_settings(self, role: Role) -> VaultSettings:
        """The identity of a role at the server that another process has started here.

        Raises OpenBaoFailed when none was ever started in this directory.
        """
        try:
            self._port = last_port(self.directory / "ports.json")
            return self.settings(role)
        except FileNotFoundError as error:
            raise OpenBaoFailed(
                f"no OpenBao was started in {self.directory}: run `csms up` first"
            ) from error

    async def start(self, on_first_start: OnFirstStart) -> None:
        """Up, unsealed and provisioned, or OpenBaoFailed (or what `on_first_start` raises).

        `on_first_start` may sign with the root key. It is called again after a crash in it, and
        must find out for itself what it has already done.
        """
        if self.pid is not None:
            raise OpenBaoFailed("OpenBao runs already")
        try:
            self._refuse_unquotable()
            self._make_directories()
            await self._process.lock()
            self._prepare()
            self._process.spawn()
            await self._wait_until_active()
            await self._finish_first_start(on_first_start)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ask, then insist. Nothing is lost: raft is durable at every answer."""
        await self._process.stop()

    async def wait(self) -> int:
        """Return the exit code when the server ends, for a supervisor to notice."""
        return await self._process.wait()

    # --- before the process

    def _refuse_unquotable(self) -> None:
        # HCL has no safe way to quote these, and a data directory has no need of them.
        if any(character in f"{self.directory}{self.policies_dir}" for character in '"\\$\n'):
            raise OpenBaoFailed(f"the path {self.directory} holds a character OpenBao cannot take")

    def _make_directories(self) -> None:
        for directory in (self.directory, self.secrets_dir):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)

    def _prepare(self) -> None:
        if not self._raft.exists():
            if any(self.secrets_dir.iterdir()):
                # A new start would quietly make another root of trust.
                raise OpenBaoFailed(
                    f"the storage {self._raft} is missing: restore it from your backup, or remove "
                    f"{self.directory} to begin with new keys"
                )
            self._prepare_setup()
        elif not (self.directory / "seal.key").exists():
            raise OpenBaoFailed(
                f"{self.directory / 'seal.key'} is missing; without it {self._raft} cannot be "
                "opened: restore it from your backup"
            )
        elif self._stage() is Stage.FRESH:
            # Nobody has logged in yet, so nothing of value can be in there, and a half-done
            # self-initialisation cannot be repeated.
            shutil.rmtree(self._raft)
        self._raft.mkdir(mode=0o700, exist_ok=True)
        if not self.ca_file.exists():
            make_listener_certificate(self.directory)
        write_private(self.directory / "config.hcl", self._config().encode())

    def _prepare_setup(self) -> None:
        self._setup.mkdir(mode=0o700, exist_ok=True)
        write_private(self._setup / "role-id", str(uuid.uuid4()).encode())
        write_private(self._setup / "secret-id", secrets.token_urlsafe(32).encode())
        if not (self.directory / "seal.key").exists():
            write_private(self.directory / "seal.key", secrets.token_bytes(32))
        self._enter(Stage.FRESH)  # last: with it everything above is there

    def _stage(self) -> Stage | None:
        try:
            return Stage((self._setup / "stage").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def _enter(self, stage: Stage) -> None:
        write_private(self._setup / "stage", stage.encode())

    def _config(self) -> str:
        ports = self.directory / "ports.json"
        try:
            self._port, cluster_port = choose_ports(ports, configured=self._configured_port)
        except PortTaken as error:
            raise OpenBaoFailed(f"OpenBao cannot listen: {error}") from error
        text = config(self.directory, port=self._port, cluster_port=cluster_port)
        if self._stage() is Stage.FRESH:
            policy = self.policies_dir / f"{SETUP}.hcl"
            text += initialize(self.directory, name=SETUP, policy=policy)
        return text

    async def _wait_until_active(self) -> None:
        connection = VaultConnection(self.addr, ca_file=self.ca_file)
        try:
            await self._process.wait_until_active(connection)
        finally:
            connection.close()

    # --- the first start

    async def _finish_first_start(self, on_first_start: OnFirstStart) -> None:
        stage = self._stage()
        if stage in {Stage.FRESH, Stage.PROVISIONING}:
            await self._provision(on_first_start)
            self._enter(Stage.CLEANUP)
        if stage is not None:
            await asyncio.to_thread(self._delete_setup)
            log.info("openbao_first_start_complete")
        if self._setup.exists():
            shutil.rmtree(self._setup)

    async def _provision(self, on_first_start: OnFirstStart) -> None:
        identity = VaultCredentials(
            addr=self.addr,
            ca_file=self.ca_file,
            role_id=(self._setup / "role-id").read_text(encoding="ascii"),
            secret_id=(self._setup / "secret-id").read_text(encoding="ascii"),
        )
        try:
            admin = await asyncio.to_thread(VaultConnection.log_in_as, identity)
        except VaultError as error:
            raise OpenBaoFailed(f"the set-up identity cannot log in: {error}") from error
        try:
            self._enter(Stage.PROVISIONING)
            await asyncio.to_thread(self._apply, admin)
            await on_first_start(await asyncio.to_thread(ceremony_credentials, admin))
        finally:
            await asyncio.to_thread(_forget, admin)

    def _apply(self, admin: VaultConnection) -> None:
        report = apply(
            admin,
            policies_dir=self.policies_dir,
            secrets_dir=self.secrets_dir,
            networks=Networks((f"{LOOPBACK}/32",)),
            certification=self._certification,
        )
        if drifted := report.having(Outcome.DRIFTED):
            raise OpenBaoFailed(f"cannot provision {drifted[0].what}: {drifted[0].why}")

    def _delete_setup(self) -> None:
        """Not as csms-setup: after deleting itself it could delete nothing more, and a crash in
        between would leave the rest for ever.
        """
        provisioner = VaultConnection.log_in_as(self.settings(Role.PROVISIONER))
        try:
            provisioner.delete(f"auth/approle/role/{SETUP}")
            provisioner.delete(f"sys/policies/acl/{SETUP}")
        finally:
            _forget(provisioner)


def _forget(connection: VaultConnection) -> None:
    """Revoke and close; a server that is gone has forgotten already (tokens end by themselves)."""
    try:
        connection.log_out()
    except VaultError as error:
        log.info("openbao_logout_failed", error=str(error))
    finally:
        connection.close()
