"""A logged-in conversation with Vault or OpenBao, lean enough for every signature.

Logs in by AppRole, renews before the token ends, and logs in again when that is refused. While
Vault is away calls fail at once instead of waiting for it: see `breaker`. Connections are kept and
shared by the threads that sign. Token and secret id stay inside: neither is logged, printed or part
of an exception. hvac serves provisioning; here its 1.8 ms of CPU per call would be two thirds of a
certificate's cost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import urllib3

from pki.signing.breaker import Breaker
from pki.signing.signer import SignerError, SignerUnavailable, SignerUnfit

log = structlog.get_logger()

_RENEW_AFTER: Final = 2 / 3  # of the token's life
# One login a second, and one in reserve for a token that was lost as soon as it was given: no storm
# on a Vault that refuses everything (P05).
_LOGINS_A_SECOND: Final = 1.0
_MOST_LOGINS: Final = 2.0
_MAX_ANSWER_BYTES: Final = 1 << 20
_FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAccess:
    """Where Vault is and how this role proves itself; the secret id is read at each login."""

    addr: str
    role_id: str
    read_secret_id: Callable[[], str] = field(repr=False)
    ca_file: Path | None = None
    namespace: str | None = None
    transit_mount: str = "transit"
    approle_mount: str = "approle"
    timeout_seconds: float = 5.0
    connections: int = 8


@dataclass(slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    ends_at: float


class VaultSession:
    """Blocking and thread-safe. `monotonic` is the clock of tokens and back-off."""

    def __init__(
        self, access: VaultAccess, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._access = access
        self._monotonic = monotonic
        self._pool = _pool(access)
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._logins_left, self._counted_at = _MOST_LOGINS, monotonic()
        self._breaker = Breaker(monotonic, one_try_seconds=access.timeout_seconds)

    def close(self) -> None:
        self._pool.close()

    def check_available(self) -> None:
        """Costs nothing. Raises SignerUnavailable while Vault is known to be away."""
        self._breaker.check()

    def check_token(self) -> None:
        """Asks Vault whether we may ask it anything. Raises SignerError."""
        self.read("auth/token/lookup-self")

    def read(self, path: str) -> dict[str, Any]:
        return self._authorized("GET", path, None)

    def write(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._authorized("POST", path, body)

    def _authorized(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        with self._breaker.around():
            return self._tried(method, path, body)

    def _tried(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        token = self._current_token()
        status, answer = self._exchange(method, path, body, token=token)
        if status == _FORBIDDEN:
            # Revoked, or its policy changed: one fresh login tells which.
            token = self._current_token(refused=token)
            status, answer = self._exchange(method, path, body, token=token)
        return _data(status, answer)

    def _current_token(self, *, refused: str | None = None) -> str:
        with self._lock:
            token = self._token
            now = self._monotonic()
            if token is not None and token.value != refused:
                if now < token.renew_at:
                    return token.value
                if now < token.ends_at and self._renew(token):
                    return token.value
            return self._log_in()

    def _renew(self, token: _Token) -> bool:
        try:
            status, answer = self._exchange("POST", "auth/token/renew-self", {}, token=token.value)
            lease = _lease(_auth(status, answer))
        except (SignerUnavailable, SignerUnfit):
            return False
        now = self._monotonic()
        if lease < token.ends_at - token.renew_at:
            # The maximum life is near: what renewing adds is not worth a call per signature.
            return False
        token.renew_at, token.ends_at = now + lease * _RENEW_AFTER, now + lease
        return True

    def _log_in(self) -> str:
        """Under the lock: threads that queued behind a login that hung do not hang in turn."""
        self._spend_a_login()
        try:
            auth = self._ask_for_token()
            lease = _lease(auth) or float("inf")
            value = auth["client_token"]
        except (SignerError, OSError, UnicodeDecodeError, KeyError) as error:
            self._token = None
            self._logins_left, self._counted_at = 0.0, self._monotonic()
            log.warning("vault_login_failed", error=type(error).__name__)
            raise SignerUnavailable("login failed") from error
        now = self._monotonic()
        self._token = _Token(str(value), now + lease * _RENEW_AFTER, now + lease)
        return self._token.value

    def _spend_a_login(self) -> None:
        now = self._monotonic()
        left = self._logins_left + (now - self._counted_at) * _LOGINS_A_SECOND
        self._logins_left, self._counted_at = min(left, _MOST_LOGINS), now
        if self._logins_left < 1:
            raise SignerUnavailable("backing off after a login")
        self._logins_left -= 1

    def _ask_for_token(self) -> dict[str, Any]:
        secret_id = self._access.read_secret_id()
        status, answer = self._exchange(
            "POST",
            f"auth/{self._access.approle_mount}/login",
            {"role_id": self._access.role_id, "secret_id": secret_id},
            token=None,
        )
        return _auth(status, answer)

    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, token: str | None
    ) -> tuple[int, bytes]:
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token
        if self._access.namespace is not None:
            headers["X-Vault-Namespace"] = self._access.namespace
        try:
            response = self._pool.urlopen(
                method,
                f"/v1/{path}",
                body=None if body is None else msgspec.json.encode(body),
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
            )
            try:
                answer = response.read(_MAX_ANSWER_BYTES)
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise SignerUnavailable(f"Vault is not reachable: {type(error).__name__}") from error
        return response.status, answer


def _pool(access: VaultAccess) -> urllib3.HTTPConnectionPool:
    # No environment is read: no proxy stands between us and the keys.
    timeout = urllib3.Timeout(connect=access.timeout_seconds, read=access.timeout_seconds)
    if not access.addr.startswith("https://"):
        return urllib3.connection_from_url(
            access.addr, maxsize=access.connections, block=True, timeout=timeout
        )
    return urllib3.connection_from_url(
        access.addr,
        maxsize=access.connections,
        block=True,
        timeout=timeout,
        cert_reqs="CERT_REQUIRED",
        ca_certs=None if access.ca_file is None else str(access.ca_file),
    )


def _data(status: int, answer: bytes) -> dict[str, Any]:
    return _part(status, answer, "data")


def _auth(status: int, answer: bytes) -> dict[str, Any]:
    return _part(status, answer, "auth")


def _part(status: int, answer: bytes, key: str) -> dict[str, Any]:
    """503 is sealed, 403 forbidden, 429 a quota: each ends by itself or by an operator's hand."""
    if status != 200:
        raise SignerUnavailable(f"Vault answered {status}")
    try:
        part = msgspec.json.decode(answer)[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        # ValueError: not JSON, or not UTF-8; RecursionError: a depth of thousands.
        raise SignerUnfit("Vault's answer cannot be read") from error
    if not isinstance(part, dict):
        raise SignerUnfit("Vault's answer cannot be read")
    return part


def _lease(auth: Mapping[str, Any]) -> float:
    seconds = auth.get("lease_duration")
    if not isinstance(seconds, int | float) or seconds < 0:
        raise SignerUnfit("Vault's answer names no lease")
    return float(seconds)
