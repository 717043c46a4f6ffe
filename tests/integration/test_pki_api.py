"""The PKI as a role of its own: mutual TLS, callers by policy, and the public port."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.api.callers import (
    CallerForbidden,
    CallersInvalid,
    Operation,
    identify,
    load_callers,
)
from pki.api.server import ListenerSettings, Listening, serve
from pki.authority.service import Authority
from pki.wire import (
    CallerCertificateRequest,
    IssuedCertificate,
    Revocation,
    ServerCertificateRequest,
    StationCertificateAnswer,
    StationCertificateRequest,
    StationRegistration,
    TrustAnchors,
)
from pki.wiring import utc_now
from tests.fixtures.pki_memory import (
    ORGANIZATION,
    ROOT,
    csr_pem,
    memory_authority,
    memory_ca,
    memory_store,
)

CALLERS = (ROOT / "policies" / "callers.toml").read_bytes()


@dataclass
class House:
    directory: Path
    authority: Authority
    listening: Listening
    anchors: TrustAnchors

    async def caller(self, role: str) -> httpx2.AsyncClient:
        key = ec.generate_private_key(ec.SECP256R1())
        issued = await self.authority.issue_caller_certificate(
            CallerCertificateRequest(uuid4(), role, csr_pem(role, key=key))
        )
        return self.client(issued, key)

    def client(
        self, issued: IssuedCertificate | None, key: ec.EllipticCurvePrivateKey | None
    ) -> httpx2.AsyncClient:
        context = ssl.create_default_context(cadata=self.anchors.root_pem)
        if issued is not None and key is not None:
            file = self.directory / f"{issued.serial}.pem"
            file.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + issued.chain_pem.encode()
            )
            context.load_cert_chain(file)
        return httpx2.AsyncClient(
            base_url=f"https://localhost:{self.listening.port}", verify=context, trust_env=False
        )


@asynccontextmanager
async def house(directory: Path) -> AsyncIterator[House]:
    async with (
        memory_store(directory) as store,
        memory_authority(store, ca=memory_ca(utc_now()), clock=utc_now) as authority,
        serve(
            authority,
            ListenerSettings(
                bind="127.0.0.1",
                port=0,
                public_port=0,
                host_names=("localhost",),
                ip_addresses=("127.0.0.1",),
                organization=ORGANIZATION,
            ),
            callers=load_callers(CALLERS),
        ) as listening,
    ):
        yield House(directory, authority, listening, await authority.trust_anchors())


def run(directory: Path, talk: Callable[[House], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with house(directory) as open_house:
            return await talk(open_house)

    return asyncio.run(main())


def body(value: Any) -> bytes:
    return msgspec.json.encode(value)


def test_a_worker_registers_issues_and_revokes(tmp_path: Path) -> None:
    async def talk(h: House) -> None:
        station = uuid4()
        async with await h.caller("worker") as worker:
            done = await worker.post(
                "/v1/registrations", content=body(StationRegistration(station, "CS001"))
            )
            assert done.status_code == 204
            request = StationCertificateRequest(uuid4(), station, csr_pem("CS001"))
            done = await worker.post("/v1/station-certificates", content=body(request))
            assert done.status_code == 200
            issued = msgspec.json.decode(done.content, type=StationCertificateAnswer).issued
            revocation = Revocation("stations", issued.serial, "superseded", utc_now())
            done = await worker.post("/v1/revocations", content=body(revocation))
            assert done.status_code == 204
            done = await worker.get("/v1/trust-anchors")
            assert msgspec.json.decode(done.content, type=TrustAnchors) == h.anchors

    run(tmp_path, talk)


def test_a_refusal_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    async def talk(h: House) -> None:
        request = StationCertificateRequest(uuid4(), uuid4(), csr_pem("CS001"))
        async with await h.caller("worker") as worker:
            done = await worker.post("/v1/station-certificates", content=body(request))
        assert (done.status_code, done.json()["reason"]) == (422, "not_registered")
        assert done.headers["content-type"] == "application/problem+json"

    run(tmp_path, talk)


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("gateway", "/v1/registrations"),
        ("gateway", "/v1/station-certificates"),
        ("api", "/v1/station-certificates"),
        ("files", "/v1/revocations"),
        ("worker", "/v1/server-certificates"),
        ("stranger", "/v1/caller-certificates"),
    ],
)
def test_what_is_not_listed_is_forbidden(tmp_path: Path, role: str, path: str) -> None:
    async def talk(h: House) -> int:
        async with await h.caller(role) as caller:
            return (await caller.post(path, content=b"{}")).status_code

    assert run(tmp_path, talk) == 403


def test_a_listener_and_a_caller_renew_for_themselves_only(tmp_path: Path) -> None:
    async def talk(h: House) -> list[int]:
        mine = CallerCertificateRequest(uuid4(), "gateway", csr_pem("gateway"))
        theirs = CallerCertificateRequest(uuid4(), "worker", csr_pem("worker"))
        server = ServerCertificateRequest(uuid4(), ["localhost"], [], csr_pem("localhost"))
        async with await h.caller("gateway") as gateway:
            return [
                (await gateway.post("/v1/caller-certificates", content=body(mine))).status_code,
                (await gateway.post("/v1/caller-certificates", content=body(theirs))).status_code,
                (await gateway.post("/v1/server-certificates", content=body(server))).status_code,
            ]

    assert run(tmp_path, talk) == [200, 403, 200]


def test_strangers_stations_and_listeners_do_not_get_as_far_as_http(tmp_path: Path) -> None:
    """Without a certificate, with a station's, with a server's."""

    async def talk(h: House) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        station = uuid4()
        await h.authority.register_station(StationRegistration(station, "CS001"))
        answer = await h.authority.issue_station_certificate(
            StationCertificateRequest(uuid4(), station, csr_pem("CS001", key=key))
        )
        server_key = ec.generate_private_key(ec.SECP256R1())
        server = await h.authority.issue_server_certificate(
            ServerCertificateRequest(
                uuid4(), ["localhost"], [], csr_pem(key=server_key, common_name=None)
            )
        )
        for issued, own in ((None, None), (answer.issued, key), (server, server_key)):
            async with h.client(issued, own) as client:
                with pytest.raises(httpx2.TransportError):
                    await client.get("/v1/trust-anchors")

    run(tmp_path, talk)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"serial_number":"\xff"}', 400),
        (b'{"station_id":"x"}', 400),
        (b'{"station_id":"00000000-0000-0000-0000-000000000001","serial_number":"A","x":1}', 400),
        (b" " * 65537, 413),
    ],
)
def test_a_body_that_is_not_the_operations_is_refused(
    tmp_path: Path, content: bytes, status: int
) -> None:
    async def talk(h: House) -> int:
        async with await h.caller("worker") as worker:
            return (await worker.post("/v1/registrations", content=content)).status_code

    assert run(tmp_path, talk) == status


def test_the_public_port_serves_the_anchors_and_nothing_else(tmp_path: Path) -> None:
    async def talk(h: House) -> None:
        base = f"http://127.0.0.1:{h.listening.public_port}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            found = await client.get("/pki/ca.pem")
            assert found.status_code == 200
            assert found.text.startswith(h.anchors.root_pem)
            assert h.anchors.station_issuers_pem[0] in found.text
            assert "PRIVATE" not in found.text
            for path in ("/", "/docs", "/openapi.json", "/v1/trust-anchors", "/pki/crl/x.crl"):
                assert (await client.get(path)).status_code == 404

    run(tmp_path, talk)


# --- the policy file ------------------------------------------------------------------------------


def test_what_the_file_does_not_name_is_nobodys() -> None:
    policy = load_callers(b'revoke = ["worker"]')
    policy.permit("worker", Operation.REVOKE)
    with pytest.raises(CallerForbidden):
        policy.permit("worker", Operation.TRUST_ANCHORS)


@pytest.mark.parametrize(
    "toml", [b'sign_anything = ["api"]', b'revoke = "api"', b'revoke = ["*"]', b"["]
)
def test_an_unknown_operation_or_role_stops_the_start(toml: bytes) -> None:
    with pytest.raises(CallersInvalid):
        load_callers(toml)


def test_a_root_is_no_caller_and_neither_is_nobody() -> None:
    root = memory_ca().hierarchy.root.public_bytes(serialization.Encoding.DER)
    for certificate in (None, b"", root):
        with pytest.raises(CallerForbidden):
            identify(certificate, organization=ORGANIZATION)
