"""Block A under the TLS policy `ocpp-certification`: what a certification run asks of our TLS.

A product of its own with that policy. TC_A_06 and TC_A_19 ask the same of both policies, and are
tried on both products.
"""

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID
from websockets.exceptions import InvalidStatus

from tests.fixtures.peer import Key, Peer, basic, trusting
from tests.fixtures.product import Product, free_ports, make_product
from tests.system.test_A_security import (
    API,
    enrolled,
    obtain_certificate,
    on_profile_2,
    on_profile_3,
    result_of,
)

# A00.FR.318, 421, by OpenSSL's names: the key that each needs of the server's certificate.
SUITES: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": ec.EllipticCurvePublicKey,
    "ECDHE-ECDSA-AES256-GCM-SHA384": ec.EllipticCurvePublicKey,
    "AES128-GCM-SHA256": rsa.RSAPublicKey,
    "AES256-GCM-SHA384": rsa.RSAPublicKey,
}
SLOT: Final = 2


@pytest.fixture(scope="module")
def certification(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    (profile_1,) = free_ports(1)
    running = make_product(
        tmp_path_factory.mktemp("certification"),
        CSMS_TLS__POLICY="ocpp-certification",
        CSMS_GATEWAY__PROFILE1_PORT=str(profile_1),
        CSMS_GATEWAY__PROFILE1_NETWORKS='["127.0.0.0/8"]',
    )
    running.start()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(params=["modern", "ocpp-certification"])
def either(request: pytest.FixtureRequest) -> Product:
    name = "product" if request.param == "modern" else "certification"
    running: Product = request.getfixturevalue(name)
    return running


def port_of(url: str) -> int:
    found = re.search(r":(\d+)/", url)
    assert found is not None
    return int(found[1])


def roots(product: Product) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(product.root_pem.read_bytes())


def with_suite(product: Product, suite: str, key: Key | None = None) -> ssl.SSLContext:
    context = trusting(product.root_pem, key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    return context


def served(peer: Peer) -> tuple[str, x509.Certificate]:
    """The suite that was negotiated, and the certificate that came with it."""
    tls = peer.connection.socket
    assert isinstance(tls, ssl.SSLSocket)
    suite, der = tls.cipher(), tls.getpeercert(binary_form=True)
    assert suite is not None
    assert der is not None
    return suite[0], x509.load_der_x509_certificate(der)


def check_server_certificate(certificate: x509.Certificate, suite: str) -> None:
    """TC_A_04: a key of the suite's kind and of sufficient length, a serial number, CN the FQDN."""
    key = certificate.public_key()
    assert isinstance(key, SUITES[suite])
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    assert key.key_size >= (2048 if isinstance(key, rsa.RSAPublicKey) else 224)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["localhost"]
    assert certificate.serial_number > 0


@pytest.mark.parametrize("suite", SUITES)
def test_TC_A_04_each_of_the_four_suites_with_a_valid_certificate(
    certification: Product, suite: str
) -> None:
    station = certification.station()
    with Peer.connect(
        certification.ocpp(2),
        station["identity"],
        context=with_suite(certification, suite),
        headers=basic(station["identity"], station["password"]),
    ) as peer:
        negotiated, certificate = served(peer)
        assert negotiated == suite
        check_server_certificate(certificate, suite)
        assert peer.boot(station["serial_number"])["status"] == "Accepted"


@pytest.mark.parametrize("suite", SUITES)
def test_TC_A_07_each_of_the_four_suites_with_a_client_certificate(
    certification: Product, tmp_path: Path, suite: str
) -> None:
    """No Basic header, and Boot without a serialNumber."""
    station = certification.station()
    key = enrolled(certification, station, tmp_path)
    context = with_suite(certification, suite, key)
    with Peer.connect(certification.ocpp(3), station["identity"], context=context) as peer:
        negotiated, certificate = served(peer)
        assert negotiated == suite
        check_server_certificate(certificate, suite)
        assert peer.boot()["status"] == "Accepted"


# What a station that knows RSA only says: its signature algorithms, and the suites or TLS 1.3.
RSA_ONLY: Final = {
    "TLS 1.2, AES128": ("-tls1_2", "-cipher", "AES128-GCM-SHA256", "-sigalgs", "RSA+SHA256"),
    "TLS 1.2, AES256": ("-tls1_2", "-cipher", "AES256-GCM-SHA384", "-sigalgs", "RSA+SHA256"),
    "TLS 1.3": ("-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"),
}


@pytest.mark.parametrize("profile", [2, 3])
@pytest.mark.parametrize("speaks", RSA_ONLY)
def test_a_station_that_verifies_rsa_only_verifies_the_path_up_to_an_rsa_root(
    certification: Product, tmp_path: Path, openssl: str, profile: int, speaks: str
) -> None:
    """A00.FR.318, 421: its trust store holds the RSA root alone."""
    (root,) = (
        one for one in roots(certification) if isinstance(one.public_key(), rsa.RSAPublicKey)
    )
    trust = tmp_path / "rsa-root.pem"
    every = certification.root_pem.read_text().split("-----END CERTIFICATE-----\n")
    trust.write_text(every[roots(certification).index(root)] + "-----END CERTIFICATE-----\n")
    where = f"127.0.0.1:{port_of(certification.ocpp(profile))}"
    done = subprocess.run(
        [openssl, "s_client", "-connect", where, "-servername", "localhost", "-showcerts"]
        + ["-CAfile", str(trust), "-verify_return_error", "-verify_hostname", "localhost"]
        + [*RSA_ONLY[speaks]],
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # Profile 3 then refuses whoever shows no certificate; the server's own is verified before.
    assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr
    chain = x509.load_pem_x509_certificates(
        "".join(
            re.findall(r"-----BEGIN.*?-----END CERTIFICATE-----\n", done.stdout, re.DOTALL)[:2]
        ).encode()
    )
    for certificate in [*chain, root]:
        assert isinstance(certificate.public_key(), rsa.RSAPublicKey)
        assert certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSA_WITH_SHA256


def test_under_modern_nobody_is_asked_to_trust_an_rsa_root(
    product: Product, certification: Product
) -> None:
    """T2: a root without a use is one more that may sign. The other policy publishes both."""
    kinds = [isinstance(one.public_key(), rsa.RSAPublicKey) for one in roots(certification)]
    assert kinds == [False, True]
    (root,) = roots(product)
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    for profile in (2, 3):
        for suite in ("AES128-GCM-SHA256", "AES256-GCM-SHA384"):
            assert tls_refused(product.ocpp(profile), with_suite(product, suite))


def test_the_api_never_offers_static_rsa(certification: Product) -> None:
    assert tls_refused(
        certification.endpoints["api"] + "/", with_suite(certification, "AES128-GCM-SHA256")
    )


def tls_refused(url: str, context: ssl.SSLContext) -> bool:
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=10) as sock:
        try:
            context.wrap_socket(sock, server_hostname="localhost").close()
        except (ssl.SSLError, ConnectionError):
            return True
    return False


@pytest.mark.timeout(180)
def test_static_rsa_is_no_oracle(certification: Product, sslyze: str, tmp_path: Path) -> None:
    """ROBOT (CVE-2017-13099 and others): how a bad padding is refused tells nothing about it. The
    price of T2 is forward secrecy, and not the key. Profile 2: this check shows no certificate.
    """
    output = tmp_path / "robot.json"
    where = f"localhost:{port_of(certification.ocpp(2))}"
    done = subprocess.run(
        [sslyze, "--robot", "--mozilla_config", "disable", "--json_out", str(output), where],
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert output.exists(), done.stderr
    (scan,) = json.loads(output.read_text())["server_scan_results"]
    assert scan["scan_result"], scan["connectivity_error_trace"]
    robot = scan["scan_result"]["robot"]
    assert robot["status"] == "COMPLETED", robot
    assert robot["result"] == {"robot_result": "NOT_VULNERABLE_NO_ORACLE"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("profile", [2, 3])
def test_TC_A_06_a_version_below_1_2_is_terminated_and_then_a_normal_one_works(
    either: Product, profile: int, version: ssl.TLSVersion
) -> None:
    """A00.FR.313, 315, 416, 418."""
    old = trusting(either.root_pem)
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        old.minimum_version = old.maximum_version = version
    old.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL itself has given those versions up
    assert tls_refused(either.ocpp(profile), old)
    station = either.station()
    with on_profile_2(either, station) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Accepted"


def on_profile_1(product: Product, station: dict[str, Any]) -> Peer:
    return Peer.connect(
        product.ocpp(1),
        station["identity"],
        context=None,
        headers=basic(station["identity"], station["password"]),
    )


def told(
    product: Product, peer: Peer, station: dict[str, Any], action: str, payload: Any, answer: Any
) -> None:
    """The operator sends the command, the station gets exactly that and answers."""
    asked = API.submit(product.command, station["identity"], action, payload)
    message_id, request = peer.expect(action)
    assert request == payload
    peer.reply(message_id, answer)
    assert asked.result().json() == {"status": "answered", "response": answer}


def upgrade_the_profile(
    product: Product, peer: Peer, station: dict[str, Any], profile: int
) -> None:
    """Steps 1 to 6 of TC_A_19, up to the Reset that ends the connection."""
    connection = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": product.ocpp(profile),
        "messageTimeout": 30,
        "securityProfile": profile,
        "ocppInterface": "Wired0",
    }
    slot = {"configurationSlot": SLOT, "connectionData": connection}
    told(product, peer, station, "SetNetworkProfile", slot, {"status": "Accepted"})
    priority = {
        "attributeValue": str(SLOT),
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "NetworkConfigurationPriority"},
    }
    done = {"setVariableResult": [result_of(priority, "Accepted")]}
    told(product, peer, station, "SetVariables", {"setVariableData": [priority]}, done)
    told(product, peer, station, "Reset", {"type": "OnIdle"}, {"status": "Accepted"})


def test_TC_A_19_from_profile_2_to_3_and_never_back(either: Product, tmp_path: Path) -> None:
    """A05.FR.02 to 07; from 2 to 3 the client certificate is renewed first."""
    station = either.station()
    key = Key(tmp_path)
    with on_profile_2(either, station) as peer:
        peer.boot(station["serial_number"])
        key.keep(obtain_certificate(either, station, peer, key))
        upgrade_the_profile(either, peer, station, 3)
    with on_profile_3(either, station["identity"], key) as peer:
        assert peer.boot(reason="RemoteReset")["status"] == "Accepted"
    with pytest.raises(InvalidStatus) as refusal:
        on_profile_2(either, station)
    assert refusal.value.response.status_code == 401
    with on_profile_3(either, station["identity"], key) as peer:
        assert peer.status()[0] == 3, "the new profile goes on"


def test_TC_A_19_from_profile_1_to_2_and_never_back(certification: Product) -> None:
    """The same from the plain listener, which is off unless asked for."""
    station = certification.station(1)
    with on_profile_1(certification, station) as peer:
        peer.boot(station["serial_number"])
        upgrade_the_profile(certification, peer, station, 2)
    with on_profile_2(certification, station) as peer:
        assert peer.boot(reason="RemoteReset")["status"] == "Accepted"
    with pytest.raises(InvalidStatus) as refusal:
        on_profile_1(certification, station)
    assert refusal.value.response.status_code == 401
    with on_profile_2(certification, station) as peer:
        assert peer.status()[0] == 3, "the new profile goes on"
