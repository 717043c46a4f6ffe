"""The embedded authorization server's endpoints: token, JWKS, metadata.

A token request goes
1 budget of the source, and of the claimed client there   2 shape   3 client row
4 decision (authlib, in a thread)   5 signature   6 audit   7 answer
and every refusal after step 1 costs its source one failure and leaves an audit row; a source
whose budget is spent is told to wait and leaves none, so that the log cannot be flooded.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPMethod
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from csms.domain.access import Principal, Scope
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.oauth.budget import FailureBudget
from csms.oauth.decision import (
    CLIENT_AUTH_METHODS,
    GRANT_TYPE,
    TOKEN_PERIOD,
    Decision,
    TokenRequest,
    decide,
)
from csms.oauth.signing_keys import SigningKeys, TokenSigner
from csms.oauth.validation import (
    ALGORITHM,
    AUDIENCE,
    TOKEN_TYPE,
    TokenFault,
    TokenValidator,
)
from csms.ports.clock import Clock, Randomness
from csms.ports.records import OAuthClient
from csms.ports.store import Store, StoreUnavailable

METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 -- a path
JWKS_PATH: Final = "/oauth/jwks.json"
ANONYMOUS_PATHS: Final = (METADATA_PATH, TOKEN_PATH, JWKS_PATH)
_MAXIMUM_BODY: Final = 4096
_MAXIMUM_FIELDS: Final = 8
# RFC 6749 appendix A.1; ours are shorter, and failures are remembered by it.
_CLIENT_ID: Final = re.compile(r"[\x20-\x7e]{1,128}", re.ASCII)
_FORM: Final = "application/x-www-form-urlencoded"
# RFC 6749 §5.1: on every answer, not only on those that carry a token.
_HEADERS: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}

log = structlog.get_logger()


class _TooMany(Exception):
    """The budget is spent: wait, and no audit row."""


class _Refused(Exception):
    """An answer of RFC 6749 §5.2 before authlib was asked."""

    def __init__(self, error: str, status: int = 400) -> None:
        self.decision = Decision(status, {"error": error})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationServer:
    """Issues tokens for the management API, and says whose they are."""

    issuer: str
    store: Store
    signer: TokenSigner
    keys: SigningKeys
    clock: Clock
    randomness: Randomness
    budget: FailureBudget
    validator: TokenValidator

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return (
            Route(TOKEN_PATH, self._token, methods=[HTTPMethod.POST]),
            Route(JWKS_PATH, self._jwks, methods=[HTTPMethod.GET]),
            Route(METADATA_PATH, self._metadata, methods=[HTTPMethod.GET]),
        )

    async def principal(self, token: str) -> Principal | TokenFault:
        """Raises StoreUnavailable."""
        return await self.validator.principal(token)

    async def _token(self, request: Request) -> Response:
        source = request.client.host if request.client else "unknown"
        try:
            return await self._answered(request, source)
        except _TooMany:
            return _answer(Decision(429, {"error": "temporarily_unavailable"}), retry_after=60)
        except StoreUnavailable:
            return _answer(Decision(503, {"error": "temporarily_unavailable"}), retry_after=5)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 -- outermost frame: a signer's errors are an adapter's
            # TRY400: a traceback could show a secret; the type says enough.
            log.error("token_not_issued", error=type(error).__name__)  # noqa: TRY400 -- as above
            return _answer(Decision(503, {"error": "temporarily_unavailable"}), retry_after=5)

    async def _answered(self, request: Request, source: str) -> Response:
        client: OAuthClient | None = None
        client_id: str | None = None
        if self.budget.is_spent(source):  # 1
            raise _TooMany
        try:
            asked, client_id = await self._parsed(request)  # 2
            if self.budget.is_spent(source, client_id or ""):
                raise _TooMany
            async with self.store.reading() as work:  # 3
                client = await work.oauth_clients.by_id(client_id) if client_id else None
            decision = await asyncio.to_thread(decide, asked, client)  # 4
        except _Refused as refused:
            decision = refused.decision
        now = self.clock.now()
        body = dict(decision.body)
        if decision.granted and client is not None:
            body["access_token"] = await self._signed(client.client_id, decision.scopes, now)  # 5
        else:
            self.budget.spend(source, client_id or "")
        await self._audit(decision, client, source, now)  # 6
        return _answer(Decision(decision.status, body))  # 7

    async def _parsed(self, request: Request) -> tuple[TokenRequest, str | None]:
        if request.url.query:  # RFC 9700: nothing of this belongs into a query string
            raise _Refused("invalid_request")
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
            raise _Refused("invalid_request")
        form = _form(await _body(request))
        headers = request.headers.getlist("authorization")
        # Secrets come by Basic only; a second way beside it is refused too (RFC 6749 §2.3).
        if len(headers) > 1 or not form.keys() <= {"grant_type", "scope"}:
            raise _Refused("invalid_request")
        client_id, authorization = _basic(headers[0] if headers else "")
        uri = self.issuer + TOKEN_PATH
        return TokenRequest(uri=uri, form=form, authorization=authorization), client_id

    async def _signed(self, client_id: str, scopes: frozenset[Scope], now: datetime) -> str:
        kid = await self.signer.current_kid()
        issued_at = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "sub": client_id,
            "client_id": client_id,
            "aud": AUDIENCE,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + int(TOKEN_PERIOD.total_seconds()),
            "jti": str(self.randomness.uuid()),
            "scope": " ".join(sorted(scopes)),
        }
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": kid}
        signing_input = f"{_segment(header)}.{_segment(claims)}"
        signature = await self.signer.sign(signing_input.encode(), kid=kid)
        # Known from now on: the token is good also when Vault is away at its first use.
        await self.keys.by_kid(kid)
        return f"{signing_input}.{_base64url(signature)}"

    async def _audit(
        self, decision: Decision, client: OAuthClient | None, source: str, now: datetime
    ) -> None:
        """Before the answer: a token that nobody recorded never leaves."""
        record = AuditRecord(
            at=now,
            actor=f"client:{client.client_id}" if client and decision.granted else "anonymous",
            action=AuditAction.TOKEN_ISSUE,
            subject=f"client:{client.client_id}" if client else "client:unknown",
            outcome=Outcome.SUCCESS if decision.granted else Outcome.REFUSED,
            reason=None if decision.granted else str(decision.body["error"]),
            details={"source": source, "scope": " ".join(sorted(decision.scopes))},
        )
        async with self.store.writing() as work:
            await work.audit.add(record)
            await work.commit()

    async def _jwks(self, request: Request) -> Response:
        del request
        return JSONResponse(await self.keys.jwks(), headers={"Cache-Control": "max-age=60"})

    async def _metadata(self, request: Request) -> Response:
        """RFC 8414. Only what is there is announced."""
        del request
        return JSONResponse(
            {
                "issuer": self.issuer,
                "token_endpoint": self.issuer + TOKEN_PATH,
                "jwks_uri": self.issuer + JWKS_PATH,
                "scopes_supported": [scope.value for scope in Scope],
                "response_types_supported": [],
                "grant_types_supported": [GRANT_TYPE],
                "token_endpoint_auth_methods_supported": list(CLIENT_AUTH_METHODS),
            }
        )


def authorization_server(
    *, issuer: str, store: Store, signer: TokenSigner, clock: Clock, randomness: Randomness
) -> AuthorizationServer:
    """The server with its parts. `issuer` is an https URL without path, query or trailing slash."""
    keys = SigningKeys(signer, clock)
    return AuthorizationServer(
        issuer=issuer,
        store=store,
        signer=signer,
        keys=keys,
        clock=clock,
        randomness=randomness,
        budget=FailureBudget(),
        validator=TokenValidator(issuer=issuer, keys=keys, store=store, clock=clock),
    )


def _answer(decision: Decision, *, retry_after: int | None = None) -> Response:
    headers = dict(_HEADERS)
    if decision.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="csms", charset="UTF-8"'
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return JSONResponse(dict(decision.body), decision.status, headers)


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAXIMUM_BODY:
            raise _Refused("invalid_request", 413)
    return body


def _form(body: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAXIMUM_FIELDS,
        )
    except ValueError:
        raise _Refused("invalid_request") from None
    form = dict(pairs)
    if len(form) != len(pairs) or "grant_type" not in form:  # RFC 6749 §3.2: no parameter twice
        raise _Refused("invalid_request")
    return form


def _basic(authorization: str) -> tuple[str | None, str]:
    """The client id to look for, and the header for authlib: empty when it is no Basic credential.

    Both halves are form-encoded inside (RFC 6749 §2.3.1).
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None, ""
    try:
        text = base64.b64decode(token.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None, ""
    user, colon, _ = text.partition(":")
    client_id = unquote_plus(user)
    if not colon or _CLIENT_ID.fullmatch(client_id) is None:
        return None, ""
    return client_id, authorization


def _segment(value: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
