"""Certificate hash data agrees with OpenSSL's CertID and with hashes taken by hand."""

import hashlib
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from station.hash_data import hash_data, names
from tests.unit.station.csms_double import Issuer

AnyKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def root_with(key: AnyKey, serial: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hash Root")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("kind", ["ec", "rsa"])
@pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
def test_hashes_are_those_of_openssl(tmp_path: Path, kind: str, algorithm: str) -> None:
    key: AnyKey = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(65537, 2048)
    )
    root = root_with(key, 0x0ABC)
    path = tmp_path / "root.pem"
    path.write_bytes(root.public_bytes(Encoding.PEM))
    command = ["openssl", "ocsp", f"-{algorithm.lower()}", "-issuer", str(path), "-cert", str(path)]
    done = subprocess.run([*command, "-req_text"], check=True, capture_output=True, text=True)
    # OpenSSL folds long values with a backslash.
    text = re.sub(r"\\\n\s*", "", done.stdout)
    lines = (line.partition(":") for line in text.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    own = hash_data(root, issuer=root, algorithm=algorithm)
    assert own["issuerNameHash"] == fields["Issuer Name Hash"].lower()
    assert own["issuerKeyHash"] == fields["Issuer Key Hash"].lower()
    assert own["serialNumber"] == "abc"
    assert own["serialNumber"] == fields["Serial Number"].lower().lstrip("0")


def test_key_hash_is_over_the_bits_without_tag_and_length() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # P-256: the BIT STRING's content is the last 65 bytes, an uncompressed point.
    expected = hashlib.sha256(spki[-65:]).hexdigest()
    assert hash_data(root_with(key, 1), issuer=root_with(key, 1))["issuerKeyHash"] == expected


def test_certificate_is_named_in_either_hex_case_and_by_nothing_else() -> None:
    root, other = Issuer.root().certificate, Issuer.root().certificate
    request = hash_data(root, issuer=root)
    assert names({**request, "issuerKeyHash": request["issuerKeyHash"].upper()}, root)
    assert not names(request, other)
    assert not names({**request, "serialNumber": "1"}, root)
    assert not names({**request, "hashAlgorithm": "MD5"}, root)
