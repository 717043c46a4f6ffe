"""A private key for the X.509 library whose signatures come from a Signer.

The library's private-key ABCs are its sanctioned way to sign elsewhere: certificates, CRLs and OCSP
responses alike. Everything that would need the private numbers refuses.
"""

from __future__ import annotations

from typing import NoReturn, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed

from pki.signing.signer import Signer

Buffer = bytes | bytearray | memoryview

# ruff: noqa: ARG002 -- the arguments are the ABCs'; most of what follows refuses them


def remote_key(signer: Signer) -> RemoteECKey | RemoteRSAKey:
    """The private key of that signer, as far as the X.509 library is concerned."""
    public_key = signer.public_key
    if isinstance(public_key, rsa.RSAPublicKey):
        return RemoteRSAKey(signer, public_key)
    return RemoteECKey(signer, public_key)


class _Remote:
    """What both kinds have in common. Blocking: `sign` may cross the network."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def _sign(self, data: Buffer, algorithm: object) -> bytes:
        if not isinstance(algorithm, hashes.HashAlgorithm):
            raise UnsupportedAlgorithm("the data is hashed here, not by the caller")
        digest = hashes.Hash(algorithm)
        digest.update(data)
        return self._signer.sign_digest(digest.finalize(), algorithm)

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 -- the ABC's own name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        _refuse()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class RemoteECKey(_Remote, ec.EllipticCurvePrivateKey):
    def __init__(self, signer: Signer, public_key: ec.EllipticCurvePublicKey) -> None:
        super().__init__(signer)
        self._public_key = public_key

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        return self._sign(data, signature_algorithm.algorithm)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        _refuse()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        _refuse()


class RemoteRSAKey(_Remote, rsa.RSAPrivateKey):
    def __init__(self, signer: Signer, public_key: rsa.RSAPublicKey) -> None:
        super().__init__(signer)
        self._public_key = public_key

    def sign(
        self,
        data: Buffer,
        padding: AsymmetricPadding,
        algorithm: Prehashed | hashes.HashAlgorithm | NoDigestInfo,
    ) -> bytes:
        if not isinstance(padding, PKCS1v15):
            raise UnsupportedAlgorithm("signers sign RSASSA-PKCS1-v1_5")
        return self._sign(data, algorithm)

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public_key

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def decrypt(self, ciphertext: bytes, padding: AsymmetricPadding) -> bytes:
        _refuse()

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        _refuse()


def _refuse() -> NoReturn:
    raise UnsupportedAlgorithm("this key signs, and does nothing else")
