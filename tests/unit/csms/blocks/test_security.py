"""Block A: SecurityEventNotification and SignCertificate."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from csms.blocks.context import Answer
from csms.blocks.security import security_event_notification, sign_certificate
from csms.domain.audit import AuditAction, Outcome
from csms.domain.certificate import RequestStatus
from csms.domain.signing_budget import BURST, SECONDS_EACH, SigningBudget
from csms.domain.station import SecurityProfile, Station
from csms.ocpp import messages
from csms.operations.issue_certificate import issue_certificate
from csms.ports.records import JobKind
from tests.fixtures.inside import Inside, inside

STATION_CERTIFICATE = messages.CertificateSigningUseEnumType.CHARGING_STATION_CERTIFICATE


@cache
def csr(number: int = 1) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"SN-{number}")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


async def ask(
    house: Inside,
    station: Station,
    text: str,
    kind: messages.CertificateSigningUseEnumType | None = STATION_CERTIFICATE,
    profile: SecurityProfile = SecurityProfile.TLS_BASIC,
) -> Answer:
    request = messages.SignCertificateRequest(csr=text)
    if kind is not None:
        request = messages.SignCertificateRequest(csr=text, certificate_type=kind)
    async with house.store.writing() as work:
        answer = await sign_certificate(house.context(station, profile), request, work)
        await work.commit()
    return answer


def status_of(answer: Answer) -> str:
    assert isinstance(answer.payload, messages.SignCertificateResponse)
    return answer.payload.status.value


def test_an_event_is_stored_as_it_came_before_it_is_confirmed(tmp_path: Path) -> None:
    """A04.FR.03; unknown names are kept, never refused."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        request = messages.SecurityEventNotificationRequest(
            type="VendorSpecial",
            timestamp=datetime(2026, 11, 22, 8, tzinfo=UTC),
            tech_info="<b>lid open</b>",
        )
        async with house.store.writing() as work:
            await security_event_notification(house.context(station), request, work)
            await work.commit()
        async with house.store.reading() as work:
            page = await work.security_events.page(station_id=station.id, limit=5, cursor=None)
        (event,) = page.items
        assert (event.type, event.tech_info) == ("VendorSpecial", "<b>lid open</b>")
        assert event.occurred_at == datetime(2026, 11, 22, 8, tzinfo=UTC)
        assert event.received_at == house.clock.now()

    inside(tmp_path, scene)


def test_a_csr_is_accepted_at_once_and_left_to_a_job(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        answer = await ask(house, station, csr())
        assert status_of(answer) == "Accepted"
        assert answer.wake_jobs
        assert await house.due() == [JobKind.ISSUE_CERTIFICATE]
        assert house.pki.asked == [], "the CA is not asked while the station waits (A02.FR.11)"
        async with house.store.reading() as work:
            stored = await work.certificate_requests.open_of(station.id, STATION_CERTIFICATE.value)
        assert stored is not None
        assert stored.certificate_type == STATION_CERTIFICATE.value

    inside(tmp_path, scene)


def test_without_a_certificate_type_none_will_be_echoed(tmp_path: Path) -> None:
    """A02.FR.13, 14."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        assert status_of(await ask(house, station, csr(), kind=None)) == "Accepted"
        async with house.store.reading() as work:
            stored = await work.certificate_requests.open_of(station.id, STATION_CERTIFICATE.value)
        assert stored is not None
        assert stored.certificate_type is None

    inside(tmp_path, scene)


def test_the_same_csr_again_is_the_same_request(tmp_path: Path) -> None:
    """A02.FR.17: a station repeats an unanswered CSR; it must not get two certificates."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        for _ in range(3):
            assert status_of(await ask(house, station, csr())) == "Accepted"
        assert await house.due() == [JobKind.ISSUE_CERTIFICATE]
        async with house.store.reading() as work:
            page = await work.certificate_requests.page(status=None, limit=10, cursor=None)
        assert len(page.items) == 1

    inside(tmp_path, scene)


def test_a_flood_of_csrs_is_refused_recorded_once_and_forgiven(tmp_path: Path) -> None:
    """C07: each new key would be a signature of the CA that all stations share."""

    async def scene(house: Inside) -> None:
        station, other = await house.station("CS-1"), await house.station("CS-2")
        for _ in range(BURST):
            await ask(house, station, csr())
        for _ in range(3):
            answer = await ask(house, station, csr())
            assert status_of(answer) == "Rejected"
            assert isinstance(answer.payload, messages.SignCertificateResponse)
            assert isinstance(answer.payload.status_info, messages.StatusInfoType)
            assert answer.payload.status_info.reason_code == "TooManyRequests"
        async with house.store.reading() as work:
            page = await work.security_events.page(station_id=station.id, limit=9, cursor=None)
        assert [event.type for event in page.items] == ["CertificateRequestFlood"]
        refused = await house.audited(AuditAction.CERTIFICATE_REQUEST)
        assert [row.record.reason for row in refused if row.record.reason] == ["too_often"]
        assert status_of(await ask(house, other, csr())) == "Accepted", "the others go on"
        house.clock.pass_time(timedelta(seconds=SECONDS_EACH))
        assert status_of(await ask(house, station, csr())) == "Accepted"
        assert status_of(await ask(house, station, csr())) == "Rejected"

    inside(tmp_path, scene)


def test_the_same_csr_after_issuance_is_delivered_again(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        await ask(house, station, csr())
        job = await house.job(JobKind.ISSUE_CERTIFICATE)
        await issue_certificate(
            job, store=house.store, pki=house.pki, clock=house.clock, randomness=house.randomness
        )
        async with house.store.writing() as work:
            now = house.clock.now()
            both = await work.jobs.claim(now=now, lease_until=now, limit=9)
            leased, delivery = sorted(both, key=lambda each: each.kind, reverse=True)
            assert delivery.kind is JobKind.DELIVER_CERTIFICATE
            await work.jobs.finish(leased)
            await work.jobs.finish(delivery)
            await work.commit()
        assert await house.due() == []
        assert status_of(await ask(house, station, csr())) == "Accepted"
        again = await house.job(JobKind.DELIVER_CERTIFICATE)
        assert again.payload["asked_again"], "else what the station has had is not sent again"
        assert len(house.pki.asked) == 1

    inside(tmp_path, scene)


def test_a_csr_whose_key_was_certified_by_another_text_is_asked_for_again(tmp_path: Path) -> None:
    """The certificate stands under the first text's request; a repeat of the second is not met with
    silence: the PKI answers it with that certificate.
    """

    async def scene(house: Inside) -> None:
        station = await house.station()
        await ask(house, station, csr())
        async with house.store.writing() as work:
            (stored,) = (
                await work.certificate_requests.page(status=None, limit=10, cursor=None)
            ).items
            await work.certificate_requests.set_status(stored.id, RequestStatus.ISSUED)
            (job,) = await work.jobs.claim(
                now=house.clock.now(), lease_until=house.clock.now(), limit=9
            )
            await work.jobs.finish(job)
            await work.commit()
        assert status_of(await ask(house, station, csr())) == "Accepted"
        assert await house.due() == [JobKind.ISSUE_CERTIFICATE]

    inside(tmp_path, scene)


def test_a_new_csr_takes_the_place_of_an_open_one(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        await ask(house, station, csr(1))
        await ask(house, station, csr(2))
        async with house.store.reading() as work:
            page = await work.certificate_requests.page(status=None, limit=10, cursor=None)
        statuses = sorted(request.status for request in page.items)
        assert statuses == [RequestStatus.OPEN, RequestStatus.SUPERSEDED]

    inside(tmp_path, scene)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a CSR",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_csr_is_rejected_with_the_standard_reason(tmp_path: Path, text: str) -> None:
    """A02.FR.12."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        answer = await ask(house, station, text)
        assert status_of(answer) == "Rejected"
        assert isinstance(answer.payload, messages.SignCertificateResponse)
        assert isinstance(answer.payload.status_info, messages.StatusInfoType)
        assert answer.payload.status_info.reason_code == "InvalidCSR"
        assert await house.due() == []
        (entry,) = await house.audited(AuditAction.CERTIFICATE_REQUEST)
        assert entry.record.outcome is Outcome.REFUSED

    inside(tmp_path, scene)


def test_a_v2g_certificate_is_not_ours_to_give(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        v2g = messages.CertificateSigningUseEnumType.V2_G_CERTIFICATE
        assert status_of(await ask(house, station, csr(), kind=v2g)) == "Rejected"
        assert await house.due() == []

    inside(tmp_path, scene)


def test_a_csr_over_a_plaintext_connection_is_rejected(tmp_path: Path) -> None:
    """C08."""

    async def scene(house: Inside) -> None:
        station = await house.station(profile=1)
        answer = await ask(house, station, csr(), profile=SecurityProfile.BASIC)
        assert status_of(answer) == "Rejected"

    inside(tmp_path, scene)


def test_beyond_the_fleets_queue_a_request_is_rejected_and_told_once(tmp_path: Path) -> None:
    """P03: while the CA is away requests wait, and overflow answers Rejected, not silence."""

    async def scene(house: Inside) -> None:
        house.signing_budget = SigningBudget(maximum_open=2)
        stations = [await house.station(f"CS-{number}") for number in range(5)]
        answers = [await ask(house, one, csr(n)) for n, one in enumerate(stations)]
        assert [status_of(answer) for answer in answers] == ["Accepted"] * 2 + ["Rejected"] * 3
        for answer in answers[2:]:
            assert isinstance(answer.payload, messages.SignCertificateResponse)
            assert isinstance(answer.payload.status_info, messages.StatusInfoType)
            assert answer.payload.status_info.reason_code == "QueueFull"
        entries = await house.audited(AuditAction.CERTIFICATE_REQUEST)
        assert [entry.record.reason for entry in entries] == [None, None] + ["queue_full"] * 3
        async with house.store.reading() as work:
            page = await work.security_events.page(station_id=None, limit=9, cursor=None)
        assert [event.type for event in page.items] == ["CertificateQueueFull"]
        # Whoever waits already may repeat itself, and may have a new key: that takes no more room.
        assert status_of(await ask(house, stations[0], csr(0))) == "Accepted"
        assert status_of(await ask(house, stations[0], csr(9))) == "Accepted"

    inside(tmp_path, scene)
