"""CertificateHashData against what OpenSSL's OCSP request says of the same pair."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from pki.x509.hash_data import HashAlgorithm, certificate_hash_data, serial_hex
from tests.fixtures.pki_memory import NOW

LIBRARY = {"SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}


def self_signed(key: Any, serial: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("algorithm", list(HashAlgorithm))
@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()),
     rsa.generate_private_key(65537, 2048)],
    ids=["P-256", "P-384", "RSA"],
)  # fmt: skip
def test_the_hashes_are_those_of_an_ocsp_request(algorithm: HashAlgorithm, key: Any) -> None:
    certificate = self_signed(key, 0x0ABC)
    data = certificate_hash_data(certificate, issuer=certificate, algorithm=algorithm)
    request = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(certificate, certificate, LIBRARY[algorithm])
        .build()
    )
    assert data.issuer_name_hash == request.issuer_name_hash.hex()
    assert data.issuer_key_hash == request.issuer_key_hash.hex()
    assert data.serial_number == "abc"


def test_sha_256_is_the_default() -> None:
    certificate = self_signed(ec.generate_private_key(ec.SECP256R1()), 1)
    data = certificate_hash_data(certificate, issuer=certificate)
    assert data.hash_algorithm == "SHA256"
    assert data.issuer_name_hash == hashlib.sha256(certificate.issuer.public_bytes()).hexdigest()


@pytest.mark.parametrize(("serial", "text"), [(1, "1"), (255, "ff"), (0x0F0, "f0")])
def test_serials_have_no_leading_zeros(serial: int, text: str) -> None:
    assert serial_hex(serial) == text
