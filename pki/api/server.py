"""The PKI's listeners: mutual TLS for our roles, plain HTTP for the public anchors.

The TLS context trusts the caller issuing CA alone (partial chain), so that no station's or
listener's certificate gets as far as HTTP. The listener's own key is made here, its certificate by
the authority it serves, less than 24 h long (A00.FR.701), and replaced at half its life.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import structlog
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from pki.api.app import PEER_CERTIFICATE, make_app
from pki.api.callers import CallerPolicy
from pki.api.public import make_public_app
from pki.authority.service import Authority
from pki.wire import IssuedCertificate, PkiError, ServerCertificateRequest, TrustAnchors
from pki.x509.names import subject_name

log = structlog.get_logger()

_RENEWAL_RETRY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """Port 0 takes any free one."""

    bind: str
    port: int
    public_port: int
    host_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    organization: str


@dataclass(frozen=True, slots=True)
class Listening:
    port: int
    public_port: int


class _PeerCertificateProtocol(H11Protocol):
    """uvicorn shows ASGI no client certificate yet: hand it on in this connection's state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        ssl_object = transport.get_extra_info("ssl_object")
        certificate = None if ssl_object is None else ssl_object.getpeercert(True)
        self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """Signals belong to the process that embeds us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(
    authority: Authority, settings: ListenerSettings, *, callers: CallerPolicy
) -> AsyncIterator[Listening]:
    """Both listeners, ready when it yields; stops them when left. Raises PkiError, OSError."""
    anchors = await authority.trust_anchors()
    context = _context(anchors)
    lifetime = await _renew(authority, settings, context)
    app = make_app(authority, callers=callers, organization=settings.organization)
    async with (
        _listener(app, settings.bind, settings.port, context) as port,
        _listener(make_public_app(anchors), settings.bind, settings.public_port, None) as public,
        asyncio.TaskGroup() as tasks,
    ):
        renewal = tasks.create_task(_keep_renewed(authority, settings, context, lifetime))
        try:
            yield Listening(port=port, public_port=public)
        finally:
            renewal.cancel()


def _context(anchors: TrustAnchors) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are ours
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.num_tickets = 0  # M1: every connection is a full handshake
    context.load_verify_locations(cadata="".join(anchors.caller_issuers_pem))
    return context


async def _renew(
    authority: Authority, settings: ListenerSettings, context: ssl.SSLContext
) -> float:
    """A new key and certificate in the context; half their life in seconds."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = subject_name(organization=settings.organization, common_name=settings.host_names[0])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    issued = await authority.issue_server_certificate(
        ServerCertificateRequest(
            request_id=uuid4(),
            host_names=list(settings.host_names),
            ip_addresses=list(settings.ip_addresses),
            csr_pem=csr.public_bytes(serialization.Encoding.PEM).decode("ascii"),
        )
    )
    await asyncio.to_thread(_load, context, key, issued)
    return (issued.not_after - issued.not_before).total_seconds() / 2


def _load(
    context: ssl.SSLContext, key: ec.EllipticCurvePrivateKey, issued: IssuedCertificate
) -> None:
    """The ssl module reads keys from files only: one that lives as long as the call, 0600."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with TemporaryDirectory() as directory:  # made 0700
        file = Path(directory) / "key-and-chain.pem"
        file.touch(mode=0o600)
        file.write_bytes(pem + issued.chain_pem.encode("ascii"))
        context.load_cert_chain(file)


async def _keep_renewed(
    authority: Authority, settings: ListenerSettings, context: ssl.SSLContext, lifetime: float
) -> None:
    while True:
        await asyncio.sleep(lifetime)
        try:
            lifetime = await _renew(authority, settings, context)
            log.info("listener_certificate_renewed")
        except (PkiError, OSError) as error:  # OSError: no room for the file, ssl.SSLError
            lifetime = _RENEWAL_RETRY_SECONDS
            log.warning("listener_certificate_not_renewed", error=str(error))


@asynccontextmanager
async def _listener(
    app: FastAPI, bind: str, port: int, context: ssl.SSLContext | None
) -> AsyncIterator[int]:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listening = socket.create_server((bind, port), family=family)
    config = uvicorn.Config(
        app,
        http=_PeerCertificateProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=256,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        ssl_context_factory=None if context is None else _always(context),
    )
    server = _Server(config)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(server.serve(sockets=[listening]))
            # uvicorn tells that it has started by a flag only
            while not server.started and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            try:
                yield listening.getsockname()[1]
            finally:
                server.should_exit = True
    finally:
        listening.close()


def _always(context: ssl.SSLContext) -> Callable[[uvicorn.Config, Any], ssl.SSLContext]:
    def factory(_config: uvicorn.Config, _default: Any) -> ssl.SSLContext:
        return context

    return factory
