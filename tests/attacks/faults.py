"""A reverse proxy in front of a Vault, which answers as it is told to.

It ends TLS with the server's own certificate, so that whoever trusts the server trusts it too.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import urllib3


class FaultProxy:
    """`status`: what every request is answered with; None: whatever the server says."""

    def __init__(self, upstream: str, directory: Path) -> None:
        self._upstream = upstream
        self._http = urllib3.PoolManager(ca_certs=str(directory / "ca.pem"), retries=False)
        self.status: int | None = None
        self.asked: list[str] = []  # paths

        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy._answer(self)

            do_POST = do_PUT = do_GET  # noqa: N815 -- the base class calls them so

            def log_message(self, *_: object) -> None:
                """Not to stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.addr = f"https://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        self.asked.append(request.path)
        if self.status is None:
            headers = {k: v for k, v in request.headers.items() if k.startswith("X-Vault")}
            said = self._http.request(
                request.command, self._upstream + request.path, body=body or None, headers=headers
            )
            status, answer = said.status, said.data
        else:
            status, answer = self.status, json.dumps({"errors": ["a fault"]}).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def logins(self) -> int:
        return sum(path.endswith("/login") for path in self.asked)

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
            self._http.clear()
