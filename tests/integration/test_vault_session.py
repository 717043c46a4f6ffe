"""A role's session with the real server: tokens come and go, the server is sealed or gone."""

import asyncio
import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.exceptions import InvalidSignature
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from structlog.testing import capture_logs

from csms.adapters.vault import (
    Role,
    TransitAuditSigner,
    TransitTokenSigner,
    VaultConnection,
    VaultRefused,
    VaultRejected,
    VaultSession,
    VaultSettings,
    VaultUnavailable,
    read_pepper,
)
from tests.fixtures.vault import TestVault, start_openbao


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestVault]:
    """A server that may be sealed and stopped."""
    with start_openbao(tmp_path_factory.mktemp("own")) as running:
        yield running


class Clock:
    """A monotonic clock that tests turn."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.offset


def with_session(
    identity: VaultSettings,
    use: Callable[[VaultSession], Coroutine[None, None, None]],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    async def main() -> None:
        async with VaultSession(identity, monotonic=clock) as session:
            await use(session)

    asyncio.run(main())


def logins(logs: Sequence[Mapping[str, object]]) -> int:
    return sum(entry["event"] == "vault_logged_in" for entry in logs)


def requests_to(vault: TestVault, path: str) -> int:
    lines = [json.loads(line) for line in vault.server.audit_file.read_text().splitlines()]
    return sum(line["type"] == "request" and line["request"]["path"] == path for line in lines)


PEPPER = "csms/data/pepper"


def test_the_pepper_is_read_and_its_repr_shows_nothing(vault: TestVault) -> None:
    async def use(session: VaultSession) -> None:
        peppers = await read_pepper(session)
        assert peppers.current == 1
        assert len(peppers.by_version[1]) == 32
        assert repr(peppers) == "Peppers(current=1)"

    for role in (Role.GATEWAY, Role.API):
        with_session(vault.credentials(role), use)


@pytest.mark.parametrize(
    "broken",
    [
        {"versions": {"1": "AAAA"}, "current": 1},
        {"versions": {"1": base64.b64encode(bytes(32)).decode()}, "current": 2},
        {"versions": {"1": "no base64 at all"}, "current": 1},
        {"versions": ["1"], "current": 1},
        {"current": 1},
    ],
)
def test_a_malformed_pepper_is_refused_without_being_quoted(
    own: TestVault, broken: dict[str, object]
) -> None:
    with own.administrator() as admin:
        answer = admin.read(PEPPER)
        assert answer is not None
        good = answer["data"]["data"]
        admin.write(PEPPER, {"data": broken})

        async def use(session: VaultSession) -> None:
            with pytest.raises(VaultRejected, match="pepper") as refused:
                await read_pepper(session)
            assert "AAAA" not in str(refused.value)
            assert refused.value.__cause__ is None

        try:
            with_session(own.credentials(Role.GATEWAY), use)
        finally:
            admin.write(PEPPER, {"data": good})


def test_concurrent_calls_share_one_login(vault: TestVault) -> None:
    async def use(session: VaultSession) -> None:
        await asyncio.gather(*(session.read(PEPPER) for _ in range(40)))

    with capture_logs() as logs:
        with_session(vault.credentials(Role.GATEWAY), use)
    assert logins(logs) == 1


def test_a_lost_token_is_replaced_within_the_call(vault: TestVault) -> None:
    clock = Clock()

    async def use(session: VaultSession) -> None:
        await session.read(PEPPER)
        await session.write("auth/token/revoke-self", {})
        clock.offset += 2  # the back-off since the first login is over
        answers = await asyncio.gather(*(session.read(PEPPER) for _ in range(10)))
        assert all(answers)

    with capture_logs() as logs:
        with_session(vault.credentials(Role.GATEWAY), use, clock)
    assert logins(logs) == 2


def test_what_the_policy_does_not_grant_is_refused_without_a_login_storm(vault: TestVault) -> None:
    async def use(session: VaultSession) -> None:
        for _ in range(20):
            with pytest.raises(VaultRefused, match="permission denied"):
                await session.read("transit/keys/csms-root")
        assert await session.read(PEPPER)  # the session still works

    with capture_logs() as logs:
        with_session(vault.credentials(Role.GATEWAY), use)
    assert logins(logs) <= 2


def test_a_refused_login_waits_before_it_asks_again(vault: TestVault, tmp_path: Path) -> None:
    file = tmp_path / "secret-id"
    file.write_text("wrong")
    identity = replace(vault.credentials(Role.GATEWAY), secret_id_file=file)
    clock = Clock()
    before = requests_to(vault, "auth/approle/login")

    async def use(session: VaultSession) -> None:
        with pytest.raises(VaultRefused, match="refused the AppRole login"):
            await session.read(PEPPER)
        for _ in range(20):
            with pytest.raises(VaultRefused, match="waiting"):
                await session.read(PEPPER)
        # A rotated secret id file needs no restart.
        file.write_text(vault.credentials(Role.GATEWAY).secret_id_file.read_text())
        clock.offset += 2
        assert await session.read(PEPPER)

    with capture_logs() as logs:
        with_session(identity, use, clock)
    assert requests_to(vault, "auth/approle/login") - before <= 2
    assert "wrong" not in str(logs)


def test_a_missing_secret_id_file_is_named(vault: TestVault, tmp_path: Path) -> None:
    identity = replace(vault.credentials(Role.FILES), secret_id_file=tmp_path / "absent")

    async def use(session: VaultSession) -> None:
        with pytest.raises(VaultRefused, match="absent"):
            await session.read(PEPPER)

    with_session(identity, use)


def test_a_token_is_renewed_at_half_its_lease_and_replaced_after_it(vault: TestVault) -> None:
    clock = Clock()
    renew = "auth/token/renew-self"

    async def use(session: VaultSession) -> None:
        before = requests_to(vault, renew)
        await session.read(PEPPER)
        clock.offset += 9 * 60
        await session.read(PEPPER)
        assert requests_to(vault, renew) == before
        clock.offset += 2 * 60
        await session.read(PEPPER)
        await session.read(PEPPER)
        assert requests_to(vault, renew) == before + 1
        clock.offset += 21 * 60
        await session.read(PEPPER)
        assert requests_to(vault, renew) == before + 1

    with capture_logs() as logs:
        with_session(vault.credentials(Role.GATEWAY), use, clock)
    assert logins(logs) == 2


def test_a_closed_session_gives_its_token_back(vault: TestVault) -> None:
    kept: list[str] = []

    async def use(session: VaultSession) -> None:
        await session.read(PEPPER)
        kept.append(session._connection._client.token)

    with_session(vault.credentials(Role.GATEWAY), use)
    connection = VaultConnection(vault.addr, token=kept[0], ca_file=vault.ca_file)
    with pytest.raises(VaultRefused):
        connection.read(PEPPER)
    connection.close()


def test_the_environment_chooses_neither_token_nor_proxy(
    vault: TestVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vault.administrator() as admin:
        monkeypatch.setenv("VAULT_TOKEN", admin._client.token)
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/dev/null")
        connection = VaultConnection(vault.addr, ca_file=vault.ca_file)
        assert connection.health()["sealed"] is False
        with pytest.raises(VaultRefused):
            connection.read("sys/mounts")
        connection.close()


def test_a_server_of_another_authority_is_not_spoken_to(vault: TestVault, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    identity = replace(vault.credentials(Role.GATEWAY), ca_file=tmp_path / "other.pem")

    async def use(session: VaultSession) -> None:
        with pytest.raises(VaultUnavailable, match="SSLError"):
            await session.read(PEPPER)

    with_session(identity, use)


def test_a_server_that_never_answers_costs_its_deadline_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "secret-id").write_text("x")

    async def main(port: int) -> None:
        identity = VaultSettings(
            addr=f"http://127.0.0.1:{port}",
            role_id="x",
            secret_id_file=tmp_path / "secret-id",
        )
        session = VaultSession(identity, call_timeout=0.3)
        begun = time.monotonic()
        results = await asyncio.gather(
            *(session.read(PEPPER) for _ in range(10)), return_exceptions=True
        )
        # One waits for the login, the others behind it are told at once.
        assert time.monotonic() - begun < 1
        assert {type(result) for result in results} == {VaultUnavailable}
        await session.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(main(silent.getsockname()[1]))


def test_a_redirect_is_not_followed_with_our_token() -> None:
    asked: list[bytes] = []

    def redirect(server: socket.socket) -> None:
        with server.accept()[0] as peer:
            asked.append(peer.recv(4096))
            peer.sendall(
                b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/v1/x\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=redirect, args=(server,))
        thread.start()
        connection = VaultConnection(f"http://127.0.0.1:{server.getsockname()[1]}", token="t")
        with pytest.raises(VaultUnavailable, match="307"):
            connection.read("x")
        thread.join()
        connection.close()
    assert len(asked) == 1


def test_a_sealed_then_stopped_then_restarted_server(own: TestVault) -> None:
    """H01: unavailable, not refused; and the same session works again afterwards."""
    clock = Clock()

    async def main() -> None:
        async with VaultSession(own.credentials(Role.GATEWAY), monotonic=clock) as session:
            assert await session.read(PEPPER)
            with own.administrator() as admin:
                admin.write("sys/seal", {})
            with pytest.raises(VaultUnavailable, match="sealed"):
                await session.read(PEPPER)
            await own.server.stop()
            with pytest.raises(VaultUnavailable, match="a moment ago"):
                await session.read(PEPPER)  # it is not even asked
            clock.offset += 2
            with pytest.raises(VaultUnavailable, match="does not answer"):
                await session.read(PEPPER)
            await own.server.start(no_ceremony)
            clock.offset += 60
            assert await session.read(PEPPER)

    asyncio.run(main())


def test_a_session_may_start_while_the_server_is_down(own: TestVault) -> None:
    async def main() -> None:
        identity = own.credentials(Role.GATEWAY)
        await own.server.stop()
        clock = Clock()
        async with VaultSession(identity, monotonic=clock) as session:
            for _ in range(3):
                with pytest.raises(VaultUnavailable):
                    await session.read(PEPPER)
            await own.server.start(no_ceremony)
            clock.offset += 60
            assert await session.read(PEPPER)

    asyncio.run(main())


async def no_ceremony(_: object) -> None:
    raise AssertionError


def test_token_signatures_verify_by_the_published_keys_across_a_rotation(own: TestVault) -> None:
    async def signed(signer: TransitTokenSigner, kid: str) -> str:
        header = base64url(json.dumps({"alg": "ES256", "kid": kid}).encode())
        text = f"{header}.{base64url(b'payload')}"
        return f"{text}.{base64url(await signer.sign(text.encode(), kid=kid))}"

    async def use(session: VaultSession) -> None:
        signer = TransitTokenSigner(session)
        before = await signer.current_kid()
        with own.administrator() as admin:
            admin.write("transit/keys/csms-tokens/rotate", {})
        # A header that was made before the rotation is signed with the version it names.
        old = await signed(signer, before)
        new = await signed(signer, await signer.current_kid())
        jwks = await signer.public_jwks()
        assert all(
            set(key) == {"kty", "crv", "alg", "use", "kid", "x", "y"} for key in jwks["keys"]
        )
        keys = KeySet.import_key_set(json.loads(json.dumps(jwks)))
        first, second = (
            jws.deserialize_compact(text, keys, algorithms=["ES256"]) for text in (old, new)
        )
        assert first.payload == second.payload == b"payload"
        assert first.headers()["kid"] != second.headers()["kid"]
        head, _, signature = new.split(".")
        with pytest.raises(BadSignatureError):
            jws.deserialize_compact(
                f"{head}.{base64url(b'Payload')}.{signature}", keys, algorithms=["ES256"]
            )

    with_session(own.credentials(Role.API), use)


def test_audit_signatures_verify_offline(vault: TestVault) -> None:
    async def use(session: VaultSession) -> None:
        signer = TransitAuditSigner(session)
        signature = await signer.sign(b"checkpoint")
        key = (await signer.public_keys())[signature.key_version]
        key.verify(signature.value, b"checkpoint")
        with pytest.raises(InvalidSignature):
            key.verify(signature.value, b"checkpoinT")

    with_session(vault.credentials(Role.WORKER), use)


def test_a_role_cannot_use_anothers_signer(vault: TestVault) -> None:
    async def use(session: VaultSession) -> None:
        with pytest.raises(VaultRefused):
            await TransitTokenSigner(session).sign(b"x", kid="1")
        with pytest.raises(VaultRefused):
            await TransitTokenSigner(session).public_jwks()

    with_session(vault.credentials(Role.WORKER), use)


def test_a_missing_key_is_told(own: TestVault) -> None:
    with own.administrator() as admin:
        admin.write("transit/keys/csms-audit/config", {"deletion_allowed": True})
        admin.delete("transit/keys/csms-audit")

        async def use(session: VaultSession) -> None:
            with pytest.raises(VaultRejected, match="csms vault apply"):
                await TransitAuditSigner(session).public_keys()
            # Signing must not make the key anew: the role has no `create`.
            with pytest.raises(VaultRejected):
                await TransitAuditSigner(session).sign(b"x")

        try:
            with_session(own.credentials(Role.WORKER), use)
        finally:
            admin.write("transit/keys/csms-audit", {"type": "ed25519"})


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
