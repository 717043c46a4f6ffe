"""A product that lives many times on one data directory, and the stations that live through it.

The driver's side of `crashing` and `rotating`: processes are started, killed and waited for here.
"""

from __future__ import annotations

import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from csms.adapters.openbao import OnFirstStart
from csms.adapters.vault import Role, VaultConnection, VaultCredentials
from csms.settings import Settings
from csms.wiring.vault import authority_settings
from pki.wiring import run_ceremony
from tests.attacks.crashing import NOWHERE
from tests.attacks.rotating import Plan
from tests.fixtures.product import START_SECONDS, Product, make_product
from tests.fixtures.vault import TestVault, start_openbao

ROOT = Path(__file__).parents[2]


Rows = Callable[[str, str], list[tuple[Any, ...]]]  # database, query


class Lives:
    """Made by `lives`. `begin` a life, and it ends by its fault point, by `kill` or by `stop`."""

    def __init__(
        self,
        product: Product,
        launcher: subprocess.Popen[str],
        record: Path,
        vault: TestVault,
    ) -> None:
        self.product = product
        self.record = record
        self.count = 0
        self.vault = vault
        self._launcher = launcher
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._pid: int | None = None

    def _read(self) -> None:
        assert self._launcher.stdout is not None
        for line in self._launcher.stdout:
            self._said.put(line)
        self._said.put("")

    def _next(self, word: str, seconds: float) -> int:
        try:
            line = self._said.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"the product has not {word} after {seconds:.0f} s:\n{self.log()}")
        assert line.startswith(word), f"{line!r}\n{self.log()}"
        return int(line.split()[1])

    @property
    def administrator(self) -> VaultCredentials:
        """Of the OpenBao that runs now: started anew it may have another port."""
        return replace(self.vault.admin, addr=self.vault.server.running_settings(Role.PKI).addr)

    def log(self) -> str:
        return self.product.log_file.read_text()[-3000:]

    @property
    def _endpoints(self) -> Path:
        return self.product.data_dir / "bootstrap" / "endpoints.json"

    def begin(self, point: str = NOWHERE, times: int = 0) -> None:
        """Start it; it dies at that pass through that point. Does not wait until it is ready."""
        assert self._pid is None, "it lives already"
        self._endpoints.unlink(missing_ok=True)
        assert self._launcher.stdin is not None
        self._launcher.stdin.write(f"{point} {times}\n")
        self._launcher.stdin.flush()
        self._pid = self._next("began", 30)
        self.count += 1

    @property
    def over(self) -> bool:
        """Whether it has died by itself, without waiting."""
        return not self._said.empty()

    def ready(self) -> bool:
        """Wait until it serves; False when it died before."""
        until = time.monotonic() + START_SECONDS
        while not self._endpoints.exists():
            if self.over:
                return False
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)
        return True

    def died(self, seconds: float) -> None:
        """Wait for its end; by SIGKILL and nothing else."""
        assert self._next("ended", seconds) == -signal.SIGKILL, self.log()
        self._pid = None

    def kill(self) -> None:
        assert self._pid is not None
        os.kill(self._pid, signal.SIGKILL)
        self.died(10)

    def stop(self) -> None:
        """Ctrl-C, as a user ends it."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGINT)
        assert self._next("ended", 30) == 0, self.log()
        self._pid = None

    def close(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        assert self._launcher.stdin is not None
        self._launcher.stdin.close()
        self._launcher.wait(30)
        self._reader.join(30)
        assert self._launcher.stdout is not None
        self._launcher.stdout.close()


def rotate(product: Product, identities: Sequence[str]) -> None:
    """Ask for the renewal of each; a product that dies meanwhile is what this is about."""
    with suppress(httpx2.HTTPError, OSError), product.http() as http:
        headers = {"Authorization": f"Bearer {product.token()}"}
        base = product.endpoints["api"].rstrip("/")
        for identity in identities:
            path = f"/api/v1/stations/{identity}/certificates/renewal"
            answer = http.post(base + path, headers=headers)
            assert answer.status_code == 202, answer.text


def rows_of(product: Product) -> Rows:
    """Its databases, read behind its back, alive or dead."""

    def rows(database: str, query: str) -> list[tuple[Any, ...]]:
        file = f"file:{product.data_dir}/{database}.db?mode=ro"
        with closing(sqlite3.connect(file, uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    return rows


def as_audited(administrator: VaultCredentials, values: Collection[str]) -> dict[str, str]:
    """How the audit device of that OpenBao writes each value."""
    connection = VaultConnection.log_in_as(administrator)
    try:
        return {
            value: connection.write("sys/audit-hash/main", {"input": value})["data"]["hash"]
            for value in values
        }
    finally:
        connection.close()


def ceremony(product: Product) -> OnFirstStart:
    """What `csms vault apply --ceremony` does, for a product whose OpenBao the test has started."""
    settings = Settings(data_dir=product.data_dir)
    public = int(product.environment["CSMS_PKI__PUBLIC_PORT"])

    async def hold(credentials: VaultCredentials) -> None:
        authority = authority_settings(settings, public, credentials)
        await run_ceremony(authority, authority.vault)

    return hold


def on_vault(vault: TestVault, addr: str) -> dict[str, str]:
    """The settings of a product that brings no OpenBao but uses this one, reached there."""
    return {
        "CSMS_VAULT__ADDR": addr,
        "CSMS_VAULT__CA_FILE": str(vault.ca_file),
        "CSMS_VAULT__SECRETS_DIR": str(vault.server.secrets_dir),
    }


@contextmanager
def lives(directory: Path, *, bundled: bool) -> Iterator[Lives]:
    """`bundled`: OpenBao dies with the product and is started again by it; else it lives on.

    Either has an administrator besides: to ask how the audit device writes a value that is known,
    so that the audit file can be compared with the PKI's books.
    """
    data = directory / "product"
    data.mkdir()
    product = make_product(data)
    home = data if bundled else directory
    with ExitStack() as stack:
        vault = stack.enter_context(start_openbao(home, ceremony=ceremony(product)))
        if bundled:
            stack.close()  # from here on it is the product's
        else:
            product.environment |= on_vault(vault, vault.addr)
        launcher = _launcher(product, directory / "passes")
        made = Lives(product, launcher, directory / "passes", vault)
        try:
            yield made
        finally:
            made.close()


def _launcher(product: Product, record: Path) -> subprocess.Popen[str]:
    with product.log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.crashing", str(record), "up"],
            env={**os.environ, **product.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=product.data_dir,
            text=True,
        )


@contextmanager
def stations(product: Product, count: int, directory: Path) -> Iterator[Plan]:
    """So many registered stations, in their own process, from here to the end."""
    directory.mkdir()
    made = [product.station() for _ in range(count)]
    plan = Plan(
        profile2=product.ocpp(2),
        profile3=product.ocpp(3),
        root=str(product.root_pem),
        data=str(directory / "data"),
        history=str(directory / "history.jsonl"),
        stations=[[each["identity"], each["serial_number"], each["password"]] for each in made],
    )
    for identity, _, _ in plan.stations:
        (Path(plan.data) / identity).mkdir(parents=True)
    file = directory / "plan.json"
    plan.write(file)
    with (directory / "stations.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.attacks.rotating", str(file)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        )
    try:
        yield plan
        assert process.poll() is None, (directory / "stations.log").read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(30)


def within(seconds: float, check: Callable[[], Any]) -> float:
    """Wait until it returns nothing to complain of; how long that took."""
    began = time.monotonic()
    while complaint := check():
        if time.monotonic() - began > seconds:
            pytest.fail(f"not within {seconds:.0f} s: {complaint}")
        time.sleep(0.1)
    return time.monotonic() - began
