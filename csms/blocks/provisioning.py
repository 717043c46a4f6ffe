"""Block B, Provisioning: BootNotification (B01-B03)."""

from __future__ import annotations

from csms.blocks.context import Answer, StationContext
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.boot import serial_number_agrees
from csms.domain.security_event import CSMSEvent, EventSource, SecurityEvent
from csms.domain.station import RegistrationStatus
from csms.ocpp import messages
from csms.ports.records import Boot
from csms.ports.store import UnitOfWork

# B02.FR.07: a station that is not accepted asks again after this long.
RETRY_INTERVAL_SECONDS = 60


async def boot_notification(
    context: StationContext, request: messages.BootNotificationRequest, work: UnitOfWork
) -> Answer:
    """B01: answer with the registration status people gave this station, and remember the boot.

    B01.FR.11, 12: on profile 3 another serial number than the certificate's CN ends the
    connection; on profile 2, where nothing proved the serial number, it is reported.
    """
    said = request.charging_station.serial_number or None
    station = await work.stations.by_id(context.station.id) or context.station
    agrees = said is None or said == station.serial_number
    if not agrees:
        await _report_serial_number(context, said, work)
    admissible = serial_number_agrees(said, station.serial_number, context.profile)
    status = station.registration_status if admissible else RegistrationStatus.REJECTED
    await work.stations.record_boot(station.id, _boot(context, request, said, status))
    await work.audit.add(_audit(context, request, status, admissible=admissible))
    accepted = status is RegistrationStatus.ACCEPTED
    told = status is not RegistrationStatus.REJECTED and bool(
        await work.jobs.wake(station.id, now=context.now)
    )
    return Answer(
        payload=messages.BootNotificationResponse(
            current_time=context.wire_time,
            interval=context.heartbeat_interval_seconds if accepted else RETRY_INTERVAL_SECONDS,
            status=messages.RegistrationStatusEnumType(status.value),
        ),
        booted=status,
        wake_jobs=told,
        close=None if admissible else "serial number differs from the certificate",
    )


def _audit(
    context: StationContext,
    request: messages.BootNotificationRequest,
    status: RegistrationStatus,
    *,
    admissible: bool,
) -> AuditRecord:
    return AuditRecord(
        at=context.now,
        actor=context.actor,
        action=AuditAction.STATION_BOOT,
        subject=context.actor,
        outcome=Outcome.SUCCESS if admissible else Outcome.REFUSED,
        reason=None if admissible else "serial_number",
        details={"status": status.value, "reason": request.reason.value},
    )


def _boot(
    context: StationContext,
    request: messages.BootNotificationRequest,
    serial_number: str | None,
    status: RegistrationStatus,
) -> Boot:
    return Boot(
        vendor_name=request.charging_station.vendor_name,
        model=request.charging_station.model,
        serial_number=serial_number,
        firmware_version=request.charging_station.firmware_version or None,
        reason=request.reason.value,
        status=status,
        at=context.now,
    )


async def _report_serial_number(
    context: StationContext, said: str | None, work: UnitOfWork
) -> None:
    await work.security_events.add(
        SecurityEvent(
            id=context.randomness.uuid(),
            station_id=context.station.id,
            type=CSMSEvent.SERIAL_NUMBER_MISMATCH,
            occurred_at=context.now,
            received_at=context.now,
            tech_info=f"BootNotification said {said}",
            source=EventSource.CSMS,
        )
    )
