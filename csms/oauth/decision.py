"""May this client have this token? RFC 6749 §4.4 by authlib, without any I/O.

The client's row is loaded before and handed in; what comes out is the answer still without the
access token, which the caller signs and adds. Where authlib is softer than we want to be,
the subclasses below say so and why.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final

from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]  # authlib ships no types
    AuthorizationServer,
    ClientMixin,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Request,
    grants,
)
from authlib.oauth2.rfc6749.requests import (  # type: ignore[import-untyped]  # as above
    BasicOAuth2Payload,
)

from csms.domain.access import Scope
from csms.ports.records import OAuthClient

# F05, RFC 9700: short. Ten minutes are promised at most.
TOKEN_PERIOD: Final = timedelta(minutes=5)
GRANT_TYPE: Final = "client_credentials"
CLIENT_AUTH_METHODS: Final = ("client_secret_basic",)
_NO_SECRET: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of the token endpoint, and whether a token goes with it."""

    status: int
    body: Mapping[str, Any]
    scopes: frozenset[Scope] = frozenset()

    @property
    def granted(self) -> bool:
        return self.status == 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One request, parsed: `authorization` is the header or empty."""

    uri: str
    form: Mapping[str, str] = field(repr=False)
    authorization: str = field(repr=False)


def decide(request: TokenRequest, client: OAuthClient | None) -> Decision:
    """`client` is the row of the id in `authorization`, or None when there is no such row."""
    asked = OAuth2Request("POST", request.uri, headers={"Authorization": request.authorization})
    asked.payload = BasicOAuth2Payload(dict(request.form))
    answer: Decision = _Server(client).create_token_response(asked)
    return answer


class _Client(ClientMixin):  # type: ignore[misc]  # an untyped base
    """A row in authlib's words. Without a row every secret is wrong, and takes as long to be."""

    def __init__(self, row: OAuthClient | None) -> None:
        self.row = row

    def check_client_secret(self, client_secret: str) -> bool:
        digest = hashlib.sha256(client_secret.encode()).hexdigest()
        expected = self.row.secret_sha256 if self.row else _NO_SECRET
        return hmac.compare_digest(digest, expected) and self.row is not None

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return endpoint == "token" and method in CLIENT_AUTH_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == GRANT_TYPE


class _Grant(grants.ClientCredentialsGrant):  # type: ignore[misc]  # an untyped base
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar = list(CLIENT_AUTH_METHODS)

    def validate_requested_scope(self) -> None:
        """Authlib drops what a client may not have; RFC 6749 §5.2 has a word for it instead."""
        requested = self.request.payload.scope
        held = {scope.value for scope in self.request.client.row.scopes}
        # RFC 6749 §3.3: without a request, everything the client was registered for.
        names = held if requested is None else set(requested.split(" "))
        if not names or not names <= held:
            raise InvalidScopeError
        self.request.scope = " ".join(sorted(names))

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        body = {
            "token_type": "Bearer",
            "expires_in": int(TOKEN_PERIOD.total_seconds()),
            "scope": self.request.scope,
        }
        return 200, body, []


class _Server(AuthorizationServer):  # type: ignore[misc]  # an untyped base
    """authlib's server for exactly one request."""

    def __init__(self, row: OAuthClient | None) -> None:
        super().__init__(scopes_supported=[scope.value for scope in Scope])
        self._client = _Client(row)
        self.register_grant(_Grant)

    def query_client(self, client_id: str) -> _Client:
        del client_id  # the row was found by it
        return self._client

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """No framework listens."""

    def handle_response(self, status: int, body: dict[str, Any], headers: object) -> Decision:
        del headers  # the endpoint writes its own, on every answer
        scopes = frozenset(Scope(name) for name in body.get("scope", "").split())
        return Decision(status, body, scopes if status == 200 else frozenset())

    def handle_error_response(self, request: OAuth2Request, error: OAuth2Error) -> Decision:
        """The bare code: authlib's descriptions tell an unknown client from a wrong secret."""
        del request
        return Decision(error.status_code, {"error": error.error})
