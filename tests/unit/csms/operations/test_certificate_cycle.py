"""From CSR to the certificate in use: issue, deliver, confirm, revoke, renew."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from csms.domain.audit import AuditAction, Outcome
from csms.domain.certificate import (
    CertificateRecord,
    CertificateRequest,
    CertificateStatus,
    CertificateUse,
    RequestStatus,
    RevocationReason,
)
from csms.domain.station import SecurityProfile, Station
from csms.ocpp.actions import Action
from csms.operations.confirm_session import confirm_session
from csms.operations.deliver_certificate import deliver_certificate
from csms.operations.errors import Conflict, NotFound
from csms.operations.issue_certificate import KEY_LIFE, issue_certificate
from csms.operations.jobs import Done, GiveUp, JobOutcome, RetryIn, WhenConnected, back_off
from csms.operations.renew_certificate import (
    CSR_DEADLINE,
    renew_certificate,
    renewal_progress,
    trigger_renewal,
)
from csms.operations.revoke_certificate import revoke_at_ca, revoke_certificate
from csms.ports.bus import SESSIONS_CLOSE
from csms.ports.records import Job, JobKind, Operation, OperationState
from csms.ports.station_link import (
    NoAnswer,
    NotAllowedNow,
    NotConnected,
    StationCallError,
    StationRefused,
)
from pki.wire import Anomaly, PkiRefused, PkiUnavailable, RefusalReason
from tests.fixtures.inside import EVERYTHING, Inside, inside, issued

S = CertificateStatus


async def request_of(house: Inside, station: Station, number: int = 1) -> CertificateRequest:
    request = CertificateRequest(
        id=house.randomness.uuid(),
        station_id=station.id,
        use=CertificateUse.CHARGING_STATION,
        certificate_type="ChargingStationCertificate",
        csr_pem=f"csr {number}",
        csr_sha256=f"{number:064x}",
        status=RequestStatus.OPEN,
        received_at=house.clock.now(),
    )
    async with house.store.writing() as work:
        await work.certificate_requests.add(request)
        await work.commit()
    return request


async def certificate_of(
    house: Inside, station: Station, number: int = 1, status: CertificateStatus = S.SIGNED
) -> CertificateRecord:
    made = issued(UUID(int=number), number).issued
    request = await request_of(house, station, number) if status is S.SIGNED else None
    record = CertificateRecord(
        id=house.randomness.uuid(),
        station_id=station.id,
        use=CertificateUse.CHARGING_STATION,
        issuer=made.issuer,
        serial=made.serial,
        fingerprint_sha256=made.fingerprint_sha256,
        status=status,
        not_before=made.not_before,
        not_after=made.not_after,
        certificate_pem=made.certificate_pem,
        chain_pem=made.chain_pem,
        request_id=request.id if request else None,
        created_at=house.clock.now(),
    )
    async with house.store.writing() as work:
        if request:
            await work.certificate_requests.set_status(request.id, RequestStatus.ISSUED)
        await work.certificates.add(record)
        await work.commit()
    return record


def job_for(house: Inside, kind: JobKind, **payload: Any) -> Job:
    return Job(
        id=house.randomness.uuid(),
        kind=kind,
        key="k",
        station_id=None,
        payload=payload,
        attempts=0,
        run_at=house.clock.now(),
        created_at=house.clock.now(),
    )


async def issue(house: Inside, request: CertificateRequest, **changes: Any) -> JobOutcome:
    job = job_for(house, JobKind.ISSUE_CERTIFICATE, request_id=str(request.id))
    return await issue_certificate(
        replace(job, **changes),
        store=house.store,
        pki=house.pki,
        clock=house.clock,
        randomness=house.randomness,
    )


async def deliver(house: Inside, record: CertificateRecord, **changes: Any) -> JobOutcome:
    job = job_for(house, JobKind.DELIVER_CERTIFICATE, certificate_id=str(record.id))
    return await deliver_certificate(
        replace(job, **changes),
        store=house.store,
        link=house.link,
        clock=house.clock,
        randomness=house.randomness,
    )


async def seen(
    house: Inside, station: Station, record: CertificateRecord | None, profile: int = 3, **more: Any
) -> JobOutcome:
    job = job_for(
        house,
        JobKind.SESSION_SEEN,
        station_id=str(station.id),
        profile=profile,
        certificate_id=str(record.id) if record else None,
        **more,
    )
    return await confirm_session(job, store=house.store, clock=house.clock)


async def status(house: Inside, record: CertificateRecord) -> CertificateStatus:
    async with house.store.reading() as work:
        current = await work.certificates.by_id(record.id)
    assert current is not None
    return current.status


async def events(house: Inside, station: Station) -> list[str]:
    async with house.store.reading() as work:
        page = await work.security_events.page(station_id=station.id, limit=50, cursor=None)
    return [event.type for event in page.items]


async def renewal(house: Inside, operation: Operation) -> tuple[OperationState, str]:
    async with house.store.reading() as work:
        current = await work.operations.by_id(operation.id)
    assert current is not None
    return current.state, current.progress


async def signed(house: Inside, operation: Operation, record: CertificateRecord) -> None:
    """The renewal has come so far that this certificate was made for it."""
    steps = [("csr_received", None), ("signed", record.id)]
    assert operation.station_id is not None
    async with house.store.writing() as work:
        for progress, certificate_id in steps:
            await renewal_progress(
                work,
                operation.station_id,
                state=OperationState.RUNNING,
                progress=progress,
                at=house.clock.now(),
                certificate_id=certificate_id,
            )
        await work.commit()


async def start(house: Inside, station: Station) -> Operation:
    async with house.store.writing() as work:
        operation = await renew_certificate(
            work,
            station.registered_as,
            principal=EVERYTHING,
            now=house.clock.now(),
            randomness=house.randomness,
        )
        await work.commit()
    return operation


# --- issue


def test_a_signed_certificate_is_recorded_and_its_delivery_queued(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        request = await request_of(house, station)
        assert await issue(house, request) == Done()
        async with house.store.reading() as work:
            (record,) = await work.certificates.of_station(station.id)
            stored = await work.certificate_requests.by_id(request.id)
        assert record.status is S.SIGNED
        assert stored is not None
        assert stored.status is RequestStatus.ISSUED
        assert await house.due() == [JobKind.DELIVER_CERTIFICATE]
        (entry,) = await house.audited(AuditAction.CERTIFICATE_ISSUE)
        assert entry.record.outcome is Outcome.SUCCESS

    inside(tmp_path, scene)


def test_a_job_that_runs_twice_signs_once(tmp_path: Path) -> None:
    """Its lease ran out, or the process died after the commit."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        request = await request_of(house, station)
        await issue(house, request)
        assert await issue(house, request) == Done()
        assert len(house.pki.asked) == 1
        async with house.store.reading() as work:
            assert len(await work.certificates.of_station(station.id)) == 1

    inside(tmp_path, scene)


def test_the_same_certificate_for_another_request_is_not_recorded_twice(tmp_path: Path) -> None:
    """The PKI answers one key with one certificate."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        house.pki.answer = issued(UUID(int=1), 1)
        await issue(house, await request_of(house, station, 1))
        await issue(house, await request_of(house, station, 2))
        async with house.store.reading() as work:
            assert len(await work.certificates.of_station(station.id)) == 1

    inside(tmp_path, scene)


def test_who_asks_again_by_another_request_is_sent_its_certificate_again(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station, 1, status=S.ACTIVE)
        house.pki.answer = issued(UUID(int=1), 1)
        assert await issue(house, await request_of(house, station, 2)) == Done()
        now = house.clock.now()
        async with house.store.writing() as work:
            jobs = await work.jobs.claim(now=now, lease_until=now, limit=9)
        (job,) = (job for job in jobs if job.kind is JobKind.DELIVER_CERTIFICATE)
        assert job.payload == {"certificate_id": str(record.id), "asked_again": True}

    inside(tmp_path, scene)


@pytest.mark.parametrize("ended", [S.REJECTED, S.ABANDONED, S.SUPERSEDED, S.REVOKED, S.EXPIRED])
def test_a_key_whose_certificate_is_over_is_refused_and_never_met_with_silence(
    tmp_path: Path, ended: CertificateStatus
) -> None:
    """A02.FR.02: the CA repeats its answer to a key; what is over is not sent again."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        await certificate_of(house, station, 1, status=ended)
        made = issued(UUID(int=1), 1)
        made = msgspec.structs.replace(
            made, issued=msgspec.structs.replace(made.issued, already_issued=True)
        )
        house.pki.answer = made
        request = await request_of(house, station, 2)
        outcome = await issue(house, request)
        assert outcome == GiveUp(f"key_reused: the key's certificate is {ended}")
        assert await events(house, station) == ["CertificateRequestRefused"]
        async with house.store.reading() as work:
            kept = await work.certificate_requests.by_id(request.id)
        assert kept is not None
        assert kept.status is RequestStatus.REFUSED

    inside(tmp_path, scene)


def test_a_refusal_of_the_ca_is_an_event_and_never_silence(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        request = await request_of(house, station)
        house.pki.fails = [PkiRefused(RefusalReason.WEAK_KEY, "RSA 1024")]
        assert isinstance(await issue(house, request), GiveUp)
        assert await events(house, station) == ["CertificateRequestRefused"]
        assert await renewal(house, operation) == (OperationState.FAILED, "refused")
        (entry,) = await house.audited(AuditAction.CERTIFICATE_ISSUE)
        assert (entry.record.outcome, entry.record.reason) == (Outcome.REFUSED, "weak_key")
        async with house.store.reading() as work:
            stored = await work.certificate_requests.by_id(request.id)
            assert await work.certificates.of_station(station.id) == []
        assert stored is not None
        assert stored.status is RequestStatus.REFUSED

    inside(tmp_path, scene)


def test_a_ca_that_is_away_is_asked_again_and_the_request_stays_open(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        request = await request_of(house, station)
        house.pki.fails = [PkiUnavailable("sealed")]
        outcome = await issue(house, request, attempts=3)
        assert isinstance(outcome, RetryIn)
        assert outcome.period == timedelta(seconds=8)
        assert await issue(house, request) == Done()

    inside(tmp_path, scene)


def test_after_the_key_has_died_a_fresh_csr_is_asked_for_instead(tmp_path: Path) -> None:
    """Stations delete the key of an unanswered CSR after an hour."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        request = await request_of(house, station)
        house.clock.pass_time(KEY_LIFE + timedelta(seconds=1))
        assert isinstance(await issue(house, request), GiveUp)
        assert house.pki.asked == []
        assert await house.due() == [JobKind.TRIGGER_RENEWAL]

    inside(tmp_path, scene)


def test_the_first_that_is_signed_again_wakes_the_others_in_their_order(tmp_path: Path) -> None:
    """P03: Vault is back, and nobody waits his own back-off out."""

    async def scene(house: Inside) -> None:
        waiting = []
        for number in range(1, 4):
            request = await request_of(house, await house.station(f"CS-{number}"), number)
            job = replace(
                job_for(house, JobKind.ISSUE_CERTIFICATE, request_id=str(request.id)),
                key=str(request.id),
                run_at=house.clock.now() + timedelta(minutes=4 - number),
                created_at=house.clock.now() + timedelta(seconds=number),
            )
            async with house.store.writing() as work:
                await work.jobs.add(job)
                await work.commit()
            waiting.append(job.id)
        first = await request_of(house, await house.station("CS-9"), 9)
        assert await issue(house, first) == Done()
        assert JobKind.ISSUE_CERTIFICATE not in await house.due(), "it never waited: no news"
        second = await request_of(house, await house.station("CS-8"), 8)
        assert await issue(house, second, attempts=3) == Done()
        async with house.store.writing() as work:
            now = house.clock.now()
            due = await work.jobs.claim(now=now, lease_until=now, limit=9)
        assert [job.id for job in due if job.kind is JobKind.ISSUE_CERTIFICATE] == waiting

    inside(tmp_path, scene)


def test_what_was_ignored_in_a_csr_is_reported(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        answer = issued(UUID(int=1), 1)
        house.pki.answer = type(answer)(
            issued=answer.issued, anomalies=[Anomaly(what="requested_ca", detail="CA:TRUE")]
        )
        await issue(house, await request_of(house, station))
        assert await events(house, station) == ["CertificateRequestAnomaly"]

    inside(tmp_path, scene)


def test_a_certificate_for_a_superseded_request_is_never_sent(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        request = await request_of(house, station)

        class Meanwhile(type(house.pki)):  # type: ignore[misc]  # a class made at run time
            async def issue_station_certificate(self, asked: Any) -> Any:
                async with house.store.writing() as work:
                    await work.certificate_requests.set_status(request.id, RequestStatus.SUPERSEDED)
                    await work.commit()
                return issued(asked.request_id, 1)

        house.pki = Meanwhile()
        assert await issue(house, request) == Done()
        assert await house.due() == []
        async with house.store.reading() as work:
            (record,) = await work.certificates.of_station(station.id)
        assert record.status is S.SIGNED, "in the inventory, and not on its way"

    inside(tmp_path, scene)


# --- deliver


def test_delivered_is_committed_before_the_message_leaves(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station)
        at_sending: list[CertificateStatus] = []

        async def look() -> None:
            at_sending.append(await status(house, record))

        house.link.before_answering = look
        house.link.answers = [{"status": "Accepted"}]
        assert await deliver(house, record) == Done()
        assert at_sending == [S.DELIVERED]
        assert await status(house, record) is S.ACCEPTED
        ((_, action, message),) = house.link.calls
        assert action is Action.CERTIFICATE_SIGNED
        assert message == {
            "certificateChain": record.chain_pem,
            "certificateType": "ChargingStationCertificate",
        }

    inside(tmp_path, scene)


@pytest.mark.parametrize(
    ("failure", "expected", "becomes"),
    [
        (NotConnected("gone"), WhenConnected, S.SIGNED),
        (NotAllowedNow("rejected"), RetryIn, S.SIGNED),
        (NoAnswer("silence"), RetryIn, S.DELIVERED),
        (StationRefused("InternalError", "try later"), RetryIn, S.DELIVERED),
    ],
)
def test_what_was_not_answered_is_sent_again_and_may_be_in_use(
    tmp_path: Path, failure: StationCallError, expected: type[JobOutcome], becomes: S
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station)
        house.link.answers = [failure, {"status": "Accepted"}]
        assert isinstance(await deliver(house, record), expected)
        assert await status(house, record) is becomes
        assert await deliver(house, record, attempts=1) == Done()
        assert await status(house, record) is S.ACCEPTED

    inside(tmp_path, scene)


def test_a_rejected_certificate_is_final_and_an_event(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        record = await certificate_of(house, station)
        await signed(house, operation, record)
        answer = {"status": "Rejected", "statusInfo": {"reasonCode": "InvalidCertificate"}}
        house.link.answers = [answer]
        assert isinstance(await deliver(house, record), GiveUp)
        assert await status(house, record) is S.REJECTED
        assert await events(house, station) == ["CertificateNotDelivered"]
        assert await renewal(house, operation) == (OperationState.FAILED, "rejected")
        assert await deliver(house, record) == Done(), "nothing is sent again"

    inside(tmp_path, scene)


REJECTED = {"status": "Rejected", "statusInfo": {"reasonCode": "InvalidCertificate"}}


def test_what_may_have_been_accepted_is_not_taken_away_by_a_rejection(tmp_path: Path) -> None:
    """P01: killed between the station's Accepted and ours; a second one is of a key it has used
    already, and the station holds the certificate all the same.
    """

    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        record = await certificate_of(house, station)
        await signed(house, operation, record)
        house.link.answers = [NoAnswer("killed"), REJECTED]
        assert isinstance(await deliver(house, record), RetryIn)
        assert await deliver(house, record, attempts=1) == Done()
        assert await status(house, record) is S.DELIVERED, "it may come with it"
        assert await renewal(house, operation) == (OperationState.RUNNING, "delivered")
        assert await events(house, station) == []
        again = await start(house, station)
        assert again.id != operation.id, "nobody has to wait for a station that never comes"

    inside(tmp_path, scene)


def test_what_was_rejected_while_its_handshake_was_looked_at_is_active(tmp_path: Path) -> None:
    """It was let in while that was right, and has thrown its old certificate away since."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        for number, end in enumerate((S.REJECTED, S.ABANDONED), start=1):
            record = await certificate_of(house, station, number, end)
            assert await seen(house, station, record) == Done()
            assert await status(house, record) is S.ACTIVE

    inside(tmp_path, scene)


@pytest.mark.parametrize("where", [S.ACCEPTED, S.ACTIVE])
def test_what_was_answered_is_not_sent_again_by_a_job_that_a_crash_left(
    tmp_path: Path, where: S
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station, status=where)
        assert await deliver(house, record, attempts=1) == Done()
        assert house.link.calls == []

    inside(tmp_path, scene)


@pytest.mark.parametrize("where", [S.ACCEPTED, S.ACTIVE])
@pytest.mark.parametrize("answer", [REJECTED, {"status": "Accepted"}])
def test_who_asks_again_is_sent_it_again_and_may_have_had_it(
    tmp_path: Path, where: S, answer: dict[str, Any]
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station, status=where)
        house.link.answers = [answer]
        payload = {"certificate_id": str(record.id), "asked_again": True}
        assert await deliver(house, record, payload=payload) == Done()
        assert len(house.link.calls) == 1
        assert await status(house, record) is where
        assert await events(house, station) == []

    inside(tmp_path, scene)


@pytest.mark.parametrize("attempts", [0, 31])
def test_delivery_has_an_end(tmp_path: Path, attempts: int) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station)
        long_ago = house.clock.now() - timedelta(days=0 if attempts else 8)
        outcome = await deliver(house, record, attempts=attempts, created_at=long_ago)
        assert isinstance(outcome, GiveUp)
        assert await status(house, record) is S.ABANDONED
        assert house.link.calls == []

    inside(tmp_path, scene)


def test_an_accepted_that_arrives_after_the_handshake_changes_nothing(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station)

        async def comes_back_first() -> None:
            await seen(house, station, record)

        house.link.before_answering = comes_back_first
        house.link.answers = [{"status": "Accepted"}]
        assert await deliver(house, record) == Done()
        assert await status(house, record) is S.ACTIVE

    inside(tmp_path, scene)


def test_a_revoked_certificate_is_not_delivered(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station, status=S.REVOKED)
        assert await deliver(house, record) == Done()
        assert house.link.calls == []

    inside(tmp_path, scene)


# --- confirm


def test_a_handshake_activates_the_certificate_and_retires_its_predecessor(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        old = await certificate_of(house, station, 1, S.ACTIVE)
        house.clock.pass_time(timedelta(days=60))
        new = await certificate_of(house, station, 2, S.ACCEPTED)
        await signed(house, operation, new)
        assert await seen(house, station, new) == Done()
        assert await status(house, new) is S.ACTIVE
        assert await status(house, old) is S.SUPERSEDED
        assert await renewal(house, operation) == (OperationState.SUCCEEDED, "active")
        assert len(await house.audited(AuditAction.CERTIFICATE_ACTIVATE)) == 1
        assert len(await house.audited(AuditAction.CERTIFICATE_SUPERSEDE)) == 1

    inside(tmp_path, scene)


def test_falling_back_to_the_old_certificate_does_not_retire_the_new_one(tmp_path: Path) -> None:
    """A02.FR.28: the station may alternate until the new one works."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        old = await certificate_of(house, station, 1, S.ACCEPTED)
        house.clock.pass_time(timedelta(days=1))
        new = await certificate_of(house, station, 2, S.ACCEPTED)
        await seen(house, station, old)
        assert await status(house, old) is S.ACTIVE
        assert await status(house, new) is S.ACCEPTED

    inside(tmp_path, scene)


def test_another_stations_certificate_is_never_confirmed(tmp_path: Path) -> None:
    """A13: the job's certificate is looked up with the job's station."""

    async def scene(house: Inside) -> None:
        station, other = await house.station("CS-1"), await house.station("CS-2")
        record = await certificate_of(house, other, 1, S.ACCEPTED)
        await seen(house, station, record)
        assert await status(house, record) is S.ACCEPTED

    inside(tmp_path, scene)


def test_reaching_a_profile_raises_the_minimum_for_good(tmp_path: Path) -> None:
    """A05.FR.07."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        await seen(house, station, None, profile=3)
        await seen(house, station, None, profile=2)
        async with house.store.reading() as work:
            raised = await work.stations.by_id(station.id)
        assert raised is not None
        assert raised.minimum_security_profile is SecurityProfile.TLS_CERTIFICATE
        assert raised.security_profile is SecurityProfile.TLS_CERTIFICATE
        assert len(await house.audited(AuditAction.STATION_RAISE_PROFILE)) == 1

    inside(tmp_path, scene)


# --- revoke


def test_revoking_is_one_transaction_and_the_ca_hears_later(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        record = await certificate_of(house, station, 1, S.ACTIVE)
        heard: list[dict[str, Any]] = []

        async def gateway(message: dict[str, Any]) -> dict[str, Any]:
            heard.append(message)
            return {"node": "n1", "closed": 1, "at": "2026-11-23T12:00:00Z"}

        await house.bus.subscribe(SESSIONS_CLOSE, gateway)
        revoked = await revoke_certificate(
            house.store,
            house.bus,
            record.id,
            RevocationReason.KEY_COMPROMISE,
            principal=EVERYTHING,
            clock=house.clock,
            randomness=house.randomness,
        )
        assert [node["node"] for node in revoked.nodes] == ["n1"]
        assert heard[0]["certificate_id"] == str(record.id)
        assert await status(house, record) is S.REVOKED
        async with house.store.reading() as work:
            (event,) = await work.outbox.after(0, limit=10)
        assert (event.topic, event.payload["certificate_id"]) == (SESSIONS_CLOSE, str(record.id))
        (entry,) = await house.audited(AuditAction.CERTIFICATE_REVOKE)
        assert entry.record.reason == "keyCompromise"

        job = await house.job(JobKind.REVOKE_AT_CA)
        house.pki.fails = [PkiUnavailable("sealed")]
        assert isinstance(await revoke_at_ca(job, store=house.store, pki=house.pki), RetryIn)
        assert await revoke_at_ca(job, store=house.store, pki=house.pki) == Done()
        assert [(r.issuer, r.serial, r.reason) for r in house.pki.revoked] == [
            ("stations", "01", "keyCompromise")
        ]

    inside(tmp_path, scene)


@pytest.mark.parametrize("final", [S.REVOKED, S.EXPIRED])
def test_what_has_ended_cannot_be_revoked(tmp_path: Path, final: CertificateStatus) -> None:
    async def scene(house: Inside) -> None:
        record = await certificate_of(house, await house.station(), 1, final)
        with pytest.raises(Conflict):
            await revoke_certificate(
                house.store,
                house.bus,
                record.id,
                RevocationReason.UNSPECIFIED,
                principal=EVERYTHING,
                clock=house.clock,
                randomness=house.randomness,
            )

    inside(tmp_path, scene)


def test_an_unknown_certificate_cannot_be_revoked(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        with pytest.raises(NotFound):
            await revoke_certificate(
                house.store,
                house.bus,
                UUID(int=9),
                RevocationReason.UNSPECIFIED,
                principal=EVERYTHING,
                clock=house.clock,
                randomness=house.randomness,
            )

    inside(tmp_path, scene)


# --- renew


async def trigger(house: Inside, operation: Operation, **changes: Any) -> JobOutcome:
    job = job_for(house, JobKind.TRIGGER_RENEWAL, operation_id=str(operation.id))
    return await trigger_renewal(
        replace(job, **changes), store=house.store, link=house.link, clock=house.clock
    )


def test_a_renewal_asks_for_a_csr_and_waits_for_it(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        house.link.answers = [{"status": "Accepted"}]
        assert isinstance(await trigger(house, operation), RetryIn)
        assert await renewal(house, operation) == (OperationState.RUNNING, "triggered")
        ((_, action, message),) = house.link.calls
        assert action is Action.TRIGGER_MESSAGE
        assert message == {"requestedMessage": "SignChargingStationCertificate"}

    inside(tmp_path, scene)


def test_asking_twice_is_one_renewal(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        assert (await start(house, station)).id == (await start(house, station)).id

    inside(tmp_path, scene)


def test_a_station_that_accepts_and_sends_no_csr_is_found_out(tmp_path: Path) -> None:
    """Some stations accept the trigger and then cannot build a CSR."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        house.link.answers = [{"status": "Accepted"}]
        await trigger(house, operation)
        assert isinstance(await trigger(house, operation), RetryIn), "there is time yet"
        house.clock.pass_time(CSR_DEADLINE)
        assert isinstance(await trigger(house, operation), GiveUp)
        state, _ = await renewal(house, operation)
        assert state is OperationState.FAILED

    inside(tmp_path, scene)


@pytest.mark.parametrize("answer", ["Rejected", "NotImplemented"])
def test_a_station_that_will_not_is_not_asked_again(tmp_path: Path, answer: str) -> None:
    async def scene(house: Inside) -> None:
        operation = await start(house, await house.station())
        house.link.answers = [{"status": answer}]
        assert isinstance(await trigger(house, operation), GiveUp)
        state, _ = await renewal(house, operation)
        assert state is OperationState.FAILED

    inside(tmp_path, scene)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (NotConnected("gone"), WhenConnected),
        (NotAllowedNow("rejected"), RetryIn),
        (NoAnswer("silence"), RetryIn),
    ],
)
def test_an_absent_station_is_asked_when_it_is_there(
    tmp_path: Path, failure: StationCallError, expected: type[JobOutcome]
) -> None:
    async def scene(house: Inside) -> None:
        operation = await start(house, await house.station())
        house.link.answers = [failure]
        assert isinstance(await trigger(house, operation), expected)
        assert await renewal(house, operation) == (OperationState.WAITING, "waiting")

    inside(tmp_path, scene)


def test_asking_has_an_end(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        operation = await start(house, await house.station())
        assert isinstance(await trigger(house, operation, attempts=21), GiveUp)
        assert house.link.calls == []

    inside(tmp_path, scene)


def test_a_csr_that_overtakes_the_answer_is_not_set_back(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        operation = await start(house, await house.station())

        async def csr_comes() -> None:
            async with house.store.writing() as work:
                await work.operations.advance(
                    operation.id,
                    state=OperationState.RUNNING,
                    progress="csr_received",
                    at=house.clock.now(),
                )
                await work.commit()

        house.link.before_answering = csr_comes
        house.link.answers = [{"status": "Accepted"}]
        await trigger(house, operation)
        assert await renewal(house, operation) == (OperationState.RUNNING, "csr_received")
        assert isinstance(await trigger(house, operation), RetryIn)
        assert len(house.link.calls) == 1, "the job only watches over the end now"

    inside(tmp_path, scene)


def test_a_renewal_whose_certificate_is_never_seen_has_an_end(tmp_path: Path) -> None:
    """While a renewal is open no other begins, so none may stay open for ever."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        record = await certificate_of(house, station)
        await signed(house, operation, record)
        house.clock.pass_time(timedelta(days=6))
        assert isinstance(await trigger(house, operation), RetryIn)
        house.clock.pass_time(timedelta(days=2))
        assert isinstance(await trigger(house, operation), GiveUp)
        assert (await renewal(house, operation))[0] is OperationState.FAILED
        assert await trigger(house, operation) == Done()
        assert (await start(house, station)).id != operation.id

    inside(tmp_path, scene)


def test_an_accepted_certificate_that_is_not_used_does_not_stop_another_renewal(
    tmp_path: Path,
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        record = await certificate_of(house, station)
        await signed(house, operation, record)
        assert (await start(house, station)).id == operation.id, "it is still on its way"
        house.link.answers = [{"status": "Accepted"}]
        await deliver(house, record)
        assert await renewal(house, operation) == (OperationState.RUNNING, "accepted")
        another = await start(house, station)
        assert another.id != operation.id
        assert (await renewal(house, operation))[0] is OperationState.FAILED
        await seen(house, station, record)
        assert await renewal(house, another) == (OperationState.WAITING, "waiting"), (
            "what the first made is no news of the second"
        )

    inside(tmp_path, scene)


def test_revoked_on_its_way_ends_the_renewal(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        record = await certificate_of(house, station)
        await signed(house, operation, record)
        async with house.store.writing() as work:
            await work.certificates.update_status(record.id, was=S.SIGNED, becomes=S.REVOKED)
            await work.commit()
        assert await deliver(house, record) == Done()
        assert await renewal(house, operation) == (OperationState.FAILED, "revoked")

    inside(tmp_path, scene)


@pytest.mark.parametrize("overtaken", [S.SIGNED, S.DELIVERED])
def test_what_was_overtaken_on_its_way_lets_nobody_in(
    tmp_path: Path, overtaken: CertificateStatus
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        old = await certificate_of(house, station, 1, overtaken)
        house.clock.pass_time(timedelta(minutes=1))
        await seen(house, station, await certificate_of(house, station, 2, S.ACCEPTED))
        assert await status(house, old) is S.SUPERSEDED
        assert await deliver(house, old) == Done()
        assert house.link.calls == []

    inside(tmp_path, scene)


def test_a_refusal_of_an_overtaken_csr_does_not_fail_the_renewal(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        operation = await start(house, station)
        request = await request_of(house, station)
        await signed(house, operation, await certificate_of(house, station, 2, S.DELIVERED))
        house.pki.fails = [PkiRefused(RefusalReason.WEAK_KEY, "")]

        class Overtaking:
            async def issue_station_certificate(self, asked: Any) -> Any:
                async with house.store.writing() as work:
                    await work.certificate_requests.set_status(request.id, RequestStatus.SUPERSEDED)
                    await work.commit()
                return await house.pki.issue_station_certificate(asked)

        job = job_for(house, JobKind.ISSUE_CERTIFICATE, request_id=str(request.id))
        outcome = await issue_certificate(
            job,
            store=house.store,
            pki=Overtaking(),  # type: ignore[arg-type]  # the one method that is asked
            clock=house.clock,
            randomness=house.randomness,
        )
        assert outcome == Done()
        assert (await renewal(house, operation))[0] is OperationState.RUNNING

    inside(tmp_path, scene)


def test_back_off_doubles_up_to_its_bound() -> None:
    periods = [
        back_off(n, first=timedelta(seconds=1), longest=timedelta(seconds=30)).total_seconds()
        for n in (0, 1, 2, 5, 1000)
    ]
    assert periods == [1, 2, 4, 30, 30]
