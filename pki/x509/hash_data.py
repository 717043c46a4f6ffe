"""CertificateHashData: how OCPP names a certificate without sending it (M03, M04).

The three fields are RFC 6960's CertID: hash over the issuer's DER name, hash over the contents of
the issuer's public key BIT STRING (not over the SubjectPublicKeyInfo), and the serial number as
hexadecimal without leading zeros (A00.FR.508).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization


class HashAlgorithm(StrEnum):
    """OCPP HashAlgorithmEnumType."""

    SHA256 = "SHA256"
    SHA384 = "SHA384"
    SHA512 = "SHA512"


_HASHES: Final[Mapping[HashAlgorithm, Callable[[], hashes.HashAlgorithm]]] = {
    HashAlgorithm.SHA256: hashes.SHA256,
    HashAlgorithm.SHA384: hashes.SHA384,
    HashAlgorithm.SHA512: hashes.SHA512,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateHashData:
    hash_algorithm: HashAlgorithm
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str


def certificate_hash_data(
    certificate: x509.Certificate,
    *,
    issuer: x509.Certificate,
    algorithm: HashAlgorithm = HashAlgorithm.SHA256,
) -> CertificateHashData:
    """For a root, `issuer` is the certificate itself. The caller vouches that they belong
    together; a wrong pair gives a hash that no station will find.
    """
    return CertificateHashData(
        hash_algorithm=algorithm,
        issuer_name_hash=_digest(algorithm, certificate.issuer.public_bytes()),
        issuer_key_hash=_digest(algorithm, public_key_bits(issuer)),
        serial_number=serial_hex(certificate.serial_number),
    )


def serial_hex(serial: int) -> str:
    """Lower-case hexadecimal without leading zeros."""
    return f"{serial:x}"


def public_key_bits(certificate: x509.Certificate) -> bytes:
    """The contents of the subjectPublicKey BIT STRING, without its unused-bits octet.

    SubjectPublicKeyInfo ::= SEQUENCE { AlgorithmIdentifier, BIT STRING }. The library gives it as
    DER it has parsed, so that walking the two headers needs no check of its own.
    """
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    outer, _ = _content(spki, 0)
    _, algorithm_end = _content(spki, outer.start)
    bits, _ = _content(spki, algorithm_end)
    return spki[bits.start + 1 : bits.stop]


def _content(der: bytes, at: int) -> tuple[slice, int]:
    """Where the content of the TLV at `at` lies, and where the next TLV begins (X.690 §8.1.3)."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, start = int.from_bytes(der[start : start + octets]), start + octets
    return slice(start, start + length), start + length


def _digest(algorithm: HashAlgorithm, data: bytes) -> str:
    digest = hashes.Hash(_HASHES[algorithm]())
    digest.update(data)
    return digest.finalize().hex()
