"""What the product promises about itself, tried on a product of its own that may be restarted."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.fixtures.peer import Key
from tests.fixtures.product import Product, make_product
from tests.system.test_A_security import enrolled, on_profile_2, on_profile_3, status_of


@pytest.fixture(scope="module")
def own_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = make_product(tmp_path_factory.mktemp("own"))
    product.start()
    try:
        yield product
    finally:
        product.stop()


def issued_certificates(product: Product) -> list[tuple[str, bytes]]:
    """(kind, DER) of everything the CA ever issued, read behind its back."""
    with sqlite3.connect(f"file:{product.data_dir}/pki.db?mode=ro", uri=True) as database:
        return database.execute("select kind, der from certificates").fetchall()


def test_everything_is_still_there_after_ctrl_c(own_product: Product, tmp_path: Path) -> None:
    product = own_product
    station = product.station()
    key = enrolled(product, station, tmp_path)
    with on_profile_3(product, station["identity"], key) as peer:
        peer.boot(station["serial_number"])
    product.eventually(lambda: status_of(product, station) == ["active"])
    before = product.client_file(), product.root_pem.read_text()

    assert product.stop(signal.SIGINT) == 0
    assert not (product.data_dir / "bootstrap" / "endpoints.json").exists()
    product.start()

    assert (product.client_file(), product.root_pem.read_text()) == before
    with on_profile_3(product, station["identity"], key) as peer:
        # Part 4 §5.3: no Boot on a mere reconnect, not even to a restarted CSMS.
        assert peer.status()[0] == 3
    with pytest.raises(InvalidStatus):
        on_profile_2(product, station)


def test_a_kill_loses_nothing_that_was_acknowledged(own_product: Product, tmp_path: Path) -> None:
    product = own_product
    station = product.station()
    key = enrolled(product, station, tmp_path)
    with on_profile_3(product, station["identity"], key) as peer:
        peer.boot()
        event = {"type": "TamperDetectionActivated", "timestamp": "2026-11-23T12:00:00Z"}
        assert peer.answered("SecurityEventNotification", event) == {}
        assert product.process is not None
        product.process.kill()
        product.process.wait()
    product.start()
    page = product.api("GET", f"/api/v1/security-events?station={station['identity']}").json()
    assert [item["type"] for item in page["items"]] == ["TamperDetectionActivated"]
    on_profile_3(product, station["identity"], key).connection.close()


def test_one_signature_per_certificate_stands_in_vaults_own_audit_file(
    own_product: Product, tmp_path: Path
) -> None:
    product = own_product
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        enrolled(product, product.station(), tmp_path / str(number))
    signatures: Counter[str] = Counter()
    for line in (product.data_dir / "openbao" / "audit.log").read_text().splitlines():
        entry = json.loads(line)
        path = entry["request"].get("path", "")
        if entry["type"] == "response" and path.startswith("transit/sign/csms-issuer-"):
            assert "error" not in entry
            signatures[path.split("/")[2]] += 1
    kinds = Counter(kind for kind, _ in issued_certificates(product))
    assert signatures["csms-issuer-stations"] == kinds["station"]
    assert signatures["csms-issuer-servers"] == kinds["server"] + kinds["caller"]


def test_openssl_accepts_every_station_chain_and_only_as_a_client(
    own_product: Product, tmp_path: Path
) -> None:
    product = own_product
    station = product.station()
    key = enrolled(product, station, tmp_path)

    def verify(purpose: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile"]
            + [str(product.root_pem), "-untrusted", str(key.chain_file), str(key.chain_file)],
            capture_output=True,
            text=True,
            check=False,
        )

    assert verify("sslclient").returncode == 0, verify("sslclient").stderr
    refusal = verify("sslserver")
    assert refusal.returncode != 0
    assert "purpose" in refusal.stderr


def test_a_station_certificate_cannot_pass_for_a_server(
    own_product: Product, tmp_path: Path
) -> None:
    """The issuing CA's EKU holds even against a client that checks no purpose of the leaf."""
    product = own_product
    key = enrolled(product, product.station(), tmp_path)
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(key.chain_file)]
        + ["-cert_chain", str(key.chain_file), "-key", str(key.key_file), "-naccept", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        accept = next(line for line in server.stdout if line.startswith("ACCEPT"))
        client = subprocess.run(
            ["openssl", "s_client", "-connect", accept.split()[1], "-CAfile"]
            + [str(product.root_pem), "-verify_return_error"],
            input="Q",
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    finally:
        server.kill()
        server.communicate()
    assert client.returncode != 0
    assert "unsuitable certificate purpose" in client.stdout + client.stderr


def test_pkilint_finds_no_error_in_any_certificate(own_product: Product, tmp_path: Path) -> None:
    """By pkilint's own command, over everything the CA of this product has made."""
    product = own_product
    (tmp_path / "key").mkdir()
    enrolled(product, product.station(), tmp_path / "key")
    lint = Path(sys.executable).with_name("lint_pkix_cert")
    seen = Counter[str]()
    for number, (kind, der) in enumerate(issued_certificates(product)):
        file = tmp_path / f"{number}.der"
        file.write_bytes(der)
        found = subprocess.run(
            [str(lint), "lint", "-s", "ERROR", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        # The default host name has no dot, which pkilint wants of every dNSName; nothing else
        # may be said about it (RFC 1034 §3.5, RFC 6761 §6.3).
        lines = [line for line in found.stdout.splitlines() if "(ERROR)" in line]
        if kind == "server":
            lines = [line for line in lines if "pkix.invalid_domain_name_syntax" not in line]
        assert lines == [], found.stdout
        assert found.returncode == 0 or kind == "server", found.stdout + found.stderr
        seen[kind] += 1
    assert seen["station"] >= 1
    assert seen["server"] >= 1


def test_no_secret_file_is_readable_by_others(own_product: Product) -> None:
    data = own_product.data_dir
    public = {"csms-root.pem", "audit.pub", "endpoints.json", "ca.pem", "csms.log"}
    wrong = [
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and path.name not in public and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert wrong == []


def test_no_private_key_of_the_ca_lies_on_disk(own_product: Product) -> None:
    """Two keys may: our TLS listener's and the bundled server's, both of this host alone."""
    data = own_product.data_dir
    with_keys = {
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    }
    assert with_keys <= {"tls/listener.pem", "openbao/tls.key"}


def test_a_second_product_on_the_same_data_is_refused_in_one_line(own_product: Product) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "csms", "up"],
        env={"PATH": "/usr/bin:/bin", **own_product.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=own_product.data_dir,
    )
    assert second.returncode == 1
    assert second.stdout == ""
    (line,) = second.stderr.strip().splitlines()
    assert "in use by another csms" in line


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("CSMS_GATEWAY__PROFIL2_PORT", "1", "profil2_port"),
        ("CSMS_GATWAY__PORT", "1", "CSMS_GATWAY__PORT"),
        ("CSMS_BIND", "0.0.0.0", "bearer"),
        ("CSMS_GATEWAY__PROFILE1_PORT", "9001", "profile1_networks"),
        ("CSMS_HOSTNAME", "not a name", "hostname"),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(
    tmp_path: Path, setting: str, value: str, said: str
) -> None:
    product = make_product(tmp_path, **{setting: value})
    started = subprocess.run(
        [sys.executable, "-m", "csms", "up"],
        env={"PATH": "/usr/bin:/bin", **product.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=tmp_path,
    )
    assert started.returncode == 2
    (line,) = started.stderr.strip().splitlines()
    assert said in line


def test_health_says_what_is_ready(own_product: Product) -> None:
    metrics = own_product.endpoints["metrics"]
    import httpx2

    answer = httpx2.get(f"{metrics}/readyz", trust_env=False)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert "csms_sessions" in httpx2.get(f"{metrics}/metrics", trust_env=False).text


def test_the_public_port_serves_the_anchors_and_nothing_else(own_product: Product) -> None:
    import httpx2

    base = own_product.endpoints["pki"]
    assert "BEGIN CERTIFICATE" in httpx2.get(f"{base}/pki/ca.pem", trust_env=False).text
    for path in ("/", "/pki", "/pki/", "/v1/registrations", "/api/v1/stations", "/docs"):
        assert httpx2.get(base + path, trust_env=False).status_code == 404, path


def test_the_station_key_class_writes_what_openssl_reads(tmp_path: Path) -> None:
    """The test peer's own tool is sound: its CSR verifies."""
    key = Key(tmp_path)
    (tmp_path / "csr.pem").write_text(key.csr("SN-1", "Example CSO"))
    check = subprocess.run(
        ["openssl", "req", "-verify", "-noout", "-in", str(tmp_path / "csr.pem")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0
