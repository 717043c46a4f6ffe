"""The API over real HTTPS in a running loop, and the metrics port beside it."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

import httpx2
import pytest
import trustme
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from csms.api import health as health_module
from csms.api import server as server_module
from csms.api.frame import Frame
from csms.api.health import Check, Degraded, create_health_app
from csms.api.server import ApiServer, listen


async def hello(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path, "body": len(await request.body())})


APP = Starlette(
    routes=[Route("/hello", hello, methods=["GET", "POST"])], middleware=[Middleware(Frame)]
)


def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def serve(
    scene: Callable[[ApiServer], Awaitable[None]], context: ssl.SSLContext | None = None
) -> None:
    async def main() -> None:
        server = ApiServer(APP, ssl_context=context)
        port = await server.start()
        assert port == server.port
        try:
            await scene(server)
        finally:
            await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(main())


def test_https_with_the_callers_context_and_nothing_about_the_server() -> None:
    ca = trustme.CA()

    async def scene(server: ApiServer) -> None:
        url = f"https://localhost:{server.port}/hello"
        async with httpx2.AsyncClient(verify=client_context(ca), trust_env=False) as http:
            answer = await http.get(url, headers={"X-Forwarded-For": "203.0.113.9"})
            assert answer.json() == {"path": "/hello", "body": 0}
            assert "server" not in answer.headers
        async with httpx2.AsyncClient(verify=client_context(trustme.CA()), trust_env=False) as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get(url)

    serve(scene, server_context(ca))


def test_a_new_certificate_is_served_without_a_restart() -> None:
    """B14: load_cert_chain on the live context."""
    old, new = trustme.CA(), trustme.CA()
    context = server_context(old)

    async def scene(server: ApiServer) -> None:
        url = f"https://localhost:{server.port}/hello"
        async with httpx2.AsyncClient(verify=client_context(old), trust_env=False) as http:
            assert (await http.get(url)).status_code == 200
            new.issue_cert("localhost").configure_cert(context)
            # The connection that is open stays so; the next one sees the new certificate.
            assert (await http.get(url)).status_code == 200
        async with httpx2.AsyncClient(verify=client_context(new), trust_env=False) as http:
            assert (await http.get(url)).status_code == 200

    serve(scene, context)


def test_plain_http_is_not_answered_on_the_tls_port() -> None:
    async def scene(server: ApiServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(200)
        writer.close()

    serve(scene, server_context(trustme.CA()))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /hello HT",
        b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hel",
    ],
)
def test_who_does_not_finish_a_request_is_let_go(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """D10: silence, half a head, half a body, half a second request."""
    monkeypatch.setattr(server_module, "_REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "_KEEP_ALIVE_SECONDS", 0.2)

    async def scene(server: ApiServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        async with asyncio.timeout(3):
            with contextlib.suppress(ConnectionError):  # in order or not: it is let go
                while await reader.read(1000):
                    pass
        writer.close()

    serve(scene)


def test_a_head_is_bounded() -> None:
    async def scene(server: ApiServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000)
        async with asyncio.timeout(3):
            assert (await reader.read(100)).startswith(b"HTTP/1.1 400")
        writer.close()

    serve(scene)


def test_a_socket_bound_before_tells_its_port_before_there_is_an_app() -> None:
    async def main() -> None:
        sock = listen("127.0.0.1", 0)
        port = sock.getsockname()[1]
        server = ApiServer(APP, sock=sock)
        assert await server.start() == port
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"http://127.0.0.1:{port}/hello")).status_code == 200
        await server.stop()
        await ApiServer(APP).stop()  # never started: nothing stays behind

    asyncio.run(main())


def test_the_metrics_port_says_what_is_ready_and_what_is_not() -> None:
    registry = CollectorRegistry()
    Counter("csms_things", "things", registry=registry).inc()
    state: dict[str, str | None] = {"database": None}

    async def database() -> str | None:
        return state["database"]

    async def vault() -> str | None:
        if state.get("vault"):
            raise RuntimeError("the token is s.123")
        return None

    async def main() -> None:
        checks = {"database": database, "vault": vault}
        server = ApiServer(create_health_app(checks, registry))
        port = await server.start()
        base = f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{base}/healthz")).json() == {"status": "alive"}
            ready = await http.get(f"{base}/readyz")
            assert ready.status_code == 200
            assert ready.json() == {
                "status": "ready",
                "degraded": [],
                "checks": {"database": "ok", "vault": "ok"},
            }
            state.update(database="away", vault="sealed")
            ready = await http.get(f"{base}/readyz")
            assert ready.status_code == 503
            assert ready.json() == {
                "status": "not_ready",
                "degraded": [],
                "checks": {"database": "away", "vault": "check failed"},
            }
            assert "csms_things_total 1.0" in (await http.get(f"{base}/metrics")).text
            assert (await http.get(f"{base}/api/v1/stations")).status_code == 404
        await server.stop()

    asyncio.run(main())


def test_a_degraded_process_is_ready_and_says_so() -> None:
    async def vault() -> str | None:
        return Degraded("away")

    ready = asked({"vault": vault})
    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "degraded": ["vault"],
        "checks": {"vault": "away"},
    }


def test_a_check_that_hangs_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "_CHECK_SECONDS", 0.05)

    async def database() -> str | None:
        await asyncio.sleep(60)
        return None

    ready = asked({"database": database, "more": database})
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "check failed", "more": "check failed"}


def asked(checks: dict[str, Check]) -> httpx2.Response:
    async def main() -> httpx2.Response:
        app = create_health_app(checks, CollectorRegistry())
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://m") as http:
            return await http.get("/readyz")

    return asyncio.run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        b"Host: y\r\n\r\n",
    ],
)
def test_a_head_that_a_proxy_may_read_otherwise_is_refused(head: bytes) -> None:
    """Two lengths, two hosts: refused, and nothing after it is answered."""

    async def scene(server: ApiServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        following = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(b"POST /hello HTTP/1.1\r\nHost: x\r\n" + head + following)
        async with asyncio.timeout(3):
            answer = await reader.read()
        assert answer.split(b" ", 2)[1] in {b"400", b"501"}
        assert answer.count(b"HTTP/1.1 ") == 1
        writer.close()

    serve(scene)
