"""A session with the management API: one access token, one connection, answers as JSON.

Where the API is and who we are comes from `bootstrap/` in the data directory, as `csms up` leaves
it, or from options and environment. The client's secret is read from its file (0600) and goes
nowhere but to the token endpoint.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx2

_TIMEOUT: Final = httpx2.Timeout(10.0, read=60.0)  # a CALL may take its 30 seconds
_PAGE: Final = 200
Json = dict[str, Any]


class ApiFailed(Exception):
    """One line: what, where, and what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API is and who we are there."""

    url: str
    token_endpoint: str
    client_id: str
    client_secret: str = field(repr=False)
    root: Path | None  # None: the system's trust store

    @classmethod
    def find(
        cls, data_dir: Path, *, url: str | None, client_file: Path | None, root: Path | None
    ) -> Access:
        """Raises ApiFailed when something is not where it should be."""
        bootstrap = data_dir / "bootstrap"
        client = _read(client_file or bootstrap / "admin-client.json", "the OAuth client")
        default_root = bootstrap / "csms-root.pem"
        known = url or _field(_read(bootstrap / "endpoints.json", "the endpoints"), "api")
        base = known.rstrip("/")
        # Under another address than the file's, the token comes from there, too.
        endpoint = f"{base}/oauth/token" if url else _field(client, "token_endpoint")
        for address in (base, endpoint):  # the secret goes to one, what it buys to the other
            _check_address(address)
        return cls(
            url=base,
            token_endpoint=endpoint,
            client_id=_field(client, "client_id"),
            client_secret=_field(client, "client_secret"),
            root=root or (default_root if default_root.is_file() else None),
        )


class ApiSession:
    """Use as a context manager. Every method raises ApiFailed."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http = httpx2.Client(
            verify=_trust(access.root), timeout=_TIMEOUT, trust_env=False, follow_redirects=False
        )
        self._token: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def token_endpoint(self) -> str:
        return self._access.token_endpoint

    def get(self, path: str, **parameters: str | int | None) -> Json:
        given = {name: value for name, value in parameters.items() if value is not None}
        return self._json(self._call("GET", path, params=given))

    def text(self, path: str) -> str:
        return self._call("GET", path).text

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        headers = {"Idempotency-Key": str(uuid4())}
        return self._json(self._call("POST", path, json=body, headers=headers))

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def items(self, path: str, *, limit: int, **parameters: str | None) -> Iterator[Json]:
        """Items of as many pages as it takes, at most `limit`."""
        cursor: str | None = None
        left = limit
        while left > 0:
            page = self.get(path, limit=min(left, _PAGE), cursor=cursor, **parameters)
            yield from page["items"]
            left -= len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def _call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._access_token()}"} | more.pop("headers", {})
        url = f"{self._access.url}/api/v1{path}"
        answer = self._send(method, url, headers=headers, **more)
        if not answer.is_success:
            raise ApiFailed(_problem(answer))
        return answer

    def _access_token(self) -> str:
        if self._token is None:
            answer = self._send(
                "POST",
                self._access.token_endpoint,
                data={"grant_type": "client_credentials"},
                auth=httpx2.BasicAuth(
                    quote(self._access.client_id, safe=""),
                    quote(self._access.client_secret, safe=""),
                ),
            )
            if not answer.is_success:
                raise ApiFailed(_no_token(answer, self._access))
            self._token = _field(self._json(answer), "access_token")
        return self._token

    def _send(self, method: str, url: str, **more: Any) -> httpx2.Response:
        try:
            return self._http.request(method, url, **more)
        except httpx2.ConnectError as error:
            why = "the certificate is not trusted" if "CERTIFICATE" in str(error) else "no answer"
            where = _origin(url)
            raise ApiFailed(f"cannot reach {where}: {why}; is `csms up` running?") from None
        except httpx2.TimeoutException:
            raise ApiFailed(f"{_origin(url)} did not answer in time") from None
        except httpx2.HTTPError as error:
            raise ApiFailed(f"talking to {_origin(url)} failed: {type(error).__name__}") from None

    @staticmethod
    def _json(answer: httpx2.Response) -> Json:
        try:
            value = answer.json()
        except ValueError:
            raise ApiFailed("the API answered something that is not JSON") from None
        if not isinstance(value, dict):
            raise ApiFailed("the API answered something that is not an object")
        return value


def segment(text: str) -> str:
    """One path segment, whatever the text is."""
    return quote(text, safe="")


def _trust(root: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if root is None else str(root))
    except (OSError, ssl.SSLError):
        raise ApiFailed(f"{root}: cannot be read as PEM certificates") from None


def _read(path: Path, what: str) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ApiFailed(
            f"{path}: no such file ({what}); start `csms up`, or name it by option"
        ) from None
    except (OSError, ValueError):
        raise ApiFailed(f"{path}: cannot be read ({what})") from None
    if not isinstance(value, dict):
        raise ApiFailed(f"{path}: not a JSON object ({what})")
    return value


def _field(document: Json, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ApiFailed(f"{name} is missing where it was expected")
    return value


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        names_a_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ApiFailed("the API's address cannot be read as a URL") from None
    if "@" in parts.netloc:
        raise ApiFailed("the API's address holds a user name: secrets come from the client's file")
    if parts.scheme != "https":
        raise ApiFailed(f"{url}: the API is spoken to by https only")
    if not names_a_host:
        raise ApiFailed(f"{url}: names no host")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _no_token(answer: httpx2.Response, access: Access) -> str:
    if answer.status_code == httpx2.codes.UNAUTHORIZED:
        return f"{_origin(access.url)} does not accept the client {access.client_id} or its secret"
    if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        return f"{_origin(access.url)}: too many failed tries from here; wait a minute"
    return f"{_origin(access.url)}: no access token (status {answer.status_code})"


def _problem(answer: httpx2.Response) -> str:
    """A problem document as one line."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return f"the API answered {answer.status_code}"
    words = [str(problem.get("detail") or problem.get("title") or answer.status_code)]
    for error in problem.get("errors", ()):
        place = error.get("pointer") or error.get("parameter") or "/"
        words.append(f"{place}: {error.get('detail')}")
    if "code" in problem:  # the station's CALLERROR
        words.append(f"{problem['code']}: {problem.get('description', '')}".rstrip(": "))
    return "; ".join(words)
