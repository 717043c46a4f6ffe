"""CertificateHashDataType: how GetInstalledCertificateIds and DeleteCertificate name certificates.

Hashes of the DER issuer name and of the issuer's public key bits (the BIT STRING's content,
without tag and length), serial number as hex without leading zeros: the CertID of RFC 6960 §4.1.1
in hex.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALGORITHMS: Final[Mapping[str, str]] = {
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
}


def hash_data(
    certificate: x509.Certificate, *, issuer: x509.Certificate, algorithm: str = "SHA256"
) -> dict[str, Any]:
    """The certificate's hash data; for a root, `issuer` is the root itself."""
    digest = ALGORITHMS[algorithm]
    key = _public_key_bits(issuer.public_key())
    return {
        "hashAlgorithm": algorithm,
        "issuerNameHash": hashlib.new(digest, certificate.issuer.public_bytes()).hexdigest(),
        "issuerKeyHash": hashlib.new(digest, key).hexdigest(),
        "serialNumber": f"{certificate.serial_number:x}",
    }


def names(request: Mapping[str, Any], certificate: x509.Certificate) -> bool:
    """Does this certificateHashData name the (self-signed) certificate? Hex case is no matter."""
    algorithm = request["hashAlgorithm"]
    if algorithm not in ALGORITHMS:
        return False
    own = hash_data(certificate, issuer=certificate, algorithm=algorithm)
    return all(own[name].lower() == str(request[name]).lower() for name in own)


def _public_key_bits(key: CertificatePublicKeyTypes) -> bytes:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    # EdDSA and the like put the raw key into the BIT STRING (RFC 8410).
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
