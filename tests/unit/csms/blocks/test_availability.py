"""Block G: StatusNotification."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from csms.blocks.availability import status_notification
from csms.domain.station import Station
from csms.ocpp import messages
from tests.fixtures.inside import START, Inside, inside


async def report(house: Inside, station: Station, status: str, at: datetime) -> None:
    request = messages.StatusNotificationRequest(
        timestamp=at,
        connector_status=messages.ConnectorStatusEnumType(status),
        evse_id=1,
        connector_id=1,
    )
    async with house.store.writing() as work:
        await status_notification(house.context(station), request, work)
        await work.commit()


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (START - timedelta(hours=2), START - timedelta(hours=1), "Available"),
        (START - timedelta(hours=1), START - timedelta(hours=2), "Faulted"),
        # A clock that was in 2090 once does not silence the connector until then.
        (START + timedelta(days=23_000), START + timedelta(minutes=2), "Available"),
    ],
)
def test_the_newest_report_is_shown_by_a_time_that_has_come(
    tmp_path: Path, first: datetime, second: datetime, shown: str
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        await report(house, station, "Faulted", first)
        house.clock.pass_time(timedelta(minutes=1))
        await report(house, station, "Available", second)
        async with house.store.reading() as work:
            (row,) = await work.stations.connectors(station.id)
        assert row.status == shown
        assert row.reported_at <= house.clock.now()

    inside(tmp_path, scene)
