"""A signer whose key lives in this process: for tests and throw-away hierarchies, never a CA's."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pki.signing.signer import SignerUnfit, SigningKey


class MemorySigner:
    def __init__(
        self, key_id: str, *, curve: ec.EllipticCurve | None = None, rsa_bits: int | None = None
    ) -> None:
        """P-256 unless a curve or a length says otherwise."""
        self._key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if rsa_bits is not None:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
        else:
            self._key = ec.generate_private_key(curve or ec.SECP256R1())
        self._key_id = key_id

    @property
    def key_id(self) -> str:
        return self._key_id

    @property
    def public_key(self) -> SigningKey:
        return self._key.public_key()

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        try:
            if isinstance(self._key, rsa.RSAPrivateKey):
                return self._key.sign(digest, padding.PKCS1v15(), Prehashed(algorithm))
            return self._key.sign(digest, ec.ECDSA(Prehashed(algorithm)))
        except ValueError as error:
            raise SignerUnfit("the digest does not fit the hash") from error
