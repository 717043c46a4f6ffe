"""What OpenSSL says of our chains: which it accepts, and for which purpose it refuses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.wire import (
    CallerCertificateRequest,
    IssuedCertificate,
    ServerCertificateRequest,
    StationCertificateRequest,
    StationRegistration,
)
from pki.wiring import utc_now
from pki.x509.lint import lint
from tests.fixtures.pki_memory import csr_pem, memory_authority, memory_ca, memory_store
from tests.fixtures.pki_parts import free_port


class House:
    """root.pem, the issuing CAs, and a chain and key file for each kind of leaf."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        asyncio.run(self._issue(directory))

    async def _issue(self, directory: Path) -> None:
        keys = {
            kind: ec.generate_private_key(ec.SECP256R1())
            for kind in ("station", "server", "caller")
        }
        station, now = uuid4(), utc_now()
        async with (
            memory_store(directory) as store,
            memory_authority(store, ca=memory_ca(now), clock=lambda: now) as authority,
        ):
            anchors = await authority.trust_anchors()
            await authority.register_station(StationRegistration(station, "CS001"))
            answer = await authority.issue_station_certificate(
                StationCertificateRequest(uuid4(), station, csr_pem("CS001", key=keys["station"]))
            )
            server = await authority.issue_server_certificate(
                ServerCertificateRequest(
                    uuid4(), ["localhost"], ["127.0.0.1"], csr_pem("localhost", key=keys["server"])
                )
            )
            caller = await authority.issue_caller_certificate(
                CallerCertificateRequest(uuid4(), "worker", csr_pem("worker", key=keys["caller"]))
            )
        self.file("root").write_text(anchors.root_pem)
        self.file("stations").write_text(anchors.station_issuers_pem[0])
        self.file("servers").write_text(anchors.server_issuers_pem[0])
        self.file("callers").write_text(anchors.caller_issuers_pem[0])
        for kind, issued in (("station", answer.issued), ("server", server), ("caller", caller)):
            self._leaf(kind, issued, keys[kind])

    def _leaf(self, kind: str, issued: IssuedCertificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.file(kind).write_text(issued.chain_pem)
        self.file(f"{kind}-key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def file(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def verify(self, kind: str, purpose: str, *arguments: str) -> bool:
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, *arguments]
        chain = str(self.file(kind))
        done = subprocess.run(
            [*command, "-untrusted", chain, chain], capture_output=True, check=False
        )
        return done.returncode == 0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.mark.parametrize(
    ("kind", "purpose", "accepted"),
    [
        ("station", "sslclient", True),
        ("station", "sslserver", False),  # decision 3: a stolen station key cannot pose as us
        ("server", "sslserver", True),
        ("server", "sslclient", False),
        ("caller", "sslclient", True),
        ("caller", "sslserver", False),
    ],
)
def test_a_chain_to_the_root_serves_one_purpose(
    house: House, kind: str, purpose: str, *, accepted: bool
) -> None:
    assert house.verify(kind, purpose, "-CAfile", str(house.file("root"))) is accepted


@pytest.mark.parametrize(
    ("kind", "store", "accepted"),
    [
        ("station", "stations", True),
        ("caller", "stations", False),
        ("server", "stations", False),
        ("caller", "callers", True),
        ("station", "callers", False),
        ("server", "callers", False),
        ("caller", "servers", False),
    ],
)
def test_a_trust_store_of_one_issuing_ca_accepts_its_own_leaves_only(
    house: House, kind: str, store: str, *, accepted: bool
) -> None:
    """Decision 3: the profile-3 store holds the station issuing CA as a partial chain."""
    arguments = ("-partial_chain", "-no-CApath", "-no-CAstore", "-CAfile", str(house.file(store)))
    assert house.verify(kind, "sslclient", *arguments) is accepted


@pytest.mark.parametrize(
    ("kind", "accepted"), [("station", True), ("caller", False), ("server", False)]
)
def test_a_listener_with_the_stations_store_lets_stations_in_only(
    house: House, kind: str, *, accepted: bool
) -> None:
    """The same over a real handshake, with Python's TLS as the gateway uses it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(house.file("server"), house.file("server-key"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    server.load_verify_locations(house.file("stations"))
    client = ssl.create_default_context(cafile=str(house.file("root")))
    client.load_cert_chain(house.file(kind), house.file(f"{kind}-key"))
    assert _handshake(server, client) is accepted


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    outcome: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            try:
                with server.wrap_socket(accepted, server_side=True):
                    outcome.append(True)
            except ssl.SSLError:
                outcome.append(False)
            finally:
                accepted.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listening.getsockname()) as raw:
            try:
                with client.wrap_socket(raw, server_hostname="localhost") as connected:
                    connected.recv(1)
            except OSError:
                pass
        thread.join(10)
    return outcome == [True]


@pytest.mark.parametrize(("kind", "accepted"), [("server", True), ("station", False)])
def test_openssl_s_client_refuses_a_station_that_poses_as_a_server(
    house: House, kind: str, *, accepted: bool
) -> None:
    port = free_port()
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-quiet", "-cert",
         str(house.file(kind)), "-cert_chain", str(house.file(kind)),
         "-key", str(house.file(f"{kind}-key"))],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port)
        client = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile",
             str(house.file("root")), "-verify_return_error", "-brief"],
            input=b"", capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    finally:
        server.kill()
        server.communicate()
    assert (b"Verification: OK" in client.stderr) is accepted, client.stderr
    assert (client.returncode == 0) is accepted
    if not accepted:
        assert b"purpose" in client.stderr or b"unsuitable" in client.stderr


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            threading.Event().wait(0.02)
        else:
            return
    raise AssertionError("s_server did not start")


@pytest.mark.parametrize(
    "name", ["root", "stations", "servers", "callers", "station", "server", "caller"]
)
def test_pkilint_finds_no_error_in_what_was_really_signed(house: House, name: str) -> None:
    certificate = x509.load_pem_x509_certificates(house.file(name).read_bytes())[0]
    lint(certificate.public_bytes(serialization.Encoding.DER))
