"""A signer whose key lives in this process: for tests and throw-away hierarchies, never a CA's."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pki.signing.signer import SignerUnfit


class MemorySigner:
    def __init__(self, key_id: str, *, curve: ec.EllipticCurve | None = None) -> None:
        self._key = ec.generate_private_key(curve or ec.SECP256R1())
        self._key_id = key_id

    @property
    def key_id(self) -> str:
        return self._key_id

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        try:
            return self._key.sign(digest, ec.ECDSA(Prehashed(algorithm)))
        except ValueError as error:
            raise SignerUnfit("the digest does not fit the hash") from error
