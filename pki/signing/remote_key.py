"""A private key for the X.509 library whose signatures come from a Signer.

The library's private-key ABC is its sanctioned way to sign elsewhere: certificates, CRLs and OCSP
responses alike. Everything that would need the private numbers refuses.
"""

from __future__ import annotations

from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.signing.signer import Signer

Buffer = bytes | bytearray | memoryview


class RemoteECKey(ec.EllipticCurvePrivateKey):
    """Blocking: `sign` may cross the network."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        algorithm = signature_algorithm.algorithm
        if not isinstance(algorithm, hashes.HashAlgorithm):
            raise UnsupportedAlgorithm("the data is hashed here, not by the caller")
        digest = hashes.Hash(algorithm)
        digest.update(data)
        return self._signer.sign_digest(digest.finalize(), algorithm)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._signer.public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._signer.public_key.curve

    @property
    def key_size(self) -> int:
        return self._signer.public_key.key_size

    # ruff: noqa: ARG002 -- the arguments are the ABC's; what follows refuses them all

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        self._refuse()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        self._refuse()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 -- the ABC's own name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        self._refuse()

    def __copy__(self) -> RemoteECKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RemoteECKey:
        return self

    def _refuse(self) -> NoReturn:
        raise UnsupportedAlgorithm("this key signs, and does nothing else")
