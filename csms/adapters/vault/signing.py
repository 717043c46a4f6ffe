"""Signatures by Transit for access tokens (ES256) and audit checkpoints (Ed25519).

The private keys never leave Vault. Transit signs what it is given: callers decide what that is.
Certificates are signed elsewhere (`pki.signing`).
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from csms.adapters.vault.connection import VaultRejected, VaultUnavailable
from csms.adapters.vault.plan import TRANSIT, Key
from csms.adapters.vault.session import VaultSession

P256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Signature:
    """Raw signature bytes and the version of the key that made them."""

    value: bytes
    key_version: int


class TransitTokenSigner:
    """ES256 for JWS: the signature is R || S (RFC 7518 §3.4), `kid` is the key's version."""

    def __init__(self, session: VaultSession) -> None:
        self._session = session

    async def current_kid(self) -> str:
        """The `kid` to write into the header that `sign` is then asked to cover."""
        return str((await _key(self._session, Key.TOKENS))["latest_version"])

    async def sign(self, signing_input: bytes, *, kid: str) -> bytes:
        """Sign `header.payload` with the version the header names, whatever was rotated since."""
        signature = await _sign(
            self._session,
            Key.TOKENS,
            signing_input,
            path="/sha2-256",
            options={"marshaling_algorithm": "jws", "key_version": int(kid)},
        )
        return signature.value

    async def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Every version that may still have signed a living token, as a JWK Set (RFC 7517)."""
        versions = (await _key(self._session, Key.TOKENS))["keys"]
        return {"keys": [_jwk(version, entry["public_key"]) for version, entry in versions.items()]}


class TransitAuditSigner:
    """Ed25519 over a checkpoint's text; the caller renders the signed note."""

    def __init__(self, session: VaultSession) -> None:
        self._session = session

    async def sign(self, message: bytes) -> Signature:
        return await _sign(self._session, Key.AUDIT, message)

    async def public_keys(self) -> dict[int, ed25519.Ed25519PublicKey]:
        """Public keys by version, for `audit.pub` and for verifying older checkpoints."""
        versions = (await _key(self._session, Key.AUDIT))["keys"]
        return {
            int(version): ed25519.Ed25519PublicKey.from_public_bytes(
                base64.b64decode(entry["public_key"])
            )
            for version, entry in versions.items()
        }


async def _key(session: VaultSession, key: Key) -> dict[str, Any]:
    answer = await session.read(f"{TRANSIT}/keys/{key}")
    if answer is None:
        raise VaultRejected(f"there is no key {key}: run `csms vault apply` first")
    data: dict[str, Any] = answer["data"]
    return data


async def _sign(
    session: VaultSession,
    key: Key,
    message: bytes,
    *,
    path: str = "",
    options: dict[str, object] | None = None,
) -> Signature:
    body = {"input": base64.b64encode(message).decode(), **(options or {})}
    answer = await session.write(f"{TRANSIT}/sign/{key}{path}", body)
    # "vault:v2:<base64>"; with jws marshaling base64url without padding
    try:
        _, version, text = answer["data"]["signature"].split(":")
        value = base64.urlsafe_b64decode(
            text.translate(str.maketrans("+/", "-_")) + "=" * (-len(text) % 4)
        )
        return Signature(value, int(version.removeprefix("v")))
    except (KeyError, ValueError, binascii.Error) as error:
        raise VaultUnavailable("Vault answered something that is not a signature") from error


def _jwk(version: str, pem: str) -> dict[str, str]:
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise VaultRejected("the token key is not on P-256")
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "kid": version,
        "x": _base64url(numbers.x.to_bytes(P256_BYTES, "big")),
        "y": _base64url(numbers.y.to_bytes(P256_BYTES, "big")),
    }


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
