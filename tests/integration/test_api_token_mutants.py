"""F01-F06: tokens that differ from a good one in one thing each, on one route: all refused."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from csms.domain.access import Scope
from csms.domain.audit import AuditAction, Outcome
from csms.oauth.validation import TokenFault
from tests.fixtures.api_room import ApiRoom, LocalSigner, raw_signature, room

Json = dict[str, Any]
STRANGER = ec.generate_private_key(ec.SECP256R1())


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def encoded(value: Any) -> str:
    return b64(json.dumps(value).encode())


def parts(token: str) -> tuple[Json, Json, str]:
    header, payload, signature = token.split(".")
    return decoded(header), decoded(payload), signature


def decoded(text: str) -> Json:
    value: Json = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return value


def signed(signer: LocalSigner, header: Json, claims: Any) -> str:
    """By our own key: wrong for its content alone."""
    signing_input = f"{encoded(header)}.{encoded(claims)}"
    return f"{signing_input}.{b64(raw_signature(signer.keys['1'], signing_input.encode()))}"


def header_of(**changes: Any) -> Callable[[LocalSigner, str], str]:
    def mutate(signer: LocalSigner, token: str) -> str:
        header, claims, _ = parts(token)
        return signed(signer, merged(header, changes), claims)

    return mutate


def claims_of(**changes: Any) -> Callable[[LocalSigner, str], str]:
    def mutate(signer: LocalSigner, token: str) -> str:
        header, claims, _ = parts(token)
        return signed(signer, header, merged(claims, changes))

    return mutate


def shifted(**seconds: float) -> Callable[[LocalSigner, str], str]:
    def mutate(signer: LocalSigner, token: str) -> str:
        header, claims, _ = parts(token)
        moved = {name: claims["iat"] + by for name, by in seconds.items()}
        return signed(signer, header, claims | moved)

    return mutate


def merged(value: Json, changes: Json) -> Json:
    """None takes the member away."""
    both = value | changes
    return {name: one for name, one in both.items() if one is not None}


def none_alg(_: LocalSigner, token: str) -> str:
    header, claims, _signature = parts(token)
    return f"{encoded(header | {'alg': 'none'})}.{encoded(claims)}."


def none_alg_signed(signer: LocalSigner, token: str) -> str:
    header, claims, signature = parts(token)
    return f"{encoded(header | {'alg': 'none'})}.{encoded(claims)}.{signature}"


def hmac_with_the_public_key(signer: LocalSigner, token: str) -> str:
    header, claims, _ = parts(token)
    public = signer.keys["1"].public_key()
    secret = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signing_input = f"{encoded(header | {'alg': 'HS256'})}.{encoded(claims)}"
    return f"{signing_input}.{b64(hmac.digest(secret, signing_input.encode(), hashlib.sha256))}"


def by_a_stranger(_: LocalSigner, token: str) -> str:
    signing_input = token.rpartition(".")[0]
    return f"{signing_input}.{b64(raw_signature(STRANGER, signing_input.encode()))}"


def by_a_stranger_with_his_key_inside(_: LocalSigner, token: str) -> str:
    header, claims, _signature = parts(token)
    numbers = STRANGER.public_key().public_numbers()
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": b64(numbers.x.to_bytes(32, "big")),
        "y": b64(numbers.y.to_bytes(32, "big")),
    }
    signing_input = f"{encoded(header | {'jwk': jwk})}.{encoded(claims)}"
    return f"{signing_input}.{b64(raw_signature(STRANGER, signing_input.encode()))}"


def der_signature(signer: LocalSigner, token: str) -> str:
    from cryptography.hazmat.primitives import hashes

    signing_input = token.rpartition(".")[0]
    value = signer.keys["1"].sign(signing_input.encode(), ec.ECDSA(hashes.SHA256()))
    return f"{signing_input}.{b64(value)}"


def other_last_bits(_: LocalSigner, token: str) -> str:
    """The last character has spare bits: another spelling of the same signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def without_claims(signer: LocalSigner, token: str) -> str:
    return signed(signer, parts(token)[0], [])


def duplicate_member_in_header(signer: LocalSigner, token: str) -> str:
    _, claims, _ = parts(token)
    header = b64(b'{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"1"}')
    signing_input = f"{header}.{encoded(claims)}"
    return f"{signing_input}.{b64(raw_signature(signer.keys['1'], signing_input.encode()))}"


F = TokenFault
MUTANTS: dict[str, tuple[Callable[[LocalSigner, str], str], TokenFault]] = {
    "alg none, no signature": (none_alg, F.MALFORMED),
    "alg none, old signature": (none_alg_signed, F.ALGORITHM),
    "alg HS256 keyed with our public key": (hmac_with_the_public_key, F.ALGORITHM),
    "alg ES384": (header_of(alg="ES384"), F.ALGORITHM),
    "alg in small letters": (header_of(alg="es256"), F.ALGORITHM),
    "alg missing": (header_of(alg=None), F.HEADER),
    "typ missing": (header_of(typ=None), F.HEADER),
    "typ JWT": (header_of(typ="JWT"), F.TYPE),
    "typ of an ID token": (header_of(typ="id_token+jwt"), F.TYPE),
    "kid missing": (header_of(kid=None), F.HEADER),
    "kid unknown": (header_of(kid="99"), F.KEY),
    "kid a path": (header_of(kid="../../1"), F.KEY),
    "kid SQL": (header_of(kid="1' OR '1'='1"), F.KEY),
    "kid a number": (header_of(kid=1), F.HEADER),
    "crit unknown": (header_of(crit=["b64"], b64=False), F.HEADER),
    "jku": (header_of(jku="https://evil.example/jwks.json"), F.HEADER),
    "x5u": (header_of(x5u="https://evil.example/chain.pem"), F.HEADER),
    "x5c": (header_of(x5c=["MIIB"]), F.HEADER),
    "jwk of the signer": (by_a_stranger_with_his_key_inside, F.HEADER),
    "header member twice": (duplicate_member_in_header, F.MALFORMED),
    "another key": (by_a_stranger, F.SIGNATURE),
    "signature in DER": (der_signature, F.SIGNATURE),
    "signature cut short": (lambda _, token: token[:-6], F.SIGNATURE),
    "signature spelt otherwise": (other_last_bits, F.MALFORMED),
    "signature missing": (lambda _, token: token.rpartition(".")[0] + ".", F.MALFORMED),
    "padding": (lambda _, token: token + "==", F.MALFORMED),
    "two tokens": (lambda _, token: f"{token}.{token}", F.MALFORMED),
    "five parts, as JWE": (lambda _, token: f"{token}.a.b", F.MALFORMED),
    "no token at all": (lambda _, __: "abc", F.MALFORMED),
    "oversized": (claims_of(jti="x" * 5000), F.MALFORMED),
    "claims no object": (without_claims, F.SIGNATURE),
    "iss of another environment": (claims_of(iss="https://csms.other:8443"), F.ISSUER),
    "iss with a slash": (claims_of(iss="https://csms.test:8443/"), F.ISSUER),
    "iss missing": (claims_of(iss=None), F.CLAIMS),
    "aud of another API": (claims_of(aud="urn:other:api"), F.AUDIENCE),
    "aud a list with ours": (claims_of(aud=["urn:csms:api", "urn:other:api"]), F.AUDIENCE),
    "aud missing": (claims_of(aud=None), F.CLAIMS),
    "exp missing": (claims_of(exp=None), F.CLAIMS),
    "exp a string": (claims_of(exp="9999999999"), F.CLAIMS),
    "exp a float": (claims_of(exp=9999999999.5), F.CLAIMS),
    "exp not a number": (claims_of(exp=float("nan")), F.CLAIMS),
    "exp true": (claims_of(exp=True), F.CLAIMS),
    "exp now": (shifted(exp=0), F.EXPIRED),
    "exp far away": (shifted(exp=86_400), F.LIFETIME),
    "nbf missing": (claims_of(nbf=None), F.CLAIMS),
    "nbf in the future": (shifted(nbf=120), F.NOT_YET_VALID),
    "iat missing": (claims_of(iat=None), F.CLAIMS),
    "iat in the future": (shifted(iat=120), F.NOT_YET_VALID),
    "jti missing": (claims_of(jti=None), F.CLAIMS),
    "sub missing": (claims_of(sub=None), F.CLAIMS),
    "sub somebody else": (claims_of(sub="somebody"), F.CLAIMS),
    "client_id unknown": (claims_of(client_id="nobody", sub="nobody"), F.CLIENT),
    "client_id a list": (claims_of(client_id=["a"], sub=["a"]), F.CLAIMS),
    "scope missing": (claims_of(scope=None), F.CLAIMS),
    "scope unknown": (claims_of(scope="stations:read everything"), F.SCOPE),
    "scope a list": (claims_of(scope=["stations:read"]), F.CLAIMS),
    "a claim more": (claims_of(admin=True), F.CLAIMS),
}


def test_the_token_that_the_mutants_come_from_is_good(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        assert (await api.call("GET", "/stations", token=token)).status_code == 200
        header, claims, _ = parts(token)
        again = signed(api.signer, header, claims)
        assert (await api.call("GET", "/stations", token=again)).status_code == 200

    room(sqlite_store_url, scene)


def test_every_mutant_is_refused_for_its_own_reason(sqlite_store_url: str) -> None:
    """401 with the same words for all; what was wrong is for the audit log only."""
    assert len(MUTANTS) >= 40

    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        found: dict[str, TokenFault] = {}
        bodies = set()
        for name, (mutate, _) in MUTANTS.items():
            mutant = mutate(api.signer, token)
            fault = await api.tokens.principal(mutant)
            assert isinstance(fault, TokenFault), name
            found[name] = fault
            answer = await api.call("GET", "/stations", token=mutant)
            assert answer.status_code == 401, name
            assert 'error="invalid_token"' in answer.headers["www-authenticate"], name
            bodies.add(answer.content)
        assert found == {name: fault for name, (_, fault) in MUTANTS.items()}
        assert len(bodies) == 1

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "\u00e9.\u00e9.\u00e9",
        "e30.e30.AA",
        "W10.e30.AA",
        "bnVsbA.e30.AA",
        "_w.e30.AA",
        f"{b64(b'[' * 1500)}.e30.AA",
        f"{b64(b'{' * 1500)}.e30.AA",
        "a b.c.d",
        "\0.\0.\0",
        "A" * 5000,
    ],
)
def test_noise_is_a_malformed_token_or_header_and_never_an_error(
    sqlite_store_url: str, text: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        assert await api.tokens.principal(text) in {TokenFault.MALFORMED, TokenFault.HEADER}

    room(sqlite_store_url, scene)


def test_every_fault_has_a_mutant() -> None:
    assert {fault for _, fault in MUTANTS.values()} == set(TokenFault)


@pytest.mark.parametrize("seconds", [299, 300])
def test_a_token_ends_when_it_says(sqlite_store_url: str, seconds: int) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        api.house.clock.pass_time(timedelta(seconds=seconds))
        answer = await api.call("GET", "/stations", token=token)
        assert answer.status_code == (200 if seconds < 300 else 401)

    room(sqlite_store_url, scene)


def test_a_removed_clients_token_is_refused_at_once(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        client, secret = await api.client(Scope.STATIONS_READ)
        token = (await api.ask_token((client.client_id, secret))).json()["access_token"]
        assert (await api.call("GET", "/stations", token=token)).status_code == 200
        answer = await api.call("DELETE", f"/oauth-clients/{client.client_id}")
        assert answer.status_code == 204
        assert (await api.call("GET", "/stations", token=token)).status_code == 401
        entries = await api.audited(AuditAction.API_ACCESS)
        assert [entry.record.reason for entry in entries] == [TokenFault.CLIENT.value]
        assert entries[0].record.outcome is Outcome.REFUSED

    room(sqlite_store_url, scene)


def test_unknown_key_names_do_not_make_us_fetch_again_and_again(sqlite_store_url: str) -> None:
    """F08: one fetch in ten seconds, however many tokens ask for it."""

    async def scene(api: ApiRoom) -> None:
        token = await api.token(Scope.STATIONS_READ)
        await api.tokens.principal(token)
        fetches = api.signer.fetches
        for number in range(50):
            await api.tokens.principal(header_of(kid=f"k{number}")(api.signer, token))
        assert api.signer.fetches == fetches
        api.house.clock.pass_time(timedelta(seconds=11))
        await api.tokens.principal(header_of(kid="one more")(api.signer, token))
        assert api.signer.fetches == fetches + 1

    room(sqlite_store_url, scene)
