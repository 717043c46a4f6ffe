"""csms.adapters.station_link: the gateway's words become the port's exceptions."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from csms.adapters import station_link
from csms.adapters.station_link import BusStationLink
from csms.bus.memory import MemoryBus
from csms.ocpp.actions import Action
from csms.ports.bus import Json, station_subject
from csms.ports.station_link import (
    InvalidAnswer,
    NoAnswer,
    NotAllowedNow,
    NotConnected,
    QueueFull,
    StationRefused,
)

STATION = uuid4()


def answered(reply: Any, *, timeout: float = 1.0) -> Json:
    """What a call comes to when the gateway replies so."""

    async def main() -> Json:
        bus = MemoryBus()

        async def gateway(message: Json) -> Json:
            assert message == {"action": "Reset", "payload": {}, "timeout_seconds": timeout}
            if reply == "silence":
                await asyncio.sleep(60)
            assert isinstance(reply, dict)
            return reply

        await bus.respond(station_subject(STATION), gateway)
        try:
            return await BusStationLink(bus, timeout).call(STATION, Action.RESET, {})
        finally:
            await bus.close()

    return asyncio.run(main())


def error(kind: str, **more: str) -> Json:
    return {"error": {"kind": kind, "description": "why", **more}}


def test_the_payload_of_the_answer_comes_back() -> None:
    assert answered({"payload": {"status": "Accepted"}}) == {"status": "Accepted"}


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (error("not_connected"), NotConnected),
        (error("not_allowed_now"), NotAllowedNow),
        (error("queue_full"), QueueFull),
        (error("no_answer"), NoAnswer),
        (error("invalid_answer"), InvalidAnswer),
        (error("station_error", code="NotSupported"), StationRefused),
        (error("invalid_payload"), ValueError),
        (error("of another version"), NoAnswer),
        ({"error": "words"}, NoAnswer),
        ({}, NoAnswer),
        ({"payload": [1]}, NoAnswer),
    ],
)
def test_every_kind_of_failure_has_its_exception(reply: Json, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        answered(reply)


def test_a_callerror_keeps_its_code() -> None:
    with pytest.raises(StationRefused) as refused:
        answered(error("station_error", code="NotSupported"))
    assert (refused.value.code, refused.value.description) == ("NotSupported", "why")


def test_a_silent_gateway_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_link, "_MARGIN_SECONDS", 0.05)
    with pytest.raises(NoAnswer):
        answered("silence", timeout=0.05)


def test_nobody_holds_the_station() -> None:
    async def main() -> None:
        link = BusStationLink(MemoryBus(), 1.0)
        with pytest.raises(NotConnected):
            await link.call(STATION, Action.RESET, {})
        assert not await link.disconnect(STATION, reason="x")

    asyncio.run(main())


def test_disconnect_says_whether_there_was_a_session() -> None:
    async def main() -> None:
        bus = MemoryBus()

        async def gateway(message: Json) -> Json:
            return {"closed": message == {"disconnect": "by order"}}

        await bus.respond(station_subject(STATION), gateway)
        assert await BusStationLink(bus, 1.0).disconnect(STATION, reason="by order")
        assert not await BusStationLink(bus, 1.0).disconnect(STATION, reason="otherwise")

    asyncio.run(main())
