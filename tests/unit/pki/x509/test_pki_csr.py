"""Certificate signing requests from outside: C01-C05."""

from __future__ import annotations

import base64
from datetime import date
from ipaddress import IPv4Address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from pki.wire import RefusalReason
from pki.x509.csr import CSRRejected, VerifiedCSR, verify_csr
from tests.fixtures.pki_memory import csr_pem, profiles, spki_sha256

TODAY = date(2026, 3, 1)
POLICY = profiles().key_policy
R = RefusalReason


def verify(pem: str) -> VerifiedCSR:
    return verify_csr(pem, policy=POLICY, today=TODAY)


def _accepted(pem: str) -> bool:
    return isinstance(verify(pem), VerifiedCSR)


def refused(pem: str) -> RefusalReason:
    with pytest.raises(CSRRejected) as caught:
        verify(pem)
    assert str(caught.value).startswith(caught.value.reason)
    return caught.value.reason


def test_a_request_gives_its_key_and_claims() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    csr = verify(csr_pem("CS001", organization="Example CSO", key=key))
    assert csr.public_key == key.public_key()
    assert csr.public_key_sha256 == spki_sha256(key)
    assert (csr.common_name, csr.organization, csr.anomalies) == ("CS001", "Example CSO", ())


def test_a_request_with_a_common_name_only_is_accepted() -> None:
    assert verify(csr_pem("CS001")).organization is None


def test_white_space_around_and_windows_lines_are_harmless() -> None:
    assert verify("\r\n " + csr_pem("CS001").replace("\n", "\r\n") + "\n ").common_name == "CS001"


def test_the_older_pem_label_is_accepted() -> None:
    assert _accepted(csr_pem().replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"))


def test_5500_characters_are_accepted_and_5501_are_not() -> None:
    """The bound of SignCertificate.csr is looked at before anything else (C04)."""
    pem = csr_pem()
    assert _accepted(pem + " " * (5500 - len(pem)))
    assert refused(pem + " " * (5501 - len(pem))) is R.TOO_LARGE
    assert refused("x" * 5501) is R.TOO_LARGE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pem: "",
        lambda pem: pem + pem,
        lambda pem: "text before\n" + pem,
        lambda pem: pem + "text after",
        lambda pem: pem.replace("BEGIN CERTIFICATE", "BEGIN NEW CERTIFICATE"),
        lambda pem: pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
        lambda pem: pem.replace("M", "!", 1),
        lambda pem: pem[:100] + "\n-----END CERTIFICATE REQUEST-----\n",
        lambda pem: "-----BEGIN CERTIFICATE REQUEST-----\nAAA\n-----END CERTIFICATE REQUEST-----",
        lambda pem: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        lambda pem: "-----BEGIN CERTIFICATE REQUEST-----" + "\n" * 4000,
    ],
)
def test_what_is_not_exactly_one_request_is_malformed(spoil: Any) -> None:
    assert refused(spoil(csr_pem())) is R.MALFORMED


def test_bytes_after_the_der_are_malformed() -> None:
    der = base64.b64decode("".join(csr_pem().splitlines()[1:-1]))
    assert refused(_pem(der + b"\x00")) is R.MALFORMED
    assert verify(_pem(der)).common_name == "CS001"


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def test_every_flipped_byte_of_the_signature_is_noticed() -> None:
    """C05."""
    der = bytearray(base64.b64decode("".join(csr_pem().splitlines()[1:-1])))
    signature = x509.load_der_x509_csr(bytes(der)).signature
    start = bytes(der).rindex(signature)
    for at in range(start, len(der)):
        flipped = bytearray(der)
        flipped[at] ^= 0x01
        assert refused(_pem(bytes(flipped))) in {R.PROOF_OF_POSSESSION, R.MALFORMED}


def test_a_request_signed_by_another_key_proves_nothing() -> None:
    one = base64.b64decode("".join(csr_pem().splitlines()[1:-1]))
    other = x509.load_pem_x509_csr(csr_pem().encode()).public_key()
    mine = x509.load_der_x509_csr(one).public_key()
    der = one.replace(_bits(mine), _bits(other))
    assert refused(_pem(der)) is R.PROOF_OF_POSSESSION


def _bits(key: Any) -> Any:
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def test_sha_1_proves_nothing() -> None:
    """A00.FR.506; the library signs no SHA-1 any more, so the algorithm identifier is swapped."""
    der = base64.b64decode("".join(csr_pem().splitlines()[1:-1]))
    ecdsa_sha256, ecdsa_sha1 = (
        bytes.fromhex("06082a8648ce3d040302"),
        bytes.fromhex("06072a8648ce3d0401"),
    )
    shorter = der.replace(b"\x30\x0a" + ecdsa_sha256, b"\x30\x09" + ecdsa_sha1)
    assert shorter != der
    outer = len(der) - 1 - 3 if der[1] == 0x81 else len(der) - 1 - 4
    header = b"\x30\x81" + bytes([outer]) if der[1] == 0x81 else b"\x30\x82" + outer.to_bytes(2)
    assert refused(_pem(header + shorter[len(header) :])) is R.PROOF_OF_POSSESSION


def test_sha_224_is_below_the_floor() -> None:
    assert refused(csr_pem(algorithm=hashes.SHA224())) is R.PROOF_OF_POSSESSION


def test_sha_512_is_accepted() -> None:
    assert _accepted(csr_pem(algorithm=hashes.SHA512()))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP192R1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["secp256k1", "P-192", "RSA-2048"],
)
def test_a_weak_key_is_refused(key: Any) -> None:
    assert refused(csr_pem(key=key)) is R.WEAK_KEY


def test_a_key_of_another_family_is_refused() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    assert refused(pem) is R.WEAK_KEY


def test_a_point_off_the_curve_is_a_weak_key() -> None:
    pem = csr_pem()
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    point = _bits(x509.load_pem_x509_csr(pem.encode()).public_key())
    assert refused(_pem(der.replace(point, b"\x04" + b"\x01" * 64))) is R.WEAK_KEY


def test_two_common_names_can_be_read_two_ways() -> None:
    pem = csr_pem("CS001", attributes=[(NameOID.COMMON_NAME, "CS002")])
    assert refused(pem) is R.WRONG_SUBJECT


def test_other_name_parts_are_recorded_and_ignored() -> None:
    """A real station (EVerest) sends C and DC."""
    csr = verify(
        csr_pem(attributes=[(NameOID.COUNTRY_NAME, "NL"), (NameOID.DOMAIN_COMPONENT, "CPO")])
    )
    assert [(a.what, a.detail) for a in csr.anomalies] == [
        ("extra_rdn", "C=NL"),
        ("extra_rdn", "DC=CPO"),
    ]


def test_requested_extensions_are_recorded_and_ignored() -> None:
    """C02."""
    csr = verify(
        csr_pem(
            extensions=[
                x509.BasicConstraints(ca=True, path_length=None),
                x509.SubjectAlternativeName(
                    [x509.DNSName("csms.example.com"), x509.IPAddress(IPv4Address("10.0.0.1"))]
                ),
                x509.KeyUsage(True, False, False, False, False, True, False, False, False),
            ]
        )
    )
    assert {a.what for a in csr.anomalies} == {
        "requested_ca",
        "requested_san",
        "requested_extension",
    }


def test_a_modest_basic_constraint_is_only_an_extension() -> None:
    csr = verify(csr_pem(extensions=[x509.BasicConstraints(ca=False, path_length=None)]))
    assert [a.what for a in csr.anomalies] == ["requested_extension"]


def test_unreadable_extensions_are_recorded_and_ignored() -> None:
    bad = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\xff\xff")
    csr = verify(csr_pem(extensions=[bad]))
    assert [a.detail for a in csr.anomalies] == ["unreadable"]


def test_anomalies_are_bounded() -> None:
    many = [(NameOID.ORGANIZATIONAL_UNIT_NAME, f"unit {n}") for n in range(60)]
    assert len(verify(csr_pem(attributes=many)).anomalies) == 16
