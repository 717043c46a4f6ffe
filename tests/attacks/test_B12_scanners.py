"""B12 from outside: what `sslyze` and `testssl.sh` say of the running product under `modern`.

Their machine-readable findings, one by one: a scanner that found nothing because it could not look
fails as well. Profile 3 is scanned as a station that shows its certificate.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.peer import Key
from tests.fixtures.product import Product
from tests.system.test_A_security import enrolled, on_profile_2

LISTENERS: Final = ("profile 2", "profile 3", "api")


def port_of(product: Product, listener: str) -> str:
    url = product.endpoints["api"] if listener == "api" else product.ocpp(int(listener[-1]))
    found = re.search(r":(\d+)", url.removeprefix("wss://").removeprefix("https://"))
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def station_key(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Key:
    return enrolled(product, product.station(), tmp_path_factory.mktemp("station"))


def still_serves(product: Product) -> None:
    """The listeners after the scan: an honest station comes in."""
    station = product.station()
    with on_profile_2(product, station) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Accepted"


# --- sslyze

SSLYZE: Final = (
    *("--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3"),
    *("--compression", "--early_data", "--fallback", "--reneg", "--resum", "--ems"),
    *("--heartbleed", "--openssl_ccs", "--robot", "--elliptic_curves"),
)
SUITES: Final = {
    "ssl_2_0": set[str](),
    "ssl_3_0": set[str](),
    "tls_1_0": set[str](),
    "tls_1_1": set[str](),
    "tls_1_2": {
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    },
    "tls_1_3": {
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    },
}
FINDINGS: Final[Mapping[str, Mapping[str, object]]] = {
    "tls_compression": {"supports_compression": False},
    "tls_1_3_early_data": {"supports_early_data": False},
    "tls_fallback_scsv": {"supports_fallback_scsv": True},
    "tls_extended_master_secret": {"supports_ems_extension": True},
    "session_renegotiation": {
        "supports_secure_renegotiation": True,
        "is_vulnerable_to_client_renegotiation_dos": False,
        "client_renegotiations_success_count": 0,
    },
    "session_resumption": {
        "tls_ticket_resumption_result": "NOT_SUPPORTED",
        "tls_ticket_successful_resumptions_count": 0,
    },
    "heartbleed": {"is_vulnerable_to_heartbleed": False},
    "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
    "robot": {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"},
}
CURVES: Final = {"X25519", "X448", "secp256r1", "secp384r1", "secp521r1"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("listener", LISTENERS)
def test_sslyze_finds_nothing(
    product: Product,
    station_key: Key,
    sslyze: str,
    tmp_path: Path,
    listener: str,
    scoreboard: Scoreboard,
) -> None:
    row = scoreboard.row("B12", f"sslyze, {listener}")
    output = tmp_path / "findings.json"
    asked, versions = list(SSLYZE), dict(SUITES)
    if listener == "profile 3":
        asked += ["--cert", str(station_key.chain_file), "--key", str(station_key.key_file)]
        # With a certificate sslyze fails at SSL 2.0; test_B12_tls_floor.py asks instead.
        asked.remove("--sslv2")
        del versions["ssl_2_0"]
    done = subprocess.run(
        [sslyze, *asked, "--mozilla_config", "disable", "--json_out", str(output)]
        + [f"localhost:{port_of(product, listener)}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert output.exists(), done.stderr
    (scan,) = json.loads(output.read_text())["server_scan_results"]
    found: dict[str, Any] = scan["scan_result"]
    assert found, scan["connectivity_error_trace"]
    for version, suites in versions.items():
        with row.attempt():
            result = completed(found, f"{version}_cipher_suites")
            accepted = {
                one["cipher_suite"]["openssl_name"] for one in result["accepted_cipher_suites"]
            }
            assert accepted == suites, version
            assert result["is_tls_version_supported"] == bool(suites)
    for check, wanted in FINDINGS.items():
        with row.attempt():
            result = completed(found, check)
            assert {name: result[name] for name in wanted} == wanted, check
    with row.attempt():
        curves = completed(found, "elliptic_curves")["supported_curves"]
        assert {curve["name"] for curve in curves} <= CURVES
    still_serves(product)


def completed(found: dict[str, Any], check: str) -> dict[str, Any]:
    assert found[check]["status"] == "COMPLETED", (check, found[check])
    result: dict[str, Any] = found[check]["result"]
    return result


# --- testssl.sh

# Below OK and INFO, and why each is as it should be.
AS_MEANT: Final = {
    "engine_problem": "of the scanning machine",
    "cert_expirationStatus": "less than 24 h: revoked by expiring (A00.FR.701)",
    "cert_notAfter": "the same",
}
# It cannot show a certificate, and says so.
NOT_LOOKED_AT: Final = {"sessionresumption_ID", "secure_client_renego", "BREACH"}
OFFERED: Final = {
    "SSLv2": "not offered",
    "SSLv3": "not offered",
    "TLS1": "not offered",
    "TLS1_1": "not offered",
    "TLS1_2": "offered",
    "TLS1_3": "offered with final",
}


@pytest.mark.timeout(400)
def test_testssl_finds_nothing(
    product: Product, testssl: str, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """All listeners at once: most of its time is waiting."""
    scans = {
        listener: subprocess.Popen(
            [testssl, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"]
            + ["--ip", "127.0.0.1", "--add-ca", str(product.root_pem), *SIZES.testssl_checks]
            + ["--jsonfile", str(tmp_path / f"{listener}.json")]
            + [f"localhost:{port_of(product, listener)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for listener in LISTENERS[: SIZES.testssl_listeners]
    }
    for listener, process in scans.items():
        said, _ = process.communicate(timeout=380)
        row = scoreboard.row("B12", f"testssl.sh, {listener}")
        output = tmp_path / f"{listener}.json"
        assert output.exists(), said
        found = {one["id"]: one for one in json.loads(output.read_text())}
        for protocol, wanted in OFFERED.items():
            with row.attempt():
                assert found[protocol]["finding"] == wanted, found[protocol]
        excused = set(AS_MEANT) | (NOT_LOOKED_AT if listener == "profile 3" else set())
        for check, one in found.items():
            with row.attempt():
                assert one["severity"] in {"OK", "INFO"} or check in excused, one
    still_serves(product)
