"""What the API takes, and how it says no: problem documents for everything."""

from collections.abc import AsyncIterator

import pytest

from csms.domain.access import Scope
from csms.domain.audit import AuditAction
from csms.ports.store import StoreUnavailable
from tests.fixtures.api_room import ISSUER, ApiRoom, room

GOOD = b'{"identity":"CS-1","serial_number":"SN-1","security_profile":2}'
JSON = {"Content-Type": "application/json"}


async def endless() -> AsyncIterator[bytes]:
    for _ in range(1000):
        yield b" " * 1024


async def post(api: ApiRoom, content: bytes, headers: dict[str, str]) -> int:
    token = await api.token(*Scope)
    answer = await api.http.post(
        "/api/v1/stations",
        content=content,
        headers={"Authorization": f"Bearer {token}"} | headers,
    )
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["title"]
    return answer.status_code


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("Application/JSON;charset=UTF-8", 201),
        ("application/json; charset=utf-16", 415),
        ("application/merge-patch+json", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
def test_a_body_is_application_json(sqlite_store_url: str, media_type: str, status: int) -> None:
    async def scene(api: ApiRoom) -> None:
        assert await post(api, GOOD, {"Content-Type": media_type}) == status

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"identity":"CS-1","identity":"CS-2","serial_number":"S","security_profile":2}', 400),
        (b'{"identity":NaN}', 400),
        (b'{"identity":1e999}', 400),
        (b'{"identity":"\\u0000"}', 400),
        (b'{"identity":"\\ud800"}', 400),
        (b'{"identity":"\xff"}', 400),
        (b"[" * 1000 + b"]" * 1000, 400),
        (b'{"identity":' + b"9" * 5000 + b"}", 400),
        (GOOD + GOOD, 400),
        (b'\xef\xbb\xbf{"identity":"CS-1"}', 400),
    ],
)
def test_a_body_is_one_json_object_without_surprises(
    sqlite_store_url: str, content: bytes, status: int
) -> None:
    async def scene(api: ApiRoom) -> None:
        assert await post(api, content, JSON) == status

    room(sqlite_store_url, scene)


def test_a_body_is_at_most_256_kib(sqlite_store_url: str) -> None:
    """Announced as too long, or without an announcement."""

    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        headers = {"Authorization": f"Bearer {token}"} | JSON
        for content in (b" " * ((256 << 10) + 1), endless()):
            answer = await api.http.post("/api/v1/stations", content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"

    room(sqlite_store_url, scene)


def test_a_strangers_body_is_not_even_read(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        async def poisoned() -> AsyncIterator[bytes]:
            raise AssertionError("read before the token was checked")
            yield b""

        answer = await api.http.post("/api/v1/stations", content=poisoned(), headers=JSON)
        assert answer.status_code == 401

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/stations/", 404),
        ("GET", "/api/v1/../v1/stations%2f", 404),
        ("PUT", "/api/v1/stations", 405),
        ("TRACE", "/api/v1/stations", 405),
        ("POST", "/pki/ca.pem", 405),
        ("GET", "/oauth/token", 405),
        ("GET", "/oauth/authorize", 404),
    ],
)
def test_what_is_not_there_is_a_problem_document_too(
    sqlite_store_url: str, method: str, path: str, status: int
) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.http.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        if status == 405:
            assert answer.headers["allow"]

    room(sqlite_store_url, scene)


def test_every_answer_carries_the_security_headers(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for answer in (
            await api.call("GET", "/stations"),
            await api.http.get("/api/v1/stations"),
            await api.http.get("/nothing"),
            await api.http.get("/pki/ca.pem"),
        ):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
            assert "access-control-allow-origin" not in answer.headers
            assert "server" not in answer.headers

    room(sqlite_store_url, scene)


def test_no_origin_is_let_in_by_cors(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = await api.http.options("/api/v1/stations", headers=headers)
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers

    room(sqlite_store_url, scene)


def test_a_database_that_is_away_is_503_with_a_time(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        client, secret = await api.client(Scope.STATIONS_READ)
        await api.house.store.close()  # type: ignore[attr-defined]
        answer = await api.call("GET", "/stations", token=token)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        answer = await api.ask_token((client.client_id, secret))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        # Without a token there is nothing to look up: a refusal stays one.
        assert (await api.http.get("/api/v1/stations")).status_code == 401

    room(sqlite_store_url, scene)


def test_an_error_that_nobody_named_says_nothing(
    sqlite_store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scene(api: ApiRoom) -> None:
        async def broken() -> None:
            raise RuntimeError("the secret is hunter2")

        api.house.pki.trust_anchors = broken  # type: ignore[method-assign,assignment]
        answer = await api.http.get("/pki/ca.pem")
        assert answer.status_code == 500
        assert answer.json() == {
            "type": "about:blank",
            "title": "Internal Server Error",
            "status": 500,
        }

    room(sqlite_store_url, scene)
    logged = capsys.readouterr().out
    assert "request_failed" in logged
    assert "hunter2" not in logged


def test_a_store_error_while_refusing_is_still_a_refusal(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        def away() -> object:
            raise StoreUnavailable

        token = await api.token(Scope.STATIONS_READ)
        api.house.store.writing = away  # type: ignore[method-assign,assignment]
        answer = await api.call("DELETE", "/stations/CS-1", token=token)
        assert answer.status_code == 403

    room(sqlite_store_url, scene)


def test_openapi_describes_problems_and_scopes(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        document = (await api.http.get("/api/v1/openapi.json")).json()
        scheme = document["components"]["securitySchemes"]["OAuth2"]
        assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "/oauth/token"
        assert "HTTPValidationError" not in document["components"]["schemas"]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert operation["responses"]["401"], (method, path)
                assert len(operation["security"]) == 1, (method, path)

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stations?group=a%00", 422),
        ("/audit/entries?subject=%00", 422),
        ("/stations?cursor=%00", 422),
        ("/stations/%00", 404),
        ("/stations/CS%2f..%2f1", 404),
        ("/stations/%2e%2e", 404),
        ("/certificates/%00", 404),
    ],
)
def test_what_no_database_can_hold_names_nothing(
    sqlite_store_url: str, path: str, status: int
) -> None:
    async def scene(api: ApiRoom) -> None:
        assert (await api.call("GET", path)).status_code == status

    room(sqlite_store_url, scene)


def test_a_client_id_with_a_nul_is_no_client(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        assert (await api.call("DELETE", "/oauth-clients/%00")).status_code == 404
        for client_id in ("\0", "\u00e9", "x" * 129):
            assert (await api.ask_token((client_id, "secret"))).status_code == 401

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("number", "status"),
    [("1" + "0" * 400, 400), ("1e400", 400), ("-1", 422), ("1e308", 422), ("4.5", 422)],
)
def test_a_number_beyond_everything_is_not_valid(
    sqlite_store_url: str, number: str, status: int
) -> None:
    """What no double holds is no JSON of ours; what no field takes is not valid."""

    async def scene(api: ApiRoom) -> None:
        body = f'{{"identity":"C","serial_number":"S","security_profile":{number}}}'
        assert await post(api, body.encode(), JSON) == status
        await api.house.station("CS-1")
        token = await api.token(*Scope)
        answer = await api.http.post(
            "/api/v1/stations/CS-1/commands/GetBaseReport",
            content=f'{{"requestId":{number},"reportBase":4}}',
            headers={"Authorization": f"Bearer {token}"} | JSON,
        )
        assert answer.status_code == status

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Original-URL", "/api/v1/oauth-clients"),
        ("X-Rewrite-URL", "/api/v1/oauth-clients"),
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Client-Cert", "Subject=CN=admin"),
        ("X-Client-Cert", "x"),
        ("Forwarded", "for=198.51.100.7"),
        ("Host", "evil.example/api?x=#"),
        ("Host", "["),
    ],
)
def test_no_header_changes_who_asks_for_what(sqlite_store_url: str, name: str, value: str) -> None:
    """A15: method, route, source and issuer are what they are."""

    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        token = await api.token(Scope.STATIONS_READ)
        headers = {name: value}
        answer = await api.call("GET", "/stations/CS-1", token=token, headers=headers)
        assert answer.json()["identity"] == "CS-1"
        assert (await api.http.get("/api/v1/stations", headers=headers)).status_code == 401
        (entry,) = await api.audited(AuditAction.API_ACCESS)
        assert entry.record.actor == "source:192.0.2.1"
        metadata = await api.http.get("/.well-known/oauth-authorization-server", headers=headers)
        assert metadata.json()["issuer"] == ISSUER

    room(sqlite_store_url, scene)
