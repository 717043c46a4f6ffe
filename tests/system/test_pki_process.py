"""The PKI as a process of its own: the product reaches it over mutual TLS, role by role."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fixtures.product import Product, free_ports, make_product
from tests.system.test_A_security import enrolled, on_profile_3, status_of


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Product, str, Path]]:
    """A product without a CA of its own, the PKI's URL, and what the PKI left for its callers."""
    pki_dir = tmp_path_factory.mktemp("pki")
    (port,) = free_ports(1)
    product = make_product(tmp_path_factory.mktemp("csms"))
    public = product.environment["CSMS_PKI__PUBLIC_PORT"]
    log = pki_dir / "pki.log"
    environment = {
        "PATH": "/usr/bin:/bin",
        "CSMS_DATA_DIR": str(pki_dir),
        "CSMS_PKI__PORT": str(port),
        "CSMS_PKI__PUBLIC_PORT": public,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "csms", "pki"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=pki_dir,
        )
    try:
        until = time.monotonic() + 60
        while "PKI  " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        url = f"https://localhost:{port}"
        product.environment |= {
            "CSMS_PKI__URL": url,
            "CSMS_PKI__CALLERS_DIR": str(pki_dir / "callers"),
        }
        product.start()
        yield product, url, pki_dir / "callers"
    finally:
        product.stop()
        process.terminate()
        process.wait(30)


def test_a_station_enrols_with_a_pki_in_another_process(
    apart: tuple[Product, str, Path], tmp_path: Path
) -> None:
    product, _, callers = apart
    station = product.station()
    key = enrolled(product, station, tmp_path)
    with on_profile_3(product, station["identity"], key) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Accepted"
    product.eventually(lambda: status_of(product, station) == ["active"])
    assert product.root_pem.read_text() == (callers / "csms-root.pem").read_text()


def caller(callers: Path, role: str | None) -> httpx2.Client:
    import ssl

    context = ssl.create_default_context(cafile=str(callers / "csms-root.pem"))
    if role is not None:
        context.load_cert_chain(callers / f"{role}.pem")
    return httpx2.Client(verify=context, trust_env=False, timeout=10)


def test_a_caller_may_ask_what_its_role_may_ask(apart: tuple[Product, str, Path]) -> None:
    """policies/callers.toml: a gateway reads the anchors; it never gets a station certificate."""
    _, url, callers = apart
    with caller(callers, "gateway") as http:
        assert http.get(f"{url}/v1/trust-anchors").status_code == 200
        assert http.post(f"{url}/v1/station-certificates", json={}).status_code == 403
        assert http.post(f"{url}/v1/revocations", json={}).status_code == 403


def test_without_a_certificate_there_is_no_conversation(apart: tuple[Product, str, Path]) -> None:
    _, url, callers = apart
    with caller(callers, None) as http, pytest.raises(httpx2.TransportError):
        http.get(f"{url}/v1/trust-anchors")


def test_a_station_certificate_does_not_open_the_pki(
    apart: tuple[Product, str, Path], tmp_path: Path
) -> None:
    product, url, callers = apart
    key = enrolled(product, product.station(), tmp_path)
    import ssl

    context = ssl.create_default_context(cafile=str(callers / "csms-root.pem"))
    context.load_cert_chain(key.chain_file, key.key_file)
    with (
        httpx2.Client(verify=context, trust_env=False, timeout=10) as http,
        pytest.raises(httpx2.TransportError),
    ):
        http.get(f"{url}/v1/trust-anchors")


def test_caller_keys_are_private_to_their_owner(apart: tuple[Product, str, Path]) -> None:
    _, _, callers = apart
    assert {path.name for path in callers.glob("*.pem")} >= {"api.pem", "gateway.pem", "worker.pem"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in callers.glob("*.pem"))
