"""Ours: the certification authority in-process, on SQLite, with the bundled OpenBao beside it.

`python -m bench.servers.authority DIRECTORY` makes a first start (ceremony included), then obeys:

    issue   `count` fresh CSRs through the whole issuance cycle, `at_once` at a time
    sign    `count` Transit signatures over the same kind of digest, `at_once` connections

The raw side writes one prepared request again and again on kept TLS connections, with no client
library: what is left is OpenBao's own work.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.commands import Answer, log_as_csms_does, obey, say
from bench.measuring import ROOT, cpu_seconds
from csms.adapters.openbao import BundledOpenBao
from csms.adapters.vault import Role, VaultCredentials, VaultSettings
from pki.authority.service import Authority
from pki.settings import AuthoritySettings
from pki.settings import VaultSettings as PkiVaultSettings
from pki.wire import StationCertificateRequest, StationRegistration
from pki.wiring import open_authority, run_ceremony

_KEY = "csms-issuer-stations"
_STATIONS = 50


class Bench:
    def __init__(self, authority: Authority, openbao: BundledOpenBao, stations: list[UUID]) -> None:
        self._authority = authority
        self._openbao = openbao
        self._stations = stations
        self._digest = base64.b64encode(hashlib.sha256(b"bench").digest()).decode()

    async def issue(self, count: int, at_once: int) -> Answer:
        requests = [self._request(number) for number in range(count)]
        waiting = iter(requests)

        async def worker() -> None:
            for request in waiting:
                answer = await self._authority.issue_station_certificate(request)
                if answer.issued.already_issued:
                    raise AssertionError("a fresh key was known already")

        cpu, began = cpu_seconds(os.getpid()), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())
        seconds = time.perf_counter() - began
        return {"done": count, "seconds": seconds, "cpu": cpu_seconds(os.getpid()) - cpu}

    async def sign(self, count: int, at_once: int) -> Answer:
        identity = self._openbao.settings(Role.PKI)
        each = count // at_once
        with ThreadPoolExecutor(at_once) as threads:
            loop = asyncio.get_running_loop()
            signers = await asyncio.gather(
                *[loop.run_in_executor(threads, self._connected, identity) for _ in range(at_once)]
            )
            began = time.perf_counter()
            await asyncio.gather(
                *[loop.run_in_executor(threads, signer.sign, each) for signer in signers]
            )
            seconds = time.perf_counter() - began
        return {"done": each * at_once, "seconds": seconds}

    def _connected(self, identity: VaultSettings) -> RawSigner:
        return RawSigner(identity, self._digest)

    def _request(self, number: int) -> StationCertificateRequest:
        index = number % len(self._stations)
        return StationCertificateRequest(
            request_id=uuid4(), station_id=self._stations[index], csr_pem=_csr(_serial(index))
        )


class RawSigner:
    """One kept connection that sends one request again and again."""

    def __init__(self, identity: VaultSettings, digest: str) -> None:
        url = urlsplit(identity.addr)
        context = ssl.create_default_context(cafile=str(identity.ca_file))
        self._http = HTTPSConnection(url.hostname or "", url.port, timeout=10, context=context)
        secret_id = identity.secret_id_file.read_text(encoding="ascii").strip()
        login = {"role_id": identity.role_id, "secret_id": secret_id}
        token = self._post("auth/approle/login", json.dumps(login), {})["auth"]["client_token"]
        body = json.dumps({"input": digest, "prehashed": True, "marshaling_algorithm": "asn1"})
        self._prepared = (
            f"POST /v1/transit/sign/{_KEY}/sha2-256 HTTP/1.1\r\nHost: {url.netloc}\r\n"
            f"X-Vault-Token: {token}\r\nX-Vault-Request: true\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def sign(self, count: int) -> None:
        sock = self._http.sock
        for _ in range(count):
            sock.sendall(self._prepared)
            answer = sock.recv(65536)
            while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
                answer += sock.recv(65536)
            if b'"vault:v' not in answer:
                raise AssertionError("Transit did not sign")
        self._http.close()

    def _post(self, path: str, body: str, headers: dict[str, str]) -> dict[str, dict[str, str]]:
        self._http.request("POST", f"/v1/{path}", body, headers)
        answer: dict[str, dict[str, str]] = json.loads(self._http.getresponse().read())
        return answer


def _serial(index: int) -> str:
    return f"SN{index:05d}"


def _csr(common_name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _settings(directory: Path, vault: PkiVaultSettings) -> AuthoritySettings:
    return AuthoritySettings(
        database_url=f"sqlite+aiosqlite:///{directory}/pki.db",
        organization="Example CSO",
        public_base_url="http://127.0.0.1:8080",
        vault=vault,
        profiles_file=ROOT / "policies" / "certificate-profiles.toml",
        ceremony_file=ROOT / "certs" / "ceremony.toml",
    )


async def serve(directory: Path) -> None:
    openbao = BundledOpenBao(directory / "openbao", policies_dir=ROOT / "policies" / "vault")

    async def ceremony(credentials: VaultCredentials) -> None:
        vault = PkiVaultSettings.model_validate(
            {
                "addr": credentials.addr,
                "role_id": credentials.role_id,
                "ca_file": credentials.ca_file,
                "secret_id": credentials.secret_id,
            }
        )
        await run_ceremony(_settings(directory, vault), vault)

    await openbao.start(ceremony)
    try:
        identity = openbao.settings(Role.PKI)
        vault = PkiVaultSettings(
            addr=identity.addr,
            role_id=identity.role_id,
            ca_file=identity.ca_file,
            secret_id_file=identity.secret_id_file,
        )
        async with open_authority(_settings(directory, vault)) as authority:
            stations = [uuid4() for _ in range(_STATIONS)]
            for index, station in enumerate(stations):
                await authority.register_station(
                    StationRegistration(station_id=station, serial_number=_serial(index))
                )
            bench = Bench(authority, openbao, stations)
            say({"ready": True, "openbao": openbao.pid})
            await obey({"issue": bench.issue, "sign": bench.sign})
    finally:
        await openbao.stop()


if __name__ == "__main__":
    log_as_csms_does()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1])))
