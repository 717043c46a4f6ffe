"""The authority: who gets what, what is repeated, what is refused, what a crash leaves."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlalchemy import create_engine, text

from pki.authority.hierarchy import HierarchyInvalid, IssuerName
from pki.authority.issuance import IssuanceBroken
from pki.authority.records import StoreUnavailable
from pki.authority.service import Authority
from pki.signing.memory import MemorySigner
from pki.signing.signer import Signer, SignerUnavailable, SigningKey
from pki.wire import (
    CallerCertificateRequest,
    CertificateKind,
    PkiRefused,
    PkiUnavailable,
    RefusalReason,
    Revocation,
    ServerCertificateRequest,
    StationCertificateRequest,
    StationRegistration,
)
from pki.x509.chain import verify_chain
from tests.fixtures.pki_memory import (
    NOW,
    ORGANIZATION,
    Clock,
    MemoryCA,
    csr_pem,
    memory_authority,
    memory_ca,
    memory_store,
    profiles,
)

R = RefusalReason
STATION = UUID("00000000-0000-0000-0000-000000000001")
OTHER = UUID("00000000-0000-0000-0000-000000000002")


def run(directory: Path, talk: Callable[[Authority], Awaitable[Any]], **parts: Any) -> Any:
    """A registered station CS001 (and CS002), and the talk with the authority."""

    async def main() -> Any:
        async with (
            memory_store(directory) as store,
            memory_authority(parts.pop("wrap", lambda s: s)(store), **parts) as authority,
        ):
            await authority.register_station(StationRegistration(STATION, "CS001"))
            await authority.register_station(StationRegistration(OTHER, "CS002"))
            return await talk(authority)

    return asyncio.run(main())


def rows(directory: Path, table: str) -> list[Any]:
    engine = create_engine(f"sqlite:///{directory}/pki.db")
    with engine.connect() as connection:
        found = list(connection.execute(text(f"SELECT * FROM {table}")).mappings())
    engine.dispose()
    return found


def ask(pem: str | None = None, **changes: Any) -> StationCertificateRequest:
    return StationCertificateRequest(
        **{"request_id": uuid4(), "station_id": STATION, "csr_pem": pem or csr_pem(), **changes}
    )


async def refusal(waiting: Awaitable[Any]) -> RefusalReason:
    with pytest.raises(PkiRefused) as caught:
        await waiting
    return caught.value.reason


def test_a_station_gets_its_certificate(tmp_path: Path) -> None:
    ca, request = memory_ca(), ask()
    answer = run(tmp_path, lambda a: a.issue_station_certificate(request), ca=ca)
    issued = answer.issued
    leaf, issuer = x509.load_pem_x509_certificates(issued.chain_pem.encode())
    assert issuer == ca.hierarchy.issuers[IssuerName.STATIONS].certificate
    verify_chain(leaf, issuers=[issuer], key_policy=profiles().key_policy, now=NOW)
    assert leaf.subject.rfc4514_string() == f"CN=CS001,O={ORGANIZATION}"
    assert issued.serial == f"{leaf.serial_number:x}"
    assert (issued.kind, issued.issuer) == (CertificateKind.STATION, "stations")
    assert issued.certificate_pem == leaf.public_bytes(serialization.Encoding.PEM).decode()
    assert (issued.already_issued, answer.anomalies) == (False, [])
    assert [r["outcome"] for r in rows(tmp_path, "intents")] == ["issued"]
    actions = [r["action"] for r in rows(tmp_path, "audit")]
    assert actions[-2:] == ["open_intent", "issue_certificate"]


def test_asking_twice_with_the_same_request_signs_once(tmp_path: Path) -> None:
    request = ask()

    async def talk(authority: Authority) -> None:
        first = await authority.issue_station_certificate(request)
        second = await authority.issue_station_certificate(request)
        assert second.issued.already_issued
        assert second.issued.certificate_pem == first.issued.certificate_pem

    run(tmp_path, talk)
    assert len(rows(tmp_path, "intents")) == 1


def test_the_same_key_under_a_new_request_is_the_same_certificate(tmp_path: Path) -> None:
    """C07: idempotent by (station, key), also for a CSR that was signed anew."""
    key = ec.generate_private_key(ec.SECP256R1())

    async def talk(authority: Authority) -> None:
        first = await authority.issue_station_certificate(ask(csr_pem(key=key)))
        second_request = ask(csr_pem(key=key))
        second = await authority.issue_station_certificate(second_request)
        assert second.issued.serial == first.issued.serial
        assert second.issued.request_id == second_request.request_id

    run(tmp_path, talk)
    assert len(rows(tmp_path, "certificates")) == 1


def test_asking_many_times_at_once_signs_once(tmp_path: Path) -> None:
    request = ask()

    async def talk(authority: Authority) -> None:
        waiting = [authority.issue_station_certificate(request) for _ in range(12)]
        answers = await asyncio.gather(*waiting)
        assert len({a.issued.serial for a in answers}) == 1
        assert sum(not a.issued.already_issued for a in answers) == 1

    run(tmp_path, talk)
    assert len(rows(tmp_path, "intents")) == 1


def test_a_new_key_is_a_new_certificate(tmp_path: Path) -> None:
    async def talk(authority: Authority) -> None:
        first = await authority.issue_station_certificate(ask())
        second = await authority.issue_station_certificate(ask())
        assert first.issued.serial != second.issued.serial

    run(tmp_path, talk)


def test_one_request_id_is_for_one_content(tmp_path: Path) -> None:
    request = ask()

    async def talk(authority: Authority) -> None:
        await authority.issue_station_certificate(request)
        other = ask(request_id=request.request_id)
        assert await refusal(authority.issue_station_certificate(other)) is R.REQUEST_CONFLICT

    run(tmp_path, talk)


def test_a_refused_request_id_is_used_up_too(tmp_path: Path) -> None:
    request = ask(csr_pem("CS999"))

    async def talk(authority: Authority) -> None:
        assert await refusal(authority.issue_station_certificate(request)) is R.WRONG_SUBJECT
        other = ask(request_id=request.request_id)
        assert await refusal(authority.issue_station_certificate(other)) is R.REQUEST_CONFLICT

    run(tmp_path, talk)


def test_another_stations_key_is_refused(tmp_path: Path) -> None:
    """C06."""
    key = ec.generate_private_key(ec.SECP256R1())

    async def talk(authority: Authority) -> None:
        await authority.issue_station_certificate(ask(csr_pem(key=key)))
        theft = ask(csr_pem("CS002", key=key), station_id=OTHER)
        assert await refusal(authority.issue_station_certificate(theft)) is R.KEY_REUSED

    run(tmp_path, talk)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (ask(csr_pem("CS002")), R.WRONG_SUBJECT),
        (ask(csr_pem("cs001")), R.WRONG_SUBJECT),
        (ask(csr_pem("CS0011")), R.WRONG_SUBJECT),
        (ask(csr_pem(None)), R.WRONG_SUBJECT),
        (ask(csr_pem(organization="Evil Inc")), R.WRONG_SUBJECT),
        (ask(station_id=uuid4()), R.NOT_REGISTERED),
        (ask("no request"), R.MALFORMED),
        (ask("x" * 6000), R.TOO_LARGE),
        (ask(csr_pem(key=ec.generate_private_key(ec.SECP224R1()))), R.WEAK_KEY),
    ],
)
def test_a_refusal_names_its_reason_and_is_audited(
    tmp_path: Path, request_: StationCertificateRequest, reason: RefusalReason
) -> None:
    """C01, C03, C04; and nothing is signed."""
    assert run(tmp_path, lambda a: refusal(a.issue_station_certificate(request_))) is reason
    assert rows(tmp_path, "audit")[-1]["reason"] == reason
    assert rows(tmp_path, "intents") == []


def test_the_right_organization_is_accepted(tmp_path: Path) -> None:
    request = ask(csr_pem(organization=ORGANIZATION))
    assert run(tmp_path, lambda a: a.issue_station_certificate(request)).issued


def test_hostile_wishes_change_nothing_and_are_reported(tmp_path: Path) -> None:
    """C02: CA:TRUE and a SAN in the request, neither in the certificate."""
    pem = csr_pem(
        extensions=[
            x509.BasicConstraints(True, None),
            x509.SubjectAlternativeName([x509.DNSName("csms.example.com")]),
        ]
    )
    answer = run(tmp_path, lambda a: a.issue_station_certificate(ask(pem)))
    assert {a.what for a in answer.anomalies} == {"requested_ca", "requested_san"}
    leaf = x509.load_pem_x509_certificate(answer.issued.certificate_pem.encode())
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)


# --- registration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registration", "reason"),
    [
        (StationRegistration(STATION, "CS003"), R.REQUEST_CONFLICT),
        (StationRegistration(uuid4(), "CS001"), R.REQUEST_CONFLICT),
        (StationRegistration(uuid4(), "cs.example.com"), R.WRONG_SUBJECT),
    ],
)
def test_a_registration_that_does_not_fit_is_refused(
    tmp_path: Path, registration: StationRegistration, reason: RefusalReason
) -> None:
    async def talk(authority: Authority) -> RefusalReason:
        await authority.issue_station_certificate(ask())
        return await refusal(authority.register_station(registration))

    assert run(tmp_path, talk) is reason


def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path, lambda a: a.register_station(StationRegistration(STATION, "CS001")))
    assert len(rows(tmp_path, "registrations")) == 2


# --- servers and callers --------------------------------------------------------------------------


def server_ask(pem: str | None = None, **changes: Any) -> ServerCertificateRequest:
    return ServerCertificateRequest(
        **{
            "request_id": uuid4(),
            "host_names": ["localhost"],
            "ip_addresses": ["127.0.0.1"],
            "csr_pem": pem or csr_pem("localhost"),
            **changes,
        }
    )


def test_a_listener_gets_a_certificate_and_may_renew_its_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    async def talk(authority: Authority) -> None:
        first = await authority.issue_server_certificate(server_ask(csr_pem("localhost", key=key)))
        again = await authority.issue_server_certificate(server_ask(csr_pem(None, key=key)))
        assert (first.issuer, first.subject_common_name) == ("servers", "localhost")
        assert first.serial != again.serial

    run(tmp_path, talk)


def test_a_listener_with_an_rsa_key_is_certified_under_the_rsa_root_where_there_is_one(
    tmp_path: Path,
) -> None:
    """A00.FR.318, 421: RSA from the leaf to the root; keyEncipherment, for static RSA is that."""
    key = rsa.generate_private_key(65537, 3072)
    request = server_ask(csr_pem("localhost", key=key))
    ca = memory_ca(with_rsa=True)

    async def talk(authority: Authority) -> None:
        issued = await authority.issue_server_certificate(request)
        assert issued.issuer == "servers-rsa"
        chain = x509.load_pem_x509_certificates(issued.chain_pem.encode())
        anchors = await authority.trust_anchors()
        root = x509.load_pem_x509_certificate(anchors.rsa_root_pem.encode())
        for certificate, issuer in itertools.pairwise([*chain, root, root]):
            certificate.verify_directly_issued_by(issuer)
            assert isinstance(issuer.public_key(), rsa.RSAPublicKey)
        usage = chain[0].extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.digital_signature, usage.key_encipherment) == (True, True)
        again = await authority.issue_server_certificate(server_ask(csr_pem("localhost")))
        assert again.issuer == "servers"
        station = rsa.generate_private_key(65537, 3072)
        answer = await authority.issue_station_certificate(ask(csr_pem(key=station)))
        assert answer.issued.issuer == "stations"
        leaf = x509.load_pem_x509_certificate(answer.issued.certificate_pem.encode())
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.digital_signature, usage.key_encipherment) == (True, False)

    run(tmp_path, talk, ca=ca)

    async def without(authority: Authority) -> None:
        assert (await authority.issue_server_certificate(request)).issuer == "servers"

    (tmp_path / "modern").mkdir()
    run(tmp_path / "modern", without)


@pytest.mark.parametrize(
    "changes",
    [
        {"host_names": []},
        {"host_names": [], "ip_addresses": []},
        {"host_names": ["*.example.com"]},
        {"ip_addresses": ["localhost"]},
        {"host_names": [f"h{n}" for n in range(17)]},
        {"host_names": ["other.example.com"]},
    ],
)
def test_a_listener_with_wrong_names_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A00.FR.510."""
    request = server_ask(**changes)
    reason = run(tmp_path, lambda a: refusal(a.issue_server_certificate(request)))
    assert reason is R.WRONG_SUBJECT


def test_a_stations_key_never_serves_as_a_listeners(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    async def talk(authority: Authority) -> None:
        await authority.issue_station_certificate(ask(csr_pem(key=key)))
        request = server_ask(csr_pem("localhost", key=key))
        assert await refusal(authority.issue_server_certificate(request)) is R.KEY_REUSED

    run(tmp_path, talk)


def test_a_caller_gets_a_certificate_by_its_role(tmp_path: Path) -> None:
    request = CallerCertificateRequest(uuid4(), "worker", csr_pem("worker"))
    issued = run(tmp_path, lambda a: a.issue_caller_certificate(request))
    assert (issued.issuer, issued.subject_common_name) == ("callers", "worker")


@pytest.mark.parametrize(("role", "name"), [("Worker", "Worker"), ("worker", "api")])
def test_a_caller_with_a_wrong_name_is_refused(tmp_path: Path, role: str, name: str) -> None:
    request = CallerCertificateRequest(uuid4(), role, csr_pem(name))
    reason = run(tmp_path, lambda a: refusal(a.issue_caller_certificate(request)))
    assert reason is R.WRONG_SUBJECT


# --- revocation -----------------------------------------------------------------------------------


def revocation(serial: str, **changes: Any) -> Revocation:
    return Revocation(
        **{
            "issuer": "stations",
            "serial": serial,
            "reason": "keyCompromise",
            "revoked_at": NOW,
            **changes,
        }
    )


def test_the_first_revocation_stands_and_the_key_is_dead(tmp_path: Path) -> None:
    """C06, C15: leading zeros and upper case name the same serial."""
    request = ask()

    async def talk(authority: Authority) -> None:
        serial = (await authority.issue_station_certificate(request)).issued.serial
        await authority.revoke(revocation("00" + serial.upper(), reason="superseded"))
        await authority.revoke(revocation(serial, revoked_at=NOW + timedelta(days=1)))
        again = ask(request.csr_pem)
        assert await refusal(authority.issue_station_certificate(again)) is R.KEY_REUSED
        assert await refusal(authority.issue_station_certificate(request)) is R.KEY_REUSED

    run(tmp_path, talk)
    (row,) = rows(tmp_path, "certificates")
    assert row["revocation_reason"] == "superseded"
    assert [r["blocked"] for r in rows(tmp_path, "public_keys")] == [1]
    assert sum(r["action"] == "revoke_certificate" for r in rows(tmp_path, "audit")) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"serial": "abc"}, R.NOT_REGISTERED),
        ({"issuer": "servers"}, R.NOT_REGISTERED),
        ({"serial": "0"}, R.MALFORMED),
        ({"serial": "AA:BB"}, R.MALFORMED),
        ({"serial": "f" * 41}, R.MALFORMED),
        ({"reason": "certificateHold"}, R.MALFORMED),
        ({"revoked_at": NOW.replace(tzinfo=None)}, R.MALFORMED),
    ],
)
def test_a_revocation_that_names_nothing_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: RefusalReason
) -> None:
    async def talk(authority: Authority) -> RefusalReason:
        serial = (await authority.issue_station_certificate(ask())).issued.serial
        request = revocation(**{"serial": serial, **changes})
        return await refusal(authority.revoke(request))

    assert run(tmp_path, talk) is reason
    assert [r["revoked_at"] for r in rows(tmp_path, "certificates")] == [None]


def test_a_key_whose_certificate_has_expired_is_not_certified_again(tmp_path: Path) -> None:
    clock, request = Clock(), ask()

    async def talk(authority: Authority) -> RefusalReason:
        await authority.issue_station_certificate(request)
        clock.at += timedelta(days=90)
        return await refusal(authority.issue_station_certificate(ask(request.csr_pem)))

    assert run(tmp_path, talk, clock=clock) is R.KEY_REUSED


# --- what fails between intent and certificate ----------------------------------------------------


class Failing(MemorySigner):
    """The stations' key, with something that happens at each signature."""

    def __init__(self, real: Signer, act: Callable[[bytes], bytes]) -> None:
        self.real, self.act = real, act

    @property
    def key_id(self) -> str:
        return self.real.key_id

    @property
    def public_key(self) -> SigningKey:
        return self.real.public_key

    def sign_digest(self, digest: bytes, algorithm: Any) -> bytes:
        return self.act(self.real.sign_digest(digest, algorithm))


def with_station_signer(ca: MemoryCA, act: Callable[[bytes], bytes]) -> dict[IssuerName, Signer]:
    return {**ca.signers, IssuerName.STATIONS: Failing(ca.signers[IssuerName.STATIONS], act)}


def sealed(_signature: bytes) -> bytes:
    raise SignerUnavailable("sealed")


def test_a_sealed_vault_leaves_an_abandoned_intent_and_asking_again_works(tmp_path: Path) -> None:
    ca, request = memory_ca(), ask()
    acts: list[Callable[[bytes], bytes]] = [sealed, bytes]
    signers = with_station_signer(ca, lambda signature: acts[0](signature))  # noqa: PLW0108 -- acts changes

    async def talk(authority: Authority) -> None:
        with pytest.raises(PkiUnavailable):
            await authority.issue_station_certificate(request)
        acts.pop(0)
        assert not (await authority.issue_station_certificate(request)).issued.already_issued

    run(tmp_path, talk, ca=ca, signers=signers)
    intents = rows(tmp_path, "intents")
    assert [r["outcome"] for r in intents] == ["abandoned", "issued"]
    assert len({r["serial"] for r in intents}) == 2


def test_a_signature_by_another_key_is_not_delivered(tmp_path: Path) -> None:
    """C10."""
    ca = memory_ca()
    other = MemorySigner("other")
    signers = with_station_signer(
        ca, lambda _signature: other.sign_digest(secrets.token_bytes(32), hashes.SHA256())
    )

    async def talk(authority: Authority) -> None:
        with pytest.raises(PkiUnavailable) as caught:
            await authority.issue_station_certificate(ask())
        assert isinstance(caught.value.__cause__, IssuanceBroken)

    run(tmp_path, talk, ca=ca, signers=signers)
    assert [r["outcome"] for r in rows(tmp_path, "intents")] == ["abandoned"]
    assert rows(tmp_path, "certificates") == []


class Crash(BaseException):
    """The process ends here: nothing of ours catches it."""


class CrashingStore:
    """The real store, whose process dies at a chosen step."""

    def __init__(self, store: Any, step: str, error: BaseException) -> None:
        self._store, self._step, self._error = store, step, error

    def __getattr__(self, name: str) -> Any:
        if name == self._step:
            return self._crash
        return getattr(self._store, name)

    async def _crash(self, *_arguments: Any, **_named: Any) -> None:
        raise self._error


def test_a_crash_after_signing_is_reconciled_and_no_serial_comes_twice(tmp_path: Path) -> None:
    """C09: the intent names serial and TBS; the next start gives it up; asking again works."""
    request, ca = ask(), memory_ca()

    async def talk(authority: Authority) -> None:
        with pytest.raises(Crash):
            await authority.issue_station_certificate(request)

    run(tmp_path, talk, ca=ca, wrap=lambda s: CrashingStore(s, "store_certificate", Crash()))
    assert [r["outcome"] for r in rows(tmp_path, "intents")] == [None]

    async def too_early(authority: Authority) -> None:
        assert await authority.reconcile() == 0  # another process may still be at work
        with pytest.raises(PkiUnavailable):
            await authority.issue_station_certificate(request)

    async def after_restart(authority: Authority) -> None:
        assert await authority.reconcile() == 1
        assert await authority.reconcile() == 0
        assert not (await authority.issue_station_certificate(request)).issued.already_issued

    run(tmp_path, too_early, ca=ca, patience=timedelta(minutes=1))
    run(tmp_path, after_restart, ca=ca)
    intents = rows(tmp_path, "intents")
    assert [r["outcome"] for r in intents] == ["abandoned", "issued"]
    assert len({r["serial"] for r in intents}) == 2


def test_a_response_lost_after_the_signature_makes_exactly_one_delivered_certificate(
    tmp_path: Path,
) -> None:
    """The signer signs and the answer is lost: two signatures exist, one certificate does."""
    ca, request, signed = memory_ca(), ask(), []

    def lose_the_first(signature: bytes) -> bytes:
        signed.append(signature)
        return sealed(signature) if len(signed) == 1 else signature

    async def talk(authority: Authority) -> None:
        with pytest.raises(PkiUnavailable):
            await authority.issue_station_certificate(request)
        first = await authority.issue_station_certificate(request)
        again = await authority.issue_station_certificate(request)
        assert (first.issued.already_issued, again.issued.already_issued) == (False, True)

    run(tmp_path, talk, ca=ca, signers=with_station_signer(ca, lose_the_first))
    assert (len(signed), len(rows(tmp_path, "certificates"))) == (2, 1)


@pytest.mark.parametrize("ending", ["cancelled", "database away"])
def test_an_orphaned_intent_is_given_up_by_the_next_ask_without_a_restart(
    tmp_path: Path, ending: str
) -> None:
    """An open intent holds its key; a task that went away must not hold it until a restart."""
    ca, request, signing = memory_ca(), ask(), threading.Event()
    flaky: dict[str, Any] = {}

    def slow(signature: bytes) -> bytes:
        signing.set()
        if ending == "cancelled":
            threading.Event().wait(0.2)
        return signature

    def wrap(store: Any) -> Any:
        flaky["store"] = CrashingStore(
            store,
            "store_certificate" if ending == "database away" else "nothing",
            StoreUnavailable("away"),
        )
        return flaky["store"]

    async def talk(authority: Authority) -> None:
        async def first() -> None:
            with pytest.raises((asyncio.CancelledError, PkiUnavailable)):
                await authority.issue_station_certificate(request)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(first())
            await asyncio.to_thread(signing.wait, 5)
            if ending == "cancelled":
                task.cancel()
        assert [r["outcome"] for r in rows(tmp_path, "intents")] == [None]
        flaky["store"]._step = "nothing"
        assert not (await authority.issue_station_certificate(request)).issued.already_issued

    run(tmp_path, talk, ca=ca, wrap=wrap, signers=with_station_signer(ca, slow))
    assert [r["outcome"] for r in rows(tmp_path, "intents")] == ["abandoned", "issued"]
    assert len(rows(tmp_path, "certificates")) == 1


def test_two_authorities_on_one_database_deliver_one_certificate(tmp_path: Path) -> None:
    """Two processes, no lock in common: whoever comes second repeats or asks to be asked again."""
    ca, request = memory_ca(), ask()

    async def main() -> list[Any]:
        async with (
            memory_store(tmp_path) as one,
            memory_store(tmp_path) as two,
            memory_authority(one, ca=ca, patience=timedelta(minutes=2)) as here,
            memory_authority(two, ca=ca, patience=timedelta(minutes=2)) as there,
        ):
            await here.register_station(StationRegistration(STATION, "CS001"))
            waiting = [a.issue_station_certificate(request) for a in (here, there) * 3]
            return list(await asyncio.gather(*waiting, return_exceptions=True))

    answers = asyncio.run(main())
    delivered = {a.issued.serial for a in answers if not isinstance(a, PkiUnavailable)}
    assert len(delivered) == len(rows(tmp_path, "certificates")) == 1
    assert sum(r["outcome"] == "issued" for r in rows(tmp_path, "intents")) == 1


def test_two_stations_with_one_key_at_once_are_one_certificate_and_one_refusal(
    tmp_path: Path,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    async def talk(authority: Authority) -> list[Any]:
        waiting = [
            authority.issue_station_certificate(ask(csr_pem(key=key))),
            authority.issue_station_certificate(ask(csr_pem("CS002", key=key), station_id=OTHER)),
        ]
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    answers = run(tmp_path, talk)
    refused = [a.reason for a in answers if isinstance(a, PkiRefused)]
    assert (refused, len(rows(tmp_path, "certificates"))) == ([R.KEY_REUSED], 1)


def test_a_station_that_floods_waits_for_itself(tmp_path: Path) -> None:
    """C07: all of its requests together hold one place, so that another station is served."""
    flood = [ask() for _ in range(60)]
    done: list[str] = []

    async def talk(authority: Authority) -> None:
        async def one(request: StationCertificateRequest, name: str) -> None:
            await authority.issue_station_certificate(request)
            done.append(name)

        honest = ask(csr_pem("CS002"), station_id=OTHER)
        await asyncio.gather(*(one(r, "flood") for r in flood), one(honest, "honest"))

    run(tmp_path, talk)
    assert done.index("honest") < 5


@pytest.mark.parametrize("hostile", ["CS001\x00", "\ud800", "\u2028", "\x1b[2J"])
def test_text_that_no_database_stores_is_refused_like_any_other(
    tmp_path: Path, hostile: str
) -> None:
    async def talk(authority: Authority) -> None:
        registering = authority.register_station(StationRegistration(uuid4(), hostile))
        assert await refusal(registering) is R.WRONG_SUBJECT
        request = ask(hostile)
        assert await refusal(authority.issue_station_certificate(request)) is R.MALFORMED
        server = server_ask(host_names=[hostile])
        assert await refusal(authority.issue_server_certificate(server)) is R.WRONG_SUBJECT
        caller = CallerCertificateRequest(uuid4(), hostile, csr_pem())
        assert await refusal(authority.issue_caller_certificate(caller)) is R.WRONG_SUBJECT
        assert await refusal(authority.revoke(revocation(hostile))) is R.MALFORMED

    run(tmp_path, talk)
    assert all(row["subject"].isprintable() for row in rows(tmp_path, "audit"))
    assert all(row["holder"].isprintable() for row in rows(tmp_path, "requests"))


def test_an_intent_that_was_given_up_meanwhile_delivers_nothing(tmp_path: Path) -> None:
    """Another process reconciled while this one signed."""
    held: dict[str, Any] = {}
    ca = memory_ca()

    def reconcile_elsewhere(signature: bytes) -> bytes:
        work = held["authority"].reconcile()
        asyncio.run_coroutine_threadsafe(work, held["loop"]).result(10)
        return signature

    async def talk(authority: Authority) -> None:
        held.update(authority=authority, loop=asyncio.get_running_loop())
        with pytest.raises(PkiUnavailable, match="given up"):
            await authority.issue_station_certificate(ask())

    run(tmp_path, talk, ca=ca, signers=with_station_signer(ca, reconcile_elsewhere))
    assert rows(tmp_path, "certificates") == []


@pytest.mark.parametrize(
    "step", ["what_is_known", "open_intent", "store_certificate", "serial_number_of", "refuse"]
)
def test_a_database_that_is_away_is_unavailable_not_refused(tmp_path: Path, step: str) -> None:
    request = ask(csr_pem("CS999") if step == "refuse" else None)

    async def talk(authority: Authority) -> None:
        with pytest.raises(PkiUnavailable):
            await authority.issue_station_certificate(request)

    run(tmp_path, talk, wrap=lambda s: CrashingStore(s, step, StoreUnavailable("away")))


@pytest.mark.parametrize("step", ["register", "find_certificate"])
def test_a_database_that_is_away_for_the_other_acts(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with (
            memory_store(tmp_path) as store,
            memory_authority(CrashingStore(store, step, StoreUnavailable("away"))) as authority,
        ):
            with pytest.raises(PkiUnavailable):
                await authority.register_station(StationRegistration(STATION, "CS001"))
                await authority.revoke(revocation("ab"))

    asyncio.run(main())


def test_a_serial_that_is_taken_is_replaced(tmp_path: Path) -> None:
    """C14: a forced duplicate."""
    draws = [b"\x01" * 20, b"\x01" * 20, b"\x02" * 20]

    async def talk(authority: Authority) -> None:
        first = await authority.issue_station_certificate(ask())
        second = await authority.issue_station_certificate(ask())
        assert first.issued.serial != second.issued.serial

    run(tmp_path, talk, random_bytes=lambda _n: draws.pop(0))
    assert draws == []


def test_a_broken_generator_stops_issuing(tmp_path: Path) -> None:
    async def talk(authority: Authority) -> None:
        await authority.issue_station_certificate(ask())
        with pytest.raises(PkiUnavailable, match="random generator"):
            await authority.issue_station_certificate(ask())

    run(tmp_path, talk, random_bytes=lambda n: b"\x01" * n)
    assert len(rows(tmp_path, "certificates")) == 1


def test_a_certificate_that_breaks_a_rule_is_ours_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = memory_ca()
    monkeypatch.setattr(
        "pki.x509.template.PublicLocations.ca_issuers", property(lambda _self: "http://localhost")
    )
    assert run(tmp_path, lambda a: refusal(a.issue_station_certificate(ask())), ca=ca) is R.LINT
    assert rows(tmp_path, "intents") == []


def test_an_issuer_at_its_end_is_unavailable(tmp_path: Path) -> None:
    clock = Clock(NOW + timedelta(days=2000))

    async def talk(authority: Authority) -> None:
        with pytest.raises(PkiUnavailable, match="issuing CA"):
            await authority.issue_station_certificate(ask())

    run(tmp_path, talk, clock=clock)


def test_a_signer_of_another_key_is_noticed_before_anything_is_signed(tmp_path: Path) -> None:
    ca = memory_ca()
    with pytest.raises(HierarchyInvalid, match="stations"):
        run(
            tmp_path,
            lambda a: a.trust_anchors(),
            ca=replace(ca, signers={**ca.signers, IssuerName.STATIONS: MemorySigner("other")}),
        )


def test_trust_anchors_keep_the_purposes_apart(tmp_path: Path) -> None:
    anchors = run(tmp_path, lambda a: a.trust_anchors())
    lists = (anchors.station_issuers_pem, anchors.server_issuers_pem, anchors.caller_issuers_pem)
    assert [len(pems) for pems in lists] == [1, 1, 1]
    assert len({pems[0] for pems in lists}) == 3
