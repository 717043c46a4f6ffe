"""csms.adapters.own_certificate: made here, kept on disk, renewed in time."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from csms.adapters import own_certificate
from csms.adapters.clock import SystemRandomness
from csms.adapters.own_certificate import CertificateKeeper, for_caller, for_listener
from pki.wire import (
    CallerCertificateRequest,
    CertificateKind,
    IssuedCertificate,
    PkiUnavailable,
    ServerCertificateRequest,
)
from tests.fixtures.pki_small import SmallCA, name, pem

LIFE = timedelta(hours=23)


class SteppedClock:
    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()


class SmallPki:
    """Issues for the key of the CSR, 23 hours; away when told."""

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.authority = SmallCA("Servers")
        self.requests: list[ServerCertificateRequest] = []
        self.away = False

    async def issue_server_certificate(
        self, request: ServerCertificateRequest
    ) -> IssuedCertificate:
        if self.away:
            raise PkiUnavailable("Vault is sealed")
        self.requests.append(request)
        csr = x509.load_pem_x509_csr(request.csr_pem.encode())
        assert csr.is_signature_valid
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in request.host_names]
        names += [x509.IPAddress(ip_address(text)) for text in request.ip_addresses]
        starts = self.clock.moment.replace(microsecond=0)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name((NameOID.COMMON_NAME, request.host_names[0])))
            .issuer_name(self.authority.certificate.subject)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(starts + LIFE)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.authority.key, hashes.SHA256())
        )
        return IssuedCertificate(
            request_id=request.request_id,
            kind=CertificateKind.SERVER,
            serial=f"{certificate.serial_number:x}",
            fingerprint_sha256="",
            public_key_sha256="",
            issuer="servers",
            subject_common_name=request.host_names[0],
            not_before=starts,
            not_after=starts + LIFE,
            certificate_pem=pem(certificate),
            chain_pem=pem(certificate) + self.authority.pem,
            already_issued=False,
        )


def keeper(
    pki: SmallPki, directory: Path, *hosts: str, with_rsa_key: bool = False
) -> CertificateKeeper:
    return for_listener(
        pki,  # type: ignore[arg-type]  # it issues server certificates and nothing else
        directory,
        host_names=hosts or ("localhost",),
        ip_addresses=("127.0.0.1",),
        clock=pki.clock,
        randomness=SystemRandomness(),
        with_rsa_key=with_rsa_key,
    )


@pytest.fixture
def pki() -> SmallPki:
    return SmallPki(SteppedClock())


def test_an_rsa_key_has_a_file_and_a_keeper_of_its_own(pki: SmallPki, tmp_path: Path) -> None:
    """A00.FR.318, 421: for certification runs, beside the other one."""
    ours, other = keeper(pki, tmp_path), keeper(pki, tmp_path, with_rsa_key=True)
    for one in (ours, other):
        asyncio.run(one.ensure())
    assert (ours.key_file.name, other.key_file.name) == ("listener.pem", "listener-rsa.pem")
    key = serialization.load_pem_private_key(other.key_file.read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 3072
    assert other.key_file.stat().st_mode & 0o777 == 0o600
    asyncio.run(keeper(pki, tmp_path, with_rsa_key=True).ensure())
    assert len(pki.requests) == 2, "the next start finds both"


def test_the_first_start_asks_for_a_certificate_that_tls_can_use(
    pki: SmallPki, tmp_path: Path
) -> None:
    ours = keeper(pki, tmp_path / "tls", "csms.example", "localhost")
    asyncio.run(ours.ensure())
    (request,) = pki.requests
    assert request.host_names == ["csms.example", "localhost"]
    assert request.ip_addresses == ["127.0.0.1"]
    assert "PRIVATE" not in request.csr_pem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.chain_file, ours.key_file)
    assert len(x509.load_pem_x509_certificates(ours.chain_file.read_bytes())) == 2
    assert ours.not_after == pki.clock.moment.replace(microsecond=0) + LIFE


def test_the_key_is_for_the_owner_only(pki: SmallPki, tmp_path: Path) -> None:
    ours = keeper(pki, tmp_path / "tls")
    asyncio.run(ours.ensure())
    assert ours.key_file.stat().st_mode & 0o777 == 0o600
    assert ours.key_file.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in ours.key_file.parent.iterdir()] == ["listener.pem"]


def test_a_restart_with_vault_sealed_uses_what_is_on_disk(pki: SmallPki, tmp_path: Path) -> None:
    first = keeper(pki, tmp_path)
    asyncio.run(first.ensure())
    pki.away = True
    second = keeper(pki, tmp_path)
    asyncio.run(second.ensure())
    assert second.not_after == first.not_after


def test_without_certificate_and_pki_there_is_no_start(pki: SmallPki, tmp_path: Path) -> None:
    pki.away = True
    with pytest.raises(PkiUnavailable):
        asyncio.run(keeper(pki, tmp_path).ensure())


def broken(file: Path, clock: SteppedClock) -> None:
    file.write_text("nonsense")


def expired(file: Path, clock: SteppedClock) -> None:
    clock.moment += LIFE


def not_yet_valid(file: Path, clock: SteppedClock) -> None:
    clock.moment -= LIFE


def with_another_key(file: Path, clock: SteppedClock) -> None:
    key = SmallCA("x").key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificates = file.read_text().split("-----END PRIVATE KEY-----\n")[1]
    file.write_text(key.decode() + certificates)


def without_names(file: Path, clock: SteppedClock) -> None:
    leaf = SmallCA("Servers").leaf(name((NameOID.COMMON_NAME, "localhost")))
    leaf.write(file.parent, file.name)


@pytest.mark.parametrize("spoil", [broken, expired, not_yet_valid, with_another_key, without_names])
def test_what_is_on_disk_and_unusable_is_replaced(
    pki: SmallPki, tmp_path: Path, spoil: Any
) -> None:
    asyncio.run(keeper(pki, tmp_path).ensure())
    spoil(tmp_path / "listener.pem", pki.clock)
    asyncio.run(keeper(pki, tmp_path).ensure())
    assert len(pki.requests) == 2


def test_other_names_than_before_are_asked_for(pki: SmallPki, tmp_path: Path) -> None:
    asyncio.run(keeper(pki, tmp_path).ensure())
    asyncio.run(keeper(pki, tmp_path, "csms.example").ensure())
    assert pki.requests[1].host_names == ["csms.example"]


def test_a_renewal_takes_a_new_key_and_tells_the_listeners(pki: SmallPki, tmp_path: Path) -> None:
    ours, told = keeper(pki, tmp_path), []
    ours.on_renewed(lambda: told.append(ours.chain_file.read_text()))
    asyncio.run(ours.ensure())
    asyncio.run(ours.renew())
    assert len(told) == 2
    assert told[0] != told[1]
    assert len({request.request_id for request in pki.requests}) == 2
    one, other = (x509.load_pem_x509_csr(r.csr_pem.encode()).public_key() for r in pki.requests)
    assert one != other


def test_a_failed_renewal_keeps_the_old_pair(pki: SmallPki, tmp_path: Path) -> None:
    ours = keeper(pki, tmp_path)
    asyncio.run(ours.ensure())
    before = ours.chain_file.read_text()
    pki.away = True
    with pytest.raises(PkiUnavailable):
        asyncio.run(ours.renew())
    assert ours.chain_file.read_text() == before


def turns(ours: CertificateKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few turns of the loop, without waiting."""
    monkeypatch.setattr(own_certificate, "RETRY_SECONDS", 0.01)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ours.run(), 0.05)

    asyncio.run(main())


def test_it_is_renewed_with_a_third_of_its_life_left(
    pki: SmallPki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = keeper(pki, tmp_path)
    asyncio.run(ours.ensure())
    pki.clock.moment += LIFE * 0.66
    turns(ours, monkeypatch)
    assert len(pki.requests) == 1
    pki.clock.moment += LIFE * 0.01
    turns(ours, monkeypatch)
    assert len(pki.requests) == 2


def test_an_outage_is_warned_of_and_an_end_within_8_hours_alarms(
    pki: SmallPki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours = keeper(pki, tmp_path)
    asyncio.run(ours.ensure())
    pki.away = True
    pki.clock.moment += timedelta(hours=15, minutes=30)
    turns(ours, monkeypatch)
    said = capsys.readouterr().out
    assert "own_certificate_not_renewed" in said
    assert "own_certificate_ends_soon" in said
    pki.away = False
    turns(ours, monkeypatch)
    assert "own_certificate_ends_soon" not in capsys.readouterr().out


def test_a_disk_that_takes_nothing_does_not_end_the_role(
    pki: SmallPki,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The end of a role is the end of the product, and with it of every station's session."""
    ours = keeper(pki, tmp_path)
    asyncio.run(ours.ensure())
    before = ours.chain_file.read_text()
    in_the_way = tmp_path / ".listener.pem.new"
    in_the_way.mkdir()
    pki.clock.moment += LIFE * 0.7
    turns(ours, monkeypatch)
    assert "own_certificate_not_renewed" in capsys.readouterr().out
    assert ours.chain_file.read_text() == before
    in_the_way.rmdir()
    turns(ours, monkeypatch)
    assert ours.chain_file.read_text() != before


def test_a_loop_that_begins_without_a_certificate_gets_one(
    pki: SmallPki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = keeper(pki, tmp_path)
    pki.away = True
    turns(ours, monkeypatch)
    assert ours.not_after is None
    pki.away = False
    turns(ours, monkeypatch)
    assert ours.not_after is not None


def test_a_caller_keeps_a_certificate_of_its_own_name_only(pki: SmallPki, tmp_path: Path) -> None:
    """A file that was carried to the wrong role's place is not used as that role's."""
    asked: list[CallerCertificateRequest] = []

    async def issue(request: CallerCertificateRequest) -> IssuedCertificate:
        asked.append(request)
        return await pki.issue_server_certificate(
            ServerCertificateRequest(
                request_id=request.request_id,
                host_names=[request.role],
                ip_addresses=[],
                csr_pem=request.csr_pem,
            )
        )

    def caller(role: str) -> CertificateKeeper:
        return for_caller(
            issue, tmp_path, role=role, clock=pki.clock, randomness=SystemRandomness()
        )

    asyncio.run(caller("worker").ensure())
    asyncio.run(caller("worker").ensure())
    assert [request.role for request in asked] == ["worker"], "what is there and fits is kept"
    (tmp_path / "api.pem").write_bytes((tmp_path / "worker.pem").read_bytes())
    asyncio.run(caller("api").ensure())
    assert [request.role for request in asked] == ["worker", "api"]
