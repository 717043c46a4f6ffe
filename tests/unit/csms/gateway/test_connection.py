"""csms.gateway.connection: the parts that need no socket; the rest is tests/integration."""

import asyncio

import pytest

from csms.bus.memory import MemoryBus
from csms.gateway.connection import hint_jobs
from csms.ports.bus import JOBS_WAKE, BusError, Json


def test_a_hint_reaches_the_worker() -> None:
    async def main() -> None:
        bus, heard = MemoryBus(), asyncio.Event()

        async def worker(_: Json) -> Json:
            heard.set()
            return {}

        await bus.subscribe(JOBS_WAKE, worker)
        await hint_jobs(bus)
        await asyncio.wait_for(heard.wait(), 1)
        await bus.close()

    asyncio.run(main())


def test_a_lost_hint_is_logged_and_harmful_to_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def away(topic: str, message: Json) -> None:
        raise BusError("away")

    bus = MemoryBus()
    monkeypatch.setattr(bus, "publish", away)
    asyncio.run(hint_jobs(bus))
    assert "jobs_not_hinted" in capsys.readouterr().out
