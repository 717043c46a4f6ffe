"""From an access token to a `Principal`: RFC 9068 §4, strictly.

1. one compact JWS in canonical form, small
2. a header of exactly `alg`, `typ`, `kid`, as we write it: ES256, at+jwt. A key that a token
   brings along (`jwk`, `jku`, `x5c`) and any `crit` end here (F01-F03)
3. the signature, by a key of ours
4. the claims: issuer, audience, times, subject, scope
5. the client still exists (removing it ends its tokens at once)
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from csms.domain.access import Principal, Scope
from csms.oauth.signing_keys import SigningKeys
from csms.ocpp.strict_json import JsonRefused, loads
from csms.ports.clock import Clock
from csms.ports.store import Store

AUDIENCE: Final = "urn:csms:api"
ALGORITHM: Final = "ES256"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 -- a media type
_MAXIMUM_TOKEN: Final = 4096
_LONGEST_SECONDS: Final = 600  # what is promised of our tokens
# Clocks of nodes differ a little; expiry gets no such grace.
_SKEW_SECONDS: Final = 30
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_CLAIMS: Final = frozenset({"iss", "sub", "client_id", "aud", "iat", "nbf", "exp", "jti", "scope"})


class TokenFault(StrEnum):
    """What is wrong with a token. For the audit log; the answer says `invalid_token` only."""

    MALFORMED = "token_malformed"
    HEADER = "token_header"
    ALGORITHM = "token_algorithm"
    TYPE = "token_type"
    KEY = "token_key"
    SIGNATURE = "token_signature"
    CLAIMS = "token_claims"
    ISSUER = "token_issuer"
    AUDIENCE = "token_audience"
    EXPIRED = "token_expired"
    NOT_YET_VALID = "token_not_yet_valid"
    LIFETIME = "token_lifetime"
    SCOPE = "token_scope"
    CLIENT = "token_client"


class _Faulty(Exception):
    def __init__(self, fault: TokenFault) -> None:
        self.fault = fault


class TokenValidator:
    """Checks tokens of one issuer: ourselves."""

    def __init__(self, *, issuer: str, keys: SigningKeys, store: Store, clock: Clock) -> None:
        self._issuer = issuer
        self._keys = keys
        self._store = store
        self._clock = clock

    async def principal(self, token: str) -> Principal | TokenFault:
        """Raises StoreUnavailable."""
        try:
            key = await self._keys.by_kid(_kid(token))
            client_id, scopes = self._claims(_verified(token, key))
            return await self._known(client_id, scopes)
        except _Faulty as faulty:
            return faulty.fault

    def _claims(self, claims: Mapping[str, Any]) -> tuple[str, frozenset[Scope]]:
        """Step 4."""
        if claims.keys() != _CLAIMS:
            raise _Faulty(TokenFault.CLAIMS)
        if claims["iss"] != self._issuer:
            raise _Faulty(TokenFault.ISSUER)
        # One audience, as we write it; a list that contains it would be somebody else's token.
        if claims["aud"] != AUDIENCE:
            raise _Faulty(TokenFault.AUDIENCE)
        self._times(claims)
        client_id = claims["client_id"]
        words = (client_id, claims["jti"], claims["scope"])
        if not all(isinstance(word, str) and word for word in words):
            raise _Faulty(TokenFault.CLAIMS)
        if claims["sub"] != client_id:  # RFC 9068 §2.2: no resource owner is involved
            raise _Faulty(TokenFault.CLAIMS)
        try:
            return client_id, frozenset(Scope(name) for name in claims["scope"].split(" "))
        except ValueError:
            raise _Faulty(TokenFault.SCOPE) from None

    def _times(self, claims: Mapping[str, Any]) -> None:
        times = [claims[name] for name in ("iat", "nbf", "exp")]
        # bool is an int, and a float NaN never expires: whole numbers only.
        if not all(type(time) is int for time in times):
            raise _Faulty(TokenFault.CLAIMS)
        issued_at, not_before, expires_at = times
        now = int(self._clock.now().timestamp())
        if now >= expires_at:
            raise _Faulty(TokenFault.EXPIRED)
        if max(issued_at, not_before) > now + _SKEW_SECONDS:
            raise _Faulty(TokenFault.NOT_YET_VALID)
        if not 0 < expires_at - issued_at <= _LONGEST_SECONDS:
            raise _Faulty(TokenFault.LIFETIME)

    async def _known(self, client_id: str, scopes: frozenset[Scope]) -> Principal:
        """Step 5; a scope that the client does not hold (any more) is not in the principal."""
        async with self._store.reading() as work:
            client = await work.oauth_clients.by_id(client_id)
        if client is None:
            raise _Faulty(TokenFault.CLIENT)
        return Principal(
            client_id=client.client_id, name=client.name, scopes=scopes & client.scopes
        )


def _kid(token: str) -> str:
    """Steps 1 and 2."""
    match = _COMPACT.fullmatch(token) if len(token) <= _MAXIMUM_TOKEN else None
    if match is None:
        raise _Faulty(TokenFault.MALFORMED)
    try:
        header_json, _, _ = (_canonical(segment) for segment in match.groups())
        header = loads(header_json)
    except (JsonRefused, ValueError):
        raise _Faulty(TokenFault.MALFORMED) from None
    if not isinstance(header, dict) or header.keys() != {"alg", "typ", "kid"}:
        raise _Faulty(TokenFault.HEADER)
    if header["alg"] != ALGORITHM:
        raise _Faulty(TokenFault.ALGORITHM)
    if header["typ"] != TOKEN_TYPE:
        raise _Faulty(TokenFault.TYPE)
    kid = header["kid"]
    if not isinstance(kid, str):
        raise _Faulty(TokenFault.HEADER)
    return kid


def _canonical(segment: str) -> bytes:
    """Decoded; ValueError for any of the spellings that decode to the same bytes."""
    try:
        value = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise ValueError("no base64url") from None
    if urlsafe_b64encode(value).rstrip(b"=").decode() != segment:
        raise ValueError("not canonical")
    return value


def _verified(token: str, key: ECKey | None) -> Mapping[str, Any]:
    """Step 3."""
    if key is None:
        raise _Faulty(TokenFault.KEY)
    try:
        return jwt.decode(token, key, registry=JWSRegistry(algorithms=[ALGORITHM])).claims
    except (JoseError, ValueError):
        raise _Faulty(TokenFault.SIGNATURE) from None
