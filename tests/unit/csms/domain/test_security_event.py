"""Which security events are critical."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from csms.domain.security_event import EventSource, SecurityEvent

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def event(kind: str) -> SecurityEvent:
    return SecurityEvent(
        id=UUID(int=1),
        station_id=UUID(int=2),
        type=kind,
        occurred_at=NOON,
        received_at=NOON,
        tech_info=None,
        source=EventSource.STATION,
    )


@pytest.mark.parametrize("kind", ["StartupOfTheDevice", "TamperDetectionActivated"])
def test_what_the_appendix_calls_critical_is_critical(kind: str) -> None:
    assert event(kind).critical


@pytest.mark.parametrize("kind", ["InvalidMessages", "startupofthedevice", "SomethingNew"])
def test_other_and_unknown_names_are_not_critical(kind: str) -> None:
    """The list is open: an unknown name is kept, and counts as ordinary."""
    assert not event(kind).critical
