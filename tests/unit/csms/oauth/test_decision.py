"""The decision about a token, without any I/O."""

import base64
import hashlib
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from csms.domain.access import Scope
from csms.oauth.decision import TOKEN_PERIOD, Decision, TokenRequest, decide
from csms.ports.records import OAuthClient

SECRET = "p%3Ass:word +/="
CLIENT = OAuthClient(
    client_id="the client",
    name="a tool",
    scopes=frozenset({Scope.STATIONS_READ, Scope.AUDIT_READ}),
    roles=(),
    secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
    created_at=datetime(2026, 11, 23, tzinfo=UTC),
)


def ask(client: OAuthClient | None = CLIENT, secret: str = SECRET, **form: str) -> Decision:
    """Form-encoded inside Basic, as RFC 6749 §2.3.1 wants it."""
    pair = f"{quote(CLIENT.client_id, safe='')}:{quote(secret, safe='')}"
    request = TokenRequest(
        uri="https://csms.test/oauth/token",
        form={"grant_type": "client_credentials"} | form,
        authorization=f"Basic {base64.b64encode(pair.encode()).decode()}",
    )
    return decide(request, client)


def test_the_right_secret_gets_what_the_client_holds() -> None:
    decision = ask()
    assert decision.granted
    assert decision.scopes == CLIENT.scopes
    assert decision.body == {
        "token_type": "Bearer",
        "expires_in": TOKEN_PERIOD.total_seconds(),
        "scope": "audit:read stations:read",
    }


def test_less_may_be_asked_for() -> None:
    assert ask(scope="audit:read").scopes == {Scope.AUDIT_READ}


@pytest.mark.parametrize("scope", ["clients:manage", "audit:read clients:manage", "x", "", " "])
def test_more_may_not(scope: str) -> None:
    decision = ask(scope=scope)
    assert (decision.status, decision.body) == (400, {"error": "invalid_scope"})
    assert decision.scopes == frozenset()


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + " ", SECRET.upper(), "\0"])
def test_a_wrong_secret_and_no_client_are_the_same(secret: str) -> None:
    wrong, unknown = ask(secret=secret), ask(client=None)
    assert wrong == unknown == Decision(401, {"error": "invalid_client"})


def test_the_secret_of_nobody_does_not_exist() -> None:
    """The digest that stands in for an unknown client's is no back door."""
    for secret in ("", "0" * 64):
        assert not ask(client=None, secret=secret).granted


@pytest.mark.parametrize(
    "grant_type", ["password", "authorization_code", "refresh_token", "", "CLIENT_CREDENTIALS"]
)
def test_there_is_one_grant(grant_type: str) -> None:
    decision = ask(grant_type=grant_type)
    assert (decision.status, decision.body) == (400, {"error": "unsupported_grant_type"})


def test_a_request_does_not_print_its_secret() -> None:
    request = TokenRequest(uri="https://x", form={"a": SECRET}, authorization=SECRET)
    assert SECRET not in repr(request)
