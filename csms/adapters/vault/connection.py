"""Vault or OpenBao, spoken to: who we are there, and one synchronous connection (hvac).

A token is an opaque string and lives in memory only. What may be asked with it is decided by
`policies/vault/*.hcl`; logging in again, deadlines and threads are `session.py`'s.

    VaultError
     ├─ VaultUnavailable   sealed, down, not initialised, overloaded, silent: try later
     ├─ VaultRefused       the identity is wrong or not granted this: a person must act
     └─ VaultRejected      the request was understood and is wrong: our fault
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import hvac
import requests
import structlog
from hvac import exceptions
from requests.adapters import HTTPAdapter

log = structlog.get_logger()
T = TypeVar("T")

CALL_TIMEOUT: Final = 5.0  # one call; a blocked audit device makes the server hang (H01, P04)
THREADS: Final = 16  # where hvac's throughput levels off (207 signatures/s measured)


class VaultError(Exception):
    """Something about Vault; the message never holds a token or a secret id."""


class VaultUnavailable(VaultError):
    """Sealed, down, overloaded or silent."""


class VaultRefused(VaultError):
    """Login refused, or the policy does not grant the call."""


class VaultRejected(VaultError):
    """The server understood the request and says it is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultCredentials:
    """An AppRole identity held in memory only (ceremony, set-up)."""

    addr: str
    role_id: str
    secret_id: str = field(repr=False)
    ca_file: Path | None = None
    namespace: str | None = None

    def read_secret_id(self) -> str:
        return self.secret_id


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSettings:
    """Where Vault is and who we are there; the secret id stays in its 0600 file."""

    addr: str
    role_id: str
    secret_id_file: Path
    ca_file: Path | None = None
    namespace: str | None = None

    def read_secret_id(self) -> str:
        """Read at every login, so that a rotated file needs no restart."""
        try:
            return self.secret_id_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise VaultRefused(f"cannot read the secret id file {self.secret_id_file}") from error


@dataclass(frozen=True, slots=True)
class Lease:
    """What a login or a renewal gave: seconds the token has left, and whether it can be renewed."""

    seconds: float
    renewable: bool


class VaultConnection:
    """One server and one token, synchronous. Thread-safe as far as `requests.Session` is."""

    def __init__(
        self,
        addr: str,
        *,
        token: str = "",
        ca_file: Path | None = None,
        namespace: str | None = None,
    ) -> None:
        self.addr, self.ca_file, self.namespace = addr, ca_file, namespace
        web = requests.Session()
        # No proxy, no .netrc, no REQUESTS_CA_BUNDLE: the environment does not choose our peer.
        web.trust_env = False
        # Set before the client is made: hvac ignores its own `verify` when given a session.
        web.verify = str(ca_file) if ca_file else True
        web.mount("https://", HTTPAdapter(pool_maxsize=THREADS))
        # An empty token, not None: for None hvac reads VAULT_TOKEN and ~/.vault-token. Redirects
        # are not followed, since requests would carry X-Vault-Token to any host.
        self._client = hvac.Client(
            url=addr,
            token=token,
            session=web,
            namespace=namespace,
            timeout=int(CALL_TIMEOUT),
            allow_redirects=False,
        )

    @classmethod
    def log_in_as(cls, identity: VaultSettings | VaultCredentials) -> "VaultConnection":
        """A connection that has just logged in with its AppRole."""
        connection = cls(identity.addr, ca_file=identity.ca_file, namespace=identity.namespace)
        connection.log_in(identity)
        return connection

    def log_in(self, identity: VaultSettings | VaultCredentials) -> Lease:
        try:
            answer = self.write(
                "auth/approle/login",
                {"role_id": identity.role_id, "secret_id": identity.read_secret_id()},
            )
        except VaultRejected as error:  # 400 "invalid role or secret ID"
            raise VaultRefused("Vault refused the AppRole login") from error
        self._client.token = answer["auth"]["client_token"]
        return _lease(answer)

    def renew(self) -> Lease:
        return _lease(self.write("auth/token/renew-self", {}))

    def log_out(self) -> None:
        """Revoke the own token; a token already gone is as good."""
        try:
            self.write("auth/token/revoke-self", {})
        except VaultRefused:
            log.debug("vault_token_already_gone")
        self._client.token = ""

    def read(self, path: str) -> dict[str, Any] | None:
        """The whole answer, or None where there is nothing (404)."""
        return _body(self._guarded(lambda: self._client.read(path)))

    def list_keys(self, path: str) -> list[str]:
        answer = _body(self._guarded(lambda: self._client.list(path)))
        return list(answer["data"]["keys"]) if answer else []

    def write(self, path: str, data: Mapping[str, object]) -> dict[str, Any]:
        answer = self._guarded(lambda: self._client.write_data(path, data=dict(data)))
        return _body(answer) or {}

    def delete(self, path: str) -> None:
        self._guarded(lambda: self._client.delete(path))

    def health(self) -> dict[str, Any]:
        """`sys/health` of an active, unsealed server; VaultUnavailable of any other."""
        return _body(self._guarded(lambda: self._client.read("sys/health"))) or {}

    def close(self) -> None:
        self._client.session.close()

    def _guarded(self, call: Callable[[], T]) -> T:
        """One place where hvac's and requests' errors become ours."""
        try:
            return call()
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise VaultRefused(_said(error)) from error
        except (exceptions.InvalidRequest, exceptions.InvalidPath) as error:
            raise VaultRejected(_said(error)) from error
        except exceptions.VaultError as error:  # 429, 472, 473, 5xx: sealed, standby, overloaded
            raise VaultUnavailable(_said(error)) from error
        except requests.RequestException as error:  # hvac does not wrap these
            raise VaultUnavailable(f"Vault does not answer ({type(error).__name__})") from error


def _lease(answer: Mapping[str, Any]) -> Lease:
    auth = answer["auth"]
    return Lease(seconds=float(auth["lease_duration"]), renewable=bool(auth["renewable"]))


def _body(answer: object) -> dict[str, Any] | None:
    match answer:
        case dict() as body:
            return body
        case None:
            return None
        case requests.Response(status_code=204):
            return {}
        case requests.Response(status_code=code):
            raise VaultUnavailable(f"Vault answered {code}: not the active node, or not a Vault")
        case _:
            raise VaultUnavailable("Vault answered something that is not JSON")


def _said(error: exceptions.VaultError) -> str:
    """The server's own words and the path, neither of which holds a secret."""
    told = " ".join(", ".join(error.errors or ["no reason given"]).split())
    return f"{told} ({error.method} {error.url})"
