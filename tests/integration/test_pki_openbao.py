"""The PKI on a real OpenBao: signers, sessions, ceremony, the whole cycle, one signature each."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pki.authority.hierarchy import HierarchyInvalid
from pki.settings import VaultSettings
from pki.signing.memory import MemorySigner
from pki.signing.remote_key import RemoteECKey, RemoteRSAKey, remote_key
from pki.signing.signer import Signer, SignerUnavailable, SignerUnfit, SigningKey, hash_for
from pki.signing.vault_session import VaultAccess, VaultSession
from pki.signing.vault_transit import open_signer, parse_key_id
from pki.wire import (
    PkiUnavailable,
    ServerCertificateRequest,
    StationCertificateAnswer,
    StationCertificateRequest,
    StationRegistration,
)
from pki.wiring import open_authority, read_trust_anchors, run_ceremony
from pki.x509.lint import lint
from tests.fixtures.pki_memory import csr_pem
from tests.fixtures.pki_parts import OpenBao, authority_settings, free_port, running_openbao


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with running_openbao(tmp_path_factory.mktemp("bao")) as running:
        yield running


ENCODING = serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def token_of(session: VaultSession) -> str:
    assert session._token is not None
    return session._token.value


def session_for(vault: VaultSettings, **changes: Any) -> VaultSession:
    return VaultSession(
        VaultAccess(
            **{
                "addr": vault.addr,
                "role_id": vault.role_id,
                "read_secret_id": vault.read_secret_id,
                **changes,
            }
        )
    )


# --- the signer contract: memory and Transit alike ------------------------------------------------


@pytest.fixture(params=["memory", "transit", "memory RSA", "transit RSA"])
def signer(request: pytest.FixtureRequest, bao: OpenBao) -> Iterator[Signer]:
    if request.param.startswith("memory"):
        yield MemorySigner("memory/key:v1", rsa_bits=3072 if "RSA" in request.param else None)
        return
    name = "csms-issuer-stations"
    if "RSA" in request.param:
        name = "csms-issuer-servers-rsa"
        bao.request("POST", f"transit/keys/{name}", {"type": "rsa-3072"})
    session = session_for(bao.approle("csms-pki"))
    yield open_signer(session, mount="transit", name=name)
    session.close()


def check(key: SigningKey, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature."""
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    else:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))


def test_a_signature_verifies_with_the_public_key(signer: Signer) -> None:
    digest = hashlib.sha256(b"message").digest()
    signature = signer.sign_digest(digest, hashes.SHA256())
    check(signer.public_key, signature, b"message")
    with pytest.raises(InvalidSignature):
        check(signer.public_key, signature, b"other")


def test_a_digest_of_the_wrong_length_is_refused(signer: Signer) -> None:
    with pytest.raises(SignerUnfit):
        signer.sign_digest(b"short", hashes.SHA256())


def test_a_signer_names_key_and_version(signer: Signer) -> None:
    mount, name, version = parse_key_id(signer.key_id)
    assert (mount in {"memory", "transit"}, bool(name), version >= 1) == (True, True, True)


def test_the_remote_key_signs_and_does_nothing_else(signer: Signer) -> None:
    key = remote_key(signer)
    assert copy(key) is key
    assert deepcopy(key) is key
    refusals: list[Callable[[], object]] = [
        key.private_numbers,
        lambda: key.private_bytes(ENCODING, PKCS8, PLAIN),
    ]
    sha256, hashed = hash_for(key.public_key()), Prehashed(hashes.SHA256())
    match key:
        case RemoteECKey():
            signature = key.sign(b"message", ec.ECDSA(sha256))
            assert (key.curve.name, key.key_size) == ("secp256r1", 256)
            refusals += [
                lambda: key.exchange(ec.ECDH(), key.public_key()),
                lambda: key.sign(b"x" * 32, ec.ECDSA(hashed)),
            ]
        case RemoteRSAKey():
            signature = key.sign(b"message", padding.PKCS1v15(), sha256)
            assert key.key_size == 3072
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            refusals += [
                lambda: key.decrypt(b"x" * 384, padding.PKCS1v15()),
                lambda: key.sign(b"x" * 32, padding.PKCS1v15(), hashed),
                lambda: key.sign(b"x" * 32, pss, sha256),
            ]
    check(key.public_key(), signature, b"message")
    for refused in refusals:
        with pytest.raises(UnsupportedAlgorithm):
            refused()


# --- the session ----------------------------------------------------------------------------------


def test_the_pki_role_cannot_sign_with_the_root(bao: OpenBao) -> None:
    session = session_for(bao.approle("csms-pki"))
    with pytest.raises(SignerUnavailable, match="403"):
        open_signer(session, mount="transit", name="csms-root")
    session.close()


def test_the_ceremony_role_cannot_sign_with_an_issuing_key(bao: OpenBao) -> None:
    session = session_for(bao.approle("csms-ceremony"))
    issuer = open_signer(session, mount="transit", name="csms-issuer-stations")
    with pytest.raises(SignerUnavailable, match="403"):
        issuer.sign_digest(bytes(32), hashes.SHA256())
    session.close()


def test_a_revoked_token_is_replaced(bao: OpenBao) -> None:
    session = session_for(bao.approle("csms-pki"))
    signer = open_signer(session, mount="transit", name="csms-issuer-stations")
    bao.request("POST", "auth/token/revoke", {"token": token_of(session)})
    assert signer.sign_digest(bytes(32), hashes.SHA256())
    session.close()


def test_a_token_is_renewed_and_at_its_end_replaced(bao: OpenBao) -> None:
    clock = [0.0]
    vault = bao.approle("csms-pki")
    session = VaultSession(
        VaultAccess(addr=vault.addr, role_id=vault.role_id, read_secret_id=vault.read_secret_id),
        monotonic=lambda: clock[0],
    )
    session.read("transit/keys/csms-issuer-stations")
    first = token_of(session)
    clock[0] += 900  # two thirds of 20 minutes are over
    session.read("transit/keys/csms-issuer-stations")
    assert token_of(session) == first
    clock[0] += 1300  # longer than the renewed lease
    session.read("transit/keys/csms-issuer-stations")
    assert token_of(session) != first
    session.close()


def test_a_wrong_secret_backs_off_and_tells_nothing(bao: OpenBao, tmp_path: Path) -> None:
    wrong = tmp_path / "secret"
    wrong.write_text("not-the-secret-id")
    session = session_for(bao.approle("csms-pki"), read_secret_id=wrong.read_text)
    with pytest.raises(SignerUnavailable, match="login failed") as caught:
        session.read("transit/keys/csms-issuer-stations")
    assert "not-the-secret-id" not in repr(caught.value.__cause__)
    with pytest.raises(SignerUnavailable, match="backing off"):
        session.read("transit/keys/csms-issuer-stations")
    session.close()


def test_a_missing_secret_file_is_unavailable(bao: OpenBao, tmp_path: Path) -> None:
    session = session_for(bao.approle("csms-pki"), read_secret_id=(tmp_path / "none").read_text)
    with pytest.raises(SignerUnavailable):
        session.read("transit/keys/csms-issuer-stations")


def test_nobody_at_the_address_is_unavailable(bao: OpenBao) -> None:
    session = session_for(bao.approle("csms-pki"), addr=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SignerUnavailable):
        session.read("transit/keys/csms-issuer-stations")


def test_a_token_is_in_no_repr(bao: OpenBao) -> None:
    session = session_for(bao.approle("csms-pki"))
    session.read("transit/keys/csms-issuer-stations")
    assert token_of(session) not in repr(session) + repr(session._token)
    session.close()


def test_a_key_version_that_does_not_exist_is_unfit(bao: OpenBao) -> None:
    session = session_for(bao.approle("csms-pki"))
    with pytest.raises(SignerUnfit):
        open_signer(session, mount="transit", name="csms-issuer-stations", version=9)
    session.close()


@pytest.mark.parametrize("text", ["", "transit/key", "key:v1", "transit/key:vx"])
def test_other_text_is_no_key_id(text: str) -> None:
    with pytest.raises(SignerUnfit):
        parse_key_id(text)


# --- the whole ------------------------------------------------------------------------------------


def test_ceremony_and_cycle_with_one_signature_per_certificate(
    bao: OpenBao, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = authority_settings(tmp_path, bao.approle("csms-pki"))
        with pytest.raises(HierarchyInvalid, match="ceremony"):
            async with open_authority(settings):
                pass
        before = bao.signatures()
        anchors = await run_ceremony(settings, bao.approle("csms-ceremony"))
        assert bao.signatures() - before == 4
        again = await run_ceremony(settings, bao.approle("csms-ceremony"))
        assert (again, bao.signatures() - before) == (anchors, 4)
        assert await read_trust_anchors(settings) == anchors
        for pem in [
            anchors.root_pem, *anchors.station_issuers_pem,
            *anchors.server_issuers_pem, *anchors.caller_issuers_pem,
        ]:  # fmt: skip
            lint(
                x509.load_pem_x509_certificate(pem.encode()).public_bytes(
                    serialization.Encoding.DER
                )
            )
        before = bao.signatures()
        async with open_authority(settings) as authority:
            requests = []
            for number in range(10):
                station = uuid4()
                await authority.register_station(StationRegistration(station, f"CS{number}"))
                requests.append(StationCertificateRequest(uuid4(), station, csr_pem(f"CS{number}")))
            answers = await asyncio.gather(
                *(authority.issue_station_certificate(r) for r in [*requests, *requests])
            )
        assert len({a.issued.serial for a in answers}) == 10
        assert bao.signatures() - before == 10
        async with open_authority(settings) as authority:  # a restart finds everything again
            answer = await authority.issue_station_certificate(requests[0])
            assert answer.issued.already_issued

    asyncio.run(main())


def test_the_rsa_part_is_added_later_and_the_other_stays_as_it_is(
    bao: OpenBao, tmp_path: Path
) -> None:
    """T2: `csms vault apply --ceremony` on one's own Vault, after the TLS policy was changed."""

    async def main() -> None:
        modern = authority_settings(tmp_path, bao.approle("csms-pki"))
        settings = modern.model_copy(update={"with_rsa": True})
        before = await run_ceremony(modern, bao.approle("csms-ceremony"))
        with pytest.raises(HierarchyInvalid, match="no RSA hierarchy"):
            async with open_authority(settings):
                pass
        with pytest.raises(PkiUnavailable, match="`csms vault apply` makes both"):
            await run_ceremony(settings, bao.approle("csms-ceremony"))
        for key in ("csms-root-rsa", "csms-issuer-servers-rsa"):
            bao.request("POST", f"transit/keys/{key}", {"type": "rsa-3072"})
        signed = bao.signatures()
        after = await run_ceremony(settings, bao.approle("csms-ceremony"))
        assert await run_ceremony(settings, bao.approle("csms-ceremony")) == after
        assert bao.signatures() - signed == 2
        assert after.root_pem == before.root_pem
        assert after.server_issuers_pem[:1] == before.server_issuers_pem
        assert await read_trust_anchors(modern) == before, "under modern it is not published"
        async with open_authority(settings) as authority:
            listener = rsa.generate_private_key(65537, 3072)
            request = ServerCertificateRequest(
                uuid4(), ["localhost"], [], csr_pem("localhost", key=listener)
            )
            issued = await authority.issue_server_certificate(request)
            chain = x509.load_pem_x509_certificates(
                (issued.chain_pem + after.rsa_root_pem).encode()
            )
            chain[0].verify_directly_issued_by(chain[1])
            chain[1].verify_directly_issued_by(chain[2])

    asyncio.run(main())


def test_a_rotated_transit_key_goes_on_signing_with_the_certified_version(
    bao: OpenBao, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = authority_settings(tmp_path, bao.approle("csms-pki"))
        await run_ceremony(settings, bao.approle("csms-ceremony"))
        bao.request("POST", "transit/keys/csms-issuer-stations/rotate", {})
        async with open_authority(settings) as authority:
            station = uuid4()
            await authority.register_station(StationRegistration(station, "CS001"))
            request = StationCertificateRequest(uuid4(), station, csr_pem("CS001"))
            assert not (await authority.issue_station_certificate(request)).issued.already_issued

    asyncio.run(main())


def test_a_sealed_vault_is_unavailable_at_once_and_works_again_after_the_unsealing(
    tmp_path: Path,
) -> None:
    """H01: nobody waits for a sealed Vault, and nobody restarts us when it is open again."""

    async def main(bao: OpenBao) -> None:
        settings = authority_settings(tmp_path, bao.approle("csms-pki"))
        await run_ceremony(settings, bao.approle("csms-ceremony"))
        async with open_authority(settings) as authority:
            requests = []
            for number in range(4):
                station = uuid4()
                await authority.register_station(StationRegistration(station, f"CS{number}"))
                requests.append(StationCertificateRequest(uuid4(), station, csr_pem(f"CS{number}")))
            await authority.issue_station_certificate(requests[0])
            await asyncio.to_thread(bao.request, "POST", "sys/seal", {})
            started = time.monotonic()
            answers = await asyncio.gather(
                *(authority.issue_station_certificate(r) for r in requests), return_exceptions=True
            )
            assert time.monotonic() - started < 5
            assert isinstance(answers[0], StationCertificateAnswer)  # a repeat needs no signature
            assert [type(a) for a in answers[1:]] == [PkiUnavailable] * 3
            await asyncio.to_thread(bao.unseal)
            deadline = time.monotonic() + 10
            issued = None
            while issued is None and time.monotonic() < deadline:
                try:
                    issued = (await authority.issue_station_certificate(requests[1])).issued
                except PkiUnavailable:
                    await asyncio.sleep(0.1)  # the session backs off
            assert issued is not None
            assert not issued.already_issued

    directory = tmp_path / "bao"
    directory.mkdir()
    with running_openbao(directory) as own:
        asyncio.run(main(own))


def test_a_token_revoked_under_the_authority_is_replaced(bao: OpenBao, tmp_path: Path) -> None:
    async def main() -> None:
        settings = authority_settings(tmp_path, bao.approle("csms-pki"))
        await run_ceremony(settings, bao.approle("csms-ceremony"))
        async with open_authority(settings) as authority:
            accessors = bao.request("LIST", "auth/token/accessors")["data"]["keys"]
            for accessor in accessors:
                looked_up = bao.request(
                    "POST", "auth/token/lookup-accessor", {"accessor": accessor}
                )["data"]
                if looked_up["path"] == "auth/approle/login":
                    bao.request("POST", "auth/token/revoke-accessor", {"accessor": accessor})
            station = uuid4()
            await authority.register_station(StationRegistration(station, "CS001"))
            requests = [
                StationCertificateRequest(uuid4(), station, csr_pem("CS001")) for _ in range(6)
            ]
            answers = await asyncio.gather(
                *(authority.issue_station_certificate(r) for r in requests)
            )
            assert len({a.issued.serial for a in answers}) == 6

    asyncio.run(main())


def test_without_vault_the_authority_opens_and_signs_nothing(bao: OpenBao, tmp_path: Path) -> None:
    """The anchors are its database's; a station's request waits, and leaves no intent behind."""

    async def main() -> None:
        settings = authority_settings(tmp_path, bao.approle("csms-pki"))
        anchors = await run_ceremony(settings, bao.approle("csms-ceremony"))
        away = settings.vault.model_copy(update={"addr": f"http://127.0.0.1:{free_port()}"})
        async with open_authority(settings.model_copy(update={"vault": away})) as authority:
            assert await authority.trust_anchors() == anchors
            station = uuid4()
            await authority.register_station(StationRegistration(station, "CS001"))
            request = StationCertificateRequest(uuid4(), station, csr_pem("CS001"))
            with pytest.raises(PkiUnavailable):
                await authority.issue_station_certificate(request)
            with pytest.raises(PkiUnavailable):
                await authority.check_signing()
            assert await authority.reconcile() == 0

    asyncio.run(main())


def test_a_vault_with_other_keys_than_the_hierarchy_is_refused(
    bao: OpenBao, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = authority_settings(tmp_path, bao.approle("csms-pki"))
        await run_ceremony(settings, bao.approle("csms-ceremony"))
        other = tmp_path / "bao"
        other.mkdir()
        with running_openbao(other) as stranger:
            changed = settings.model_copy(update={"vault": stranger.approle("csms-pki")})
            with pytest.raises((HierarchyInvalid, PkiUnavailable)):  # the version may be missing
                async with open_authority(changed):
                    pass

    asyncio.run(main())
