"""The embedded authorization server: who gets a token, and what it says."""

import base64
import json
from datetime import timedelta

import pytest
from authlib.oauth2.rfc8414 import (  # type: ignore[import-untyped]  # authlib ships no types
    AuthorizationServerMetadata,
)

from csms.domain.access import Scope
from csms.domain.audit import AuditAction, Outcome
from csms.oauth.budget import FAILURES_PER_CLIENT, FAILURES_PER_SOURCE
from tests.fixtures.api_room import ISSUER, ApiRoom, room


def claims_of(token: str) -> tuple[dict[str, object], dict[str, object]]:
    header, payload, _ = token.split(".")
    decoded: list[dict[str, object]] = [
        json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        for part in (header, payload)
    ]
    return decoded[0], decoded[1]


def test_a_client_gets_a_short_token_for_what_it_asked(sqlite_store_url: str) -> None:
    """RFC 9068: at+jwt, ES256, our issuer, one audience, at most ten minutes."""

    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ, Scope.AUDIT_READ)
        answer = await api.ask_token((client.client_id, secret), scope="stations:read")
        assert answer.status_code == 200
        body = answer.json()
        assert body["token_type"] == "Bearer"
        assert body["scope"] == "stations:read"
        assert 0 < body["expires_in"] <= 600
        assert answer.headers["cache-control"] == "no-store"
        header, claims = claims_of(body["access_token"])
        assert header == {"alg": "ES256", "typ": "at+jwt", "kid": "1"}
        now = int(api.house.clock.now().timestamp())
        assert claims["jti"]
        del claims["jti"]
        assert claims == {
            "iss": ISSUER,
            "sub": client.client_id,
            "client_id": client.client_id,
            "aud": "urn:csms:api",
            "iat": now,
            "nbf": now,
            "exp": now + body["expires_in"],
            "scope": "stations:read",
        }
        (entry,) = await api.audited(AuditAction.TOKEN_ISSUE)
        assert entry.record.outcome is Outcome.SUCCESS
        assert entry.record.actor == f"client:{client.client_id}"
        text = await api.everything_audited()
        assert secret not in text
        assert body["access_token"] not in text

    room(sqlite_store_url, scene)


def test_without_a_scope_parameter_the_token_has_all_the_client_holds(
    sqlite_store_url: str,
) -> None:
    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ, Scope.AUDIT_READ)
        answer = await api.ask_token((client.client_id, secret))
        assert answer.json()["scope"] == "audit:read stations:read"

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    "scope",
    ["stations:write", "stations:read stations:write", "nonsense", "", "stations:read  audit:read"],
)
def test_a_scope_beyond_the_clients_own_is_refused_not_dropped(
    sqlite_store_url: str, scope: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ)
        answer = await api.ask_token((client.client_id, secret), scope=scope)
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_scope"})
        (entry,) = await api.audited(AuditAction.TOKEN_ISSUE)
        assert (entry.record.outcome, entry.record.reason) == (Outcome.REFUSED, "invalid_scope")

    room(sqlite_store_url, scene)


def test_an_unknown_client_and_a_wrong_secret_are_told_the_same(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        client, _ = await api.client(Scope.STATIONS_READ)
        wrong = await api.ask_token((client.client_id, "wrong"))
        unknown = await api.ask_token(("nobody", "wrong"))
        nothing = await api.ask_token(None)
        for answer in (wrong, unknown, nothing):
            assert answer.status_code == 401
            assert answer.json() == {"error": "invalid_client"}
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert answer.headers["cache-control"] == "no-store"
        assert wrong.headers.raw == unknown.headers.raw

    room(sqlite_store_url, scene)


def test_the_secret_comes_by_basic_only(sqlite_store_url: str) -> None:
    """client_secret_post, a query string, a second method beside Basic: refused."""

    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ)
        form = {"client_id": client.client_id, "client_secret": secret}
        assert (await api.ask_token(None, **form)).status_code == 400
        assert (await api.ask_token((client.client_id, secret), **form)).status_code == 400
        data = {"grant_type": "client_credentials"}
        answer = await api.http.post(
            "/oauth/token?scope=stations:read", data=data, auth=(client.client_id, secret)
        )
        assert answer.status_code == 400

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("content", "media_type", "error"),
    [
        (b"grant_type=password", "application/x-www-form-urlencoded", "unsupported_grant_type"),
        (b"scope=stations:read", "application/x-www-form-urlencoded", "invalid_request"),
        (
            b"grant_type=client_credentials&grant_type=client_credentials",
            "application/x-www-form-urlencoded",
            "invalid_request",
        ),
        (
            b"grant_type=client_credentials&scope=a&scope=b",
            "application/x-www-form-urlencoded",
            "invalid_request",
        ),
        (b'{"grant_type":"client_credentials"}', "application/json", "invalid_request"),
        (b"grant_type=\xff", "application/x-www-form-urlencoded", "invalid_request"),
        (b"a&b&c", "application/x-www-form-urlencoded", "invalid_request"),
        (b"&".join([b"a=b"] * 50), "application/x-www-form-urlencoded", "invalid_request"),
        (b"grant_type=" + b"x" * 5000, "application/x-www-form-urlencoded", "invalid_request"),
        (b"", "application/x-www-form-urlencoded", "invalid_request"),
    ],
)
def test_a_malformed_request_is_refused(
    sqlite_store_url: str, content: bytes, media_type: str, error: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ)
        answer = await api.http.post(
            "/oauth/token",
            content=content,
            headers={"Content-Type": media_type},
            auth=(client.client_id, secret),
        )
        assert answer.status_code in {400, 413}
        assert answer.json() == {"error": error}

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic /w==",
        "Bearer abc",
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Digest x",
    ],
)
def test_a_malformed_credential_is_an_invalid_client(
    sqlite_store_url: str, authorization: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.http.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": authorization},
        )
        assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})

    room(sqlite_store_url, scene)


def test_a_client_that_fails_too_often_from_one_source_has_to_wait(sqlite_store_url: str) -> None:
    """Even the right secret waits then, and nothing more is audited."""

    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ)
        for _ in range(FAILURES_PER_CLIENT):
            assert (await api.ask_token((client.client_id, "wrong"))).status_code == 401
        answer = await api.ask_token((client.client_id, secret))
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "60"
        assert len(await api.audited(AuditAction.TOKEN_ISSUE)) == FAILURES_PER_CLIENT
        # Nobody else behind that address is locked out by it (A09).
        other, its_secret = await api.client(Scope.STATIONS_READ)
        assert (await api.ask_token((other.client_id, its_secret))).status_code == 200

    room(sqlite_store_url, scene)


def test_a_source_that_tries_many_clients_has_to_wait_altogether(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for number in range(FAILURES_PER_SOURCE):
            assert (await api.ask_token((f"client-{number}", "x"))).status_code == 401
        client, secret = await api.client(Scope.STATIONS_READ)
        assert (await api.ask_token((client.client_id, secret))).status_code == 429

    room(sqlite_store_url, scene)


def test_success_costs_no_budget(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ)
        for _ in range(FAILURES_PER_CLIENT + 2):
            assert (await api.ask_token((client.client_id, secret))).status_code == 200

    room(sqlite_store_url, scene)


def test_metadata_announces_what_is_there(sqlite_store_url: str) -> None:
    """RFC 8414; authlib's own check of it agrees."""

    async def scene(api: ApiRoom) -> None:
        answer = await api.http.get("/.well-known/oauth-authorization-server")
        found = answer.json()
        assert found["issuer"] == ISSUER
        assert found["token_endpoint_auth_methods_supported"] == ["client_secret_basic"]
        assert found["grant_types_supported"] == ["client_credentials"]
        assert set(found["scopes_supported"]) == {scope.value for scope in Scope}
        document = AuthorizationServerMetadata(found)
        document.validate_issuer()
        document.validate_token_endpoint()
        document.validate_jwks_uri()
        for name in ("token_endpoint", "jwks_uri"):
            assert found[name].startswith(ISSUER)
            answer = await api.http.get(found[name])
            assert answer.status_code in {200, 405}

    room(sqlite_store_url, scene)


def test_the_jwks_shows_public_halves_only(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        keys = (await api.http.get("/oauth/jwks.json")).json()["keys"]
        assert [key["kid"] for key in keys] == ["1"]
        assert all("d" not in key for key in keys)

    room(sqlite_store_url, scene)


def test_tokens_of_both_versions_hold_after_a_key_rotation(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        old = await api.token(Scope.STATIONS_READ)
        assert (await api.call("GET", "/stations", token=old)).status_code == 200
        api.signer.rotate()
        api.house.clock.pass_time(timedelta(seconds=20))
        new = await api.token(Scope.STATIONS_READ)
        assert claims_of(new)[0]["kid"] == "2"
        for token in (old, new):
            assert (await api.call("GET", "/stations", token=token)).status_code == 200

    room(sqlite_store_url, scene)


def test_known_tokens_hold_while_the_signer_is_away_and_new_ones_do_not_come(
    sqlite_store_url: str,
) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        assert (await api.call("GET", "/stations", token=token)).status_code == 200
        api.signer.away = True
        api.house.clock.pass_time(timedelta(minutes=2))
        assert (await api.call("GET", "/stations", token=token)).status_code == 200
        client, secret = await api.client(Scope.STATIONS_READ)
        answer = await api.ask_token((client.client_id, secret))
        assert answer.status_code == 503
        assert answer.json() == {"error": "temporarily_unavailable"}

    room(sqlite_store_url, scene)


def test_a_token_holds_that_was_not_used_before_the_signer_went_away(
    sqlite_store_url: str,
) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        api.signer.away = True
        assert (await api.call("GET", "/stations", token=token)).status_code == 200

    room(sqlite_store_url, scene)


def test_while_no_key_is_known_the_api_says_so(sqlite_store_url: str) -> None:
    """A token of the last run, and a start while Vault is sealed."""

    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        api.tokens.keys._keys, api.tokens.keys._fetched_at = {}, None
        api.signer.away = True
        answer = await api.call("GET", "/stations", token=token)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]

    room(sqlite_store_url, scene)
