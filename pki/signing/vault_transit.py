"""A Transit key of Vault or OpenBao as a Signer: the private part never leaves it.

The version is pinned when the signer is made: after a rotation in Vault, certificates go on being
signed by the key that stands in the issuing CA's certificate, until a ceremony says otherwise.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.signing.signer import SignerUnfit, SigningKey
from pki.signing.vault_session import VaultSession

_TRANSIT_HASHES: Final = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}


@dataclass(frozen=True, slots=True)
class TransitSigner:
    """Made by `open_signer`; safe to use from several threads."""

    session: VaultSession
    mount: str
    name: str
    version: int
    public_key: SigningKey

    @property
    def key_id(self) -> str:
        return f"{self.mount}/{self.name}:v{self.version}"

    @property
    def _form(self) -> dict[str, str]:
        """Said each time: left alone, Transit signs with an RSA key as PSS."""
        if isinstance(self.public_key, rsa.RSAPublicKey):
            return {"signature_algorithm": "pkcs1v15"}
        return {"marshaling_algorithm": "asn1"}

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        if len(digest) != algorithm.digest_size or algorithm.name not in _TRANSIT_HASHES:
            raise SignerUnfit("the digest does not fit the hash")
        answer = self.session.write(
            f"{self.mount}/sign/{self.name}/{_TRANSIT_HASHES[algorithm.name]}",
            {
                "input": base64.b64encode(digest).decode("ascii"),
                "prehashed": True,
                **self._form,
                "key_version": self.version,
            },
        )
        return _signature(answer.get("signature"), version=self.version)


def open_signer(
    session: VaultSession, *, mount: str, name: str, version: int | None = None
) -> TransitSigner:
    """Reads the public part; the newest version unless one is named. Raises SignerError."""
    data = session.read(f"{mount}/keys/{name}")
    try:
        chosen = int(data["latest_version"]) if version is None else version
        pem = data["keys"][str(chosen)]["public_key"]
        public_key = serialization.load_pem_public_key(pem.encode("ascii"))
    except (KeyError, TypeError, AttributeError, ValueError, UnsupportedAlgorithm) as error:
        raise SignerUnfit(f"Transit key {name} cannot be used") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise SignerUnfit(f"Transit key {name} is neither an elliptic curve key nor RSA")
    return TransitSigner(session, mount, name, chosen, public_key)


def parse_key_id(key_id: str) -> tuple[str, str, int]:
    """(mount, name, version) of a `key_id` as records keep it. Raises SignerUnfit."""
    path, separator, version = key_id.rpartition(":v")
    mount, slash, name = path.rpartition("/")
    if not separator or not slash or not version.isdecimal():
        raise SignerUnfit(f"{key_id} names no Transit key")
    return mount, name, int(version)


def _signature(text: object, *, version: int) -> bytes:
    """`vault:v1:base64`, the prefix of which says who signed."""
    prefix = f"vault:v{version}:"
    if not isinstance(text, str) or not text.startswith(prefix):
        raise SignerUnfit("the answer is no signature of that key version")
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except ValueError as error:  # also what is not ASCII
        raise SignerUnfit("the answer is no signature") from error
