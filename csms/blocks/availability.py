"""Block G, Availability: Heartbeat (G02) and StatusNotification (G01)."""

from __future__ import annotations

from csms.blocks.context import Answer, StationContext
from csms.ocpp import messages
from csms.ports.records import ConnectorStatus
from csms.ports.store import UnitOfWork


async def heartbeat(
    context: StationContext, request: messages.HeartbeatRequest, work: UnitOfWork
) -> Answer:
    """G02.FR.03: our time, and nothing stored: any message proves the station alive (G02.FR.04)."""
    del request, work
    return Answer(payload=messages.HeartbeatResponse(current_time=context.wire_time))


async def status_notification(
    context: StationContext, request: messages.StatusNotificationRequest, work: UnitOfWork
) -> Answer:
    """G01. Some stations report EVSE 0 or connector 0: kept as said.

    The newest report wins by the station's time; one from the future counts as made now, or a
    clock that was wrong once would silence the connector for good.
    """
    await work.stations.record_connector(
        ConnectorStatus(
            station_id=context.station.id,
            evse_id=request.evse_id,
            connector_id=request.connector_id,
            status=request.connector_status.value,
            reported_at=min(request.timestamp, context.now),
            received_at=context.now,
        )
    )
    return Answer(payload=messages.StatusNotificationResponse())
