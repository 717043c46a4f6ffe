"""A Vault that answers nonsense: whatever comes back, only SignerError comes out (C10, H01)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.signing.signer import SignerError, SignerUnavailable
from pki.signing.vault_session import VaultAccess, VaultSession
from pki.signing.vault_transit import TransitSigner, open_signer

LOGIN = msgspec.json.encode({"auth": {"client_token": "t", "lease_duration": 1200}})
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()


@contextmanager
def vault(*, login: bytes = LOGIN, answer: bytes = b"{}", status: int = 200) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/login"):
                self._say(200, login)
            else:
                self._say(status, answer)

        def do_GET(self) -> None:
            self._say(status, answer)

        def _say(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002 -- the base's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def session(addr: str, *, seconds: float = 0.5) -> Iterator[VaultSession]:
    opened = VaultSession(
        VaultAccess(addr=addr, role_id="r", read_secret_id=lambda: "s", timeout_seconds=seconds)
    )
    try:
        yield opened
    finally:
        opened.close()


def sign(opened: VaultSession) -> bytes:
    return TransitSigner(opened, "transit", "key", 1, KEY).sign_digest(bytes(32), hashes.SHA256())


def signature(text: object) -> bytes:
    return msgspec.json.encode({"data": {"signature": text}})


def test_an_answer_in_order_is_a_signature() -> None:
    with vault(answer=signature("vault:v1:AAAA")) as addr, session(addr) as opened:
        assert sign(opened) == bytes(3)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"null",
        b"[]",
        b"<html>",
        b'{"data":null}',
        b'{"data":{}}',
        b'{"data":{"signature":"\xff"}}',
        signature(None),
        signature(7),
        signature("AAAA"),
        signature("vault:v2:AAAA"),
        signature("vault:v1:A"),
        signature("vault:v1:\u00e9\u00e9\u00e9\u00e9"),
        b"[" * 100_000,
        b" " * (1 << 21),
    ],
    ids=lambda answer: answer[:20].decode("ascii", "replace").strip() or "blank",
)
def test_an_answer_that_is_none_is_a_signer_error(answer: bytes) -> None:
    with vault(answer=answer) as addr, session(addr) as opened, pytest.raises(SignerError):
        sign(opened)


@pytest.mark.parametrize(
    "login",
    [
        b"",
        b'{"auth":{}}',
        b'{"auth":{"client_token":"t"}}',
        b'{"auth":{"lease_duration":60}}',
        b'{"auth":{"client_token":"t","lease_duration":"long"}}',
        b'{"auth":{"client_token":"t","lease_duration":-1}}',
        b'{"auth":{"client_token":"\xff","lease_duration":60}}',
    ],
)
def test_a_login_that_is_none_backs_off(login: bytes) -> None:
    with vault(login=login) as addr, session(addr) as opened:
        for says in ("login failed", "backing off"):
            with pytest.raises(SignerUnavailable, match=says):
                sign(opened)


@pytest.mark.parametrize("status", [301, 400, 403, 404, 429, 500, 501, 503])
def test_another_status_is_unavailable(status: int) -> None:
    """501 uninitialised, 503 sealed, 429 a quota: ask again later."""
    with (
        vault(answer=signature("vault:v1:AAAA"), status=status) as addr,
        session(addr) as opened,
        pytest.raises(SignerUnavailable, match=str(status)),
    ):
        sign(opened)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"data":{}}',
        b'{"data":{"latest_version":"x","keys":{}}}',
        b'{"data":{"latest_version":1,"keys":{"1":{"public_key":"none"}}}}',
        '{"data":{"latest_version":1,"keys":{"1":{"public_key":"\u00e9"}}}}'.encode(),
        b'{"data":{"latest_version":1,"keys":[]}}',
    ],
)
def test_a_key_that_is_none_is_a_signer_error(answer: bytes) -> None:
    with vault(answer=answer) as addr, session(addr) as opened, pytest.raises(SignerError):
        open_signer(opened, mount="transit", name="key")


def test_threads_do_not_queue_behind_one_anothers_silent_logins() -> None:
    """P04: while Vault never answers all are told after one time limit, and later ones at once."""

    def call(opened: VaultSession) -> type[Exception]:
        try:
            opened.check_token()
        except SignerUnavailable as error:
            return type(error)
        raise AssertionError

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        session(f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=1.0) as opened,
        ThreadPoolExecutor(8) as threads,
    ):
        began = time.monotonic()
        assert set(threads.map(call, [opened] * 8)) == {SignerUnavailable}
        assert time.monotonic() - began < 2.5
        for _ in range(100):
            assert call(opened) is SignerUnavailable
        assert time.monotonic() - began < 4
