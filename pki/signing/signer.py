"""Who signs: a key that is referred to, never held, by the code that asks.

A `Signer` stands for exactly one version of one key. It raises only SignerError; whoever catches
SignerUnavailable may ask again, and must assume that a signature may exist all the same.
"""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec


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
    def public_key(self) -> ec.EllipticCurvePublicKey: ...

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """An ECDSA signature over that digest, as DER Ecdsa-Sig-Value (RFC 3279 §2.2.3)."""


def hash_for(key: ec.EllipticCurvePublicKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash of the curve's strength (A00.FR.504, 506): SHA-256 for P-256, SHA-384 for P-384."""
    return hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256()
