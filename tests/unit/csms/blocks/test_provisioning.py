"""Block B: BootNotification."""

from pathlib import Path

import pytest

from csms.blocks.provisioning import RETRY_INTERVAL_SECONDS, boot_notification
from csms.domain.audit import AuditAction, Outcome
from csms.domain.station import RegistrationStatus, SecurityProfile
from csms.ocpp import messages
from csms.ports.records import JobKind
from tests.fixtures.inside import Inside, inside

CERTIFICATE = SecurityProfile.TLS_CERTIFICATE


def boot(serial_number: str | None = None) -> messages.BootNotificationRequest:
    station = messages.ChargingStationType(model="M", vendor_name="V")
    if serial_number is not None:
        station = messages.ChargingStationType(
            model="M", vendor_name="V", serial_number=serial_number
        )
    return messages.BootNotificationRequest(
        charging_station=station, reason=messages.BootReasonEnumType.POWER_UP
    )


@pytest.mark.parametrize(
    ("status", "interval"),
    [
        ("Accepted", 300),
        ("Pending", RETRY_INTERVAL_SECONDS),
        ("Rejected", RETRY_INTERVAL_SECONDS),
    ],
)
def test_the_answer_is_what_people_decided_and_is_remembered(
    tmp_path: Path, status: str, interval: int
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station(registration_status=status)
        async with house.store.writing() as work:
            answer = await boot_notification(house.context(station), boot("SN-1"), work)
            await work.commit()
        assert isinstance(answer.payload, messages.BootNotificationResponse)
        assert answer.payload.status.value == status
        assert answer.payload.interval == interval
        assert answer.payload.current_time.microsecond == 0
        assert answer.booted is RegistrationStatus(status)
        assert answer.close is None
        async with house.store.reading() as work:
            stored = await work.stations.by_id(station.id)
        assert stored is not None
        assert stored.booted_as is RegistrationStatus(status)
        (entry,) = await house.audited(AuditAction.STATION_BOOT)
        assert entry.record.details["status"] == status

    inside(tmp_path, scene)


@pytest.mark.parametrize("said", [None, "SN-1"])
def test_on_profile_3_the_serial_number_agrees_or_is_absent(
    tmp_path: Path, said: str | None
) -> None:
    """B01.FR.11; official cases boot without it."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        async with house.store.writing() as work:
            answer = await boot_notification(house.context(station, CERTIFICATE), boot(said), work)
        assert answer.close is None
        assert answer.booted is RegistrationStatus.ACCEPTED

    inside(tmp_path, scene)


@pytest.mark.parametrize("said", ["SN-2", "sn-1", "SN-1 ", "SN-10"])
def test_on_profile_3_another_serial_number_ends_the_connection(tmp_path: Path, said: str) -> None:
    """B01.FR.12, with an event and an audit row that name the check."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        async with house.store.writing() as work:
            answer = await boot_notification(house.context(station, CERTIFICATE), boot(said), work)
            await work.commit()
        assert answer.close is not None
        assert answer.booted is RegistrationStatus.REJECTED
        (entry,) = await house.audited(AuditAction.STATION_BOOT)
        assert (entry.record.outcome, entry.record.reason) == (Outcome.REFUSED, "serial_number")
        async with house.store.reading() as work:
            events = await work.security_events.page(station_id=station.id, limit=10, cursor=None)
        assert [event.type for event in events.items] == ["SerialNumberMismatch"]

    inside(tmp_path, scene)


def test_on_profile_2_another_serial_number_is_reported_and_accepted(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        async with house.store.writing() as work:
            answer = await boot_notification(house.context(station), boot("SN-2"), work)
            await work.commit()
        assert answer.close is None
        async with house.store.reading() as work:
            events = await work.security_events.page(station_id=station.id, limit=10, cursor=None)
        assert [event.type for event in events.items] == ["SerialNumberMismatch"]

    inside(tmp_path, scene)


def test_a_boot_wakes_what_waits_for_the_station(tmp_path: Path) -> None:
    from datetime import timedelta

    from csms.operations.renew_certificate import start_renewal

    async def scene(house: Inside) -> None:
        station = await house.station()
        async with house.store.writing() as work:
            later = house.clock.now() + timedelta(hours=1)
            await start_renewal(work, station.id, now=later, randomness=house.randomness)
            await work.commit()
        assert await house.due() == []
        async with house.store.writing() as work:
            answer = await boot_notification(house.context(station), boot(), work)
            await work.commit()
        assert answer.wake_jobs
        assert await house.due() == [JobKind.TRIGGER_RENEWAL]

    inside(tmp_path, scene)
