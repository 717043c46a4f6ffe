"""Who signs: a key that is referred to, never held, by the code that asks.

A `Signer` stands for exactly one version of one key. It raises only SignerError; whoever catches
SignerUnavailable may ask again, and must assume that a signature may exist all the same.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

# An RSA key of ours signs servers' certificates for certification runs alone (tension T2).
SigningKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class SignerError(Exception):
    """Base of what signers raise.

    SignerError
    ├── SignerUnavailable  sealed, forbidden, unreachable, too slow: ask again later
    └── SignerUnfit        what came back is no signature or key we can use: a person must look
    """


class SignerUnavailable(SignerError):
    pass


class SignerUnfit(SignerError):
    pass


class Signer(Protocol):
    """Blocking: call it in a thread."""

    @property
    def key_id(self) -> str:
        """Name and version, for records: `transit/csms-issuer-stations:v1`."""

    @property
    def public_key(self) -> SigningKey: ...

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """A signature over that digest. EC: DER Ecdsa-Sig-Value (RFC 3279 §2.2.3). RSA:
        RSASSA-PKCS1-v1_5 (RFC 8017 §8.2), which every TLS stack verifies in a certificate.
        """


def hash_for(key: SigningKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash of the key's strength (A00.FR.504, 506): SHA-384 for P-384, else SHA-256."""
    is_p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    return hashes.SHA384() if is_p384 else hashes.SHA256()
