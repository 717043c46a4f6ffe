"""A small CSMS to test the station against: real TLS, its own PKI, answers a test can replace.

It reads and writes frames with `json` alone, so that the station's codec is checked by something
that does not share it.
"""

from __future__ import annotations

import asyncio
import base64
import http
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issuer:
    """A CA that signs what it is told to."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def root(cls, name: str = "Test Root", *, days: int = 3650) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(_certificate(name, key.public_key(), None, key, ca=True, days=days), key)

    def issuing_ca(self, name: str = "Test Issuing CA") -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key.public_key(), self.certificate, self.key, ca=True)
        return Issuer(certificate, key)

    def sign(self, name: str, key: Any, **options: Any) -> x509.Certificate:
        return _certificate(name, key, self.certificate, self.key, **options)

    @property
    def pem(self) -> str:
        return pem(self.certificate)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(item.public_bytes(Encoding.PEM).decode() for item in certificates)


def _certificate(
    name: str,
    key: Any,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    days: float = 90,
    starts: timedelta = -DAY,
    san: str | None = None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(starts, timedelta(days=days) - DAY))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if san is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(san)]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass
class CSMS:
    """What stations said, and what is answered; `refuse_with` refuses upgrades in turn."""

    directory: Path
    root: Issuer = field(default_factory=Issuer.root)
    passwords: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    refuse_with: list[int] = field(default_factory=list)
    received: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    peers: list[str] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)
    connections: list[ServerConnection] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    distrusted_serials: set[int] = field(default_factory=set)
    hang_up: int = 0  # so many next connections end without an answer
    ports: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.issuing = self.root.issuing_ca()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._count = 0
        self.answers.setdefault("BootNotification", lambda _: boot("Accepted"))
        self.answers.setdefault("SignCertificate", lambda _: {"status": "Accepted"})
        self.answers.setdefault("Heartbeat", lambda _: {"currentTime": "2026-01-01T00:00:00Z"})

    def url(self, profile: int) -> str:
        scheme = "ws" if profile == 1 else "wss"
        return f"{scheme}://localhost:{self.ports[profile]}/ocpp"

    def issue(self, csr_pem: str, **options: Any) -> str:
        """Leaf and issuing CA, as CertificateSigned carries them."""
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        name = str(csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        leaf = self.issuing.sign(name, csr.public_key(), **options)
        return pem(leaf, self.issuing.certificate)

    async def call(self, action: str, payload: dict[str, Any], *, wait: float = 5) -> Any:
        """The CALLRESULT's payload; a CALLERROR as its list."""
        return await self.call_text(lambda i: json.dumps([2, i, action, payload]), wait=wait)

    async def call_text(self, text: Callable[[str], str], *, wait: float = 5) -> Any:
        self._count += 1
        message_id = f"csms-{self._count}"
        future = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        await self.connections[-1].send(text(message_id))
        async with asyncio.timeout(wait):
            return await future

    async def sign_when_asked(self) -> None:
        """Trigger SignCertificate and wait for the CSR."""
        before = len(self.received["SignCertificate"])
        request = {"requestedMessage": "SignChargingStationCertificate"}
        assert (await self.call("TriggerMessage", request))["status"] == "Accepted"
        await until(lambda: len(self.received["SignCertificate"]) > before)

    async def rotate(self, **options: Any) -> dict[str, Any]:
        await self.sign_when_asked()
        chain = self.issue(self.received["SignCertificate"][-1]["csr"], **options)
        answer: dict[str, Any] = await self.call(
            "CertificateSigned",
            {"certificateChain": chain, "certificateType": "ChargingStationCertificate"},
        )
        return answer

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.extensions.append(str(connection.response.headers.get("Sec-WebSocket-Extensions")))  # type: ignore[union-attr]
        self.peers.append(self._peer(connection))
        try:
            async for text in connection:
                await self._received(connection, str(text))
        except ConnectionClosed:
            return

    async def _received(self, connection: ServerConnection, text: str) -> None:
        try:
            kind, message_id, *rest = json.loads(text)
        except ValueError:
            self.stray.append(text)
            return
        if kind == 2:
            action, payload = rest
            self.received[action].append(payload)
            answer = self.answers[action](payload) if action in self.answers else {}
            if answer is not None:
                frame = answer.pop("!", None) or [3, message_id, answer]
                frame[1] = message_id
                await connection.send(json.dumps(frame))
            return
        future = self._waiting.pop(message_id, None)
        if future is None:
            self.stray.append(text)
        elif not future.done():
            future.set_result(rest[0] if kind == 3 else rest)

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.hang_up:
            self.hang_up -= 1
            connection.transport.abort()
            return self._refuse(connection, 500)
        if self.refuse_with:
            return self._refuse(connection, self.refuse_with.pop(0))
        identity = request.path.rsplit("/", 1)[1]
        if _peer_der(connection) is not None:
            leaf = x509.load_der_x509_certificate(_peer_der(connection) or b"")
            if leaf.serial_number in self.distrusted_serials:
                return self._refuse(connection, 403)
            return None
        expected = f"{identity}:{self.passwords.get(identity)}".encode()
        header = request.headers.get("Authorization", "")
        if header != f"Basic {base64.b64encode(expected).decode()}":
            return self._refuse(connection, 401)
        return None

    def _refuse(self, connection: ServerConnection, code: int) -> Response:
        response = connection.respond(http.HTTPStatus(code), "refused\n")
        if code == 503:
            response.headers["Retry-After"] = "7"
        return response

    def _peer(self, connection: ServerConnection) -> str:
        der = _peer_der(connection)
        return "" if der is None else f"{x509.load_der_x509_certificate(der).serial_number:x}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[CSMS]:
        servers: list[Server] = []
        options: dict[str, Any] = {"process_request": self.check, "subprotocols": ["ocpp2.0.1"]}
        for profile in (1, 2, 3):
            context = None if profile == 1 else self._context(mutual=profile == 3)
            server = await serve(self.handle, "127.0.0.1", 0, ssl=context, **options)
            self.ports[profile] = next(iter(server.sockets)).getsockname()[1]
            servers.append(server)
        try:
            yield self
        finally:
            for server in servers:
                server.close()
                await server.wait_closed()

    def _context(self, *, mutual: bool) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self.root.sign("localhost", key.public_key(), san="localhost")
        path = self.directory / "server.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + pem(leaf).encode()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.root.pem + self.issuing.pem)
        return context


def boot(status: str, interval: int = 300) -> dict[str, Any]:
    return {"status": status, "interval": interval, "currentTime": "2026-01-01T00:00:00Z"}


def _peer_der(connection: ServerConnection) -> bytes | None:
    ssl_object = connection.transport.get_extra_info("ssl_object")
    return None if ssl_object is None else ssl_object.getpeercert(binary_form=True)


async def until(condition: Callable[[], bool], *, wait: float = 5) -> None:
    async with asyncio.timeout(wait):
        while not condition():
            await asyncio.sleep(0.01)
