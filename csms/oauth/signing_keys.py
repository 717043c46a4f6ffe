"""The key that signs access tokens: a port for its private half, a cache of its public halves.

`public_jwks` of a signer may cost a round trip to Vault, so answers are kept: for a minute, and
for as long as the signer is away, since a token that was good stays good while Vault is sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from joserfc.jwk import ECKey

from csms.ports.clock import Clock

_FRESH_SECONDS: Final = 60.0
# F08: a flood of unknown `kid`s must not become a flood of fetches.
_LEAST_SECONDS_BETWEEN_FETCHES: Final = 10.0
# Nor may tokens while the signer is away; each fetch may take seconds to fail.
_SECONDS_AFTER_A_FAILURE: Final = 2.0

log = structlog.get_logger()


class TokenSigner(Protocol):
    """ES256 by a key that this process may never see (Vault's Transit)."""

    async def current_kid(self) -> str:
        """The `kid` for the header that `sign` is then asked to cover."""

    async def sign(self, signing_input: bytes, *, kid: str) -> bytes:
        """R || S over `header.payload` (RFC 7518 §3.4)."""

    async def public_jwks(self) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """Every key that may have signed a living token, as a JWK Set (RFC 7517)."""


class SigningKeys:
    """Public keys by `kid`."""

    def __init__(self, signer: TokenSigner, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._lock = asyncio.Lock()
        self._jwks: list[Mapping[str, str]] = []
        self._keys: dict[str, ECKey] = {}
        self._fetched_at: float | None = None
        self._failed_at: float | None = None

    async def by_kid(self, kid: str) -> ECKey | None:
        """The key of that name; asks the signer again for an unknown one, but not often.

        Raises ConnectionError while the signer is away and no key was ever seen.
        """
        if kid in self._keys and self._lock.locked():
            return self._keys[kid]  # somebody asks a slow signer already: nobody else waits
        await self._refresh(_FRESH_SECONDS)
        if kid not in self._keys:
            await self._refresh(_LEAST_SECONDS_BETWEEN_FETCHES)
        return self._keys.get(kid)

    async def jwks(self) -> dict[str, Any]:
        await self._refresh(_FRESH_SECONDS)
        return {"keys": [dict(jwk) for jwk in self._jwks]}

    async def _refresh(self, seconds: float) -> None:
        async with self._lock:
            now = self._clock.monotonic()
            if self._fetched_at is not None and now - self._fetched_at < seconds:
                return
            if self._failed_at is not None and now - self._failed_at < _SECONDS_AFTER_A_FAILURE:
                self._go_on_with_what_is_known()
                return
            try:
                found = (await self._signer.public_jwks())["keys"]
            except Exception as error:  # noqa: BLE001 -- an adapter's error tree is not ours to know
                self._failed_at = self._clock.monotonic()
                log.warning("token_keys_not_refreshed", error=type(error).__name__)
                self._go_on_with_what_is_known()
                return
            self._jwks = list(found)
            self._keys = {jwk["kid"]: ECKey.import_key(dict(jwk)) for jwk in found}
            self._fetched_at = now

    def _go_on_with_what_is_known(self) -> None:
        """Raises ConnectionError when that is nothing."""
        if not self._keys:
            raise ConnectionError("the token signer is away")
