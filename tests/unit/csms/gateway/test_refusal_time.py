"""csms.gateway.refusal_time: out at its time, and not so long after the work."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from csms.gateway import refusal_time
from csms.gateway.refusal_time import RefusalTime
from tests.fixtures.gateway_house import LOOPS

MILLISECOND = 1_000_000


def run(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_nobody_is_released_before_its_time_and_everybody_is(loop: str) -> None:
    async def main() -> None:
        refusals = RefusalTime(0.003)
        released = []

        async def one(after: int) -> None:
            due = refusals.due() + after * MILLISECOND
            await refusals.reached(due)
            assert time.monotonic_ns() >= due
            released.append(after)

        # In another order than they are due.
        await asyncio.wait_for(asyncio.gather(*map(one, (40, 0, 80, 20, 20))), 5)
        assert released == sorted(released)
        refusals.close()

    run(loop, main)


def test_what_is_past_does_not_wait(loop: str) -> None:
    async def main() -> None:
        refusals = RefusalTime(-1)
        await asyncio.wait_for(refusals.reached(refusals.due()), 0.5)
        refusals.close()

    run(loop, main)


def test_whoever_waits_when_it_closes_is_released(loop: str) -> None:
    async def main() -> None:
        refusals = RefusalTime(60)
        waiting = asyncio.gather(refusals.reached(refusals.due()), refusals.reached(refusals.due()))
        await asyncio.sleep(0)
        refusals.close()
        refusals.close()
        await asyncio.wait_for(waiting, 0.5)

    run(loop, main)


def test_who_gives_up_holds_up_nobody(loop: str) -> None:
    async def main() -> None:
        refusals = RefusalTime(0.02)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(refusals.reached(refusals.due()), 0.001)
        await asyncio.wait_for(refusals.reached(refusals.due()), 5)
        refusals.close()

    run(loop, main)


@pytest.mark.parametrize("why", ["elsewhere", "no descriptor"])
def test_without_timerfd_the_loops_timer_serves(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "elsewhere":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(refusal_time, "_timerfd", lambda: None)

    async def main() -> None:
        refusals = RefusalTime(0.002)
        due = refusals.due()
        await asyncio.wait_for(refusals.reached(due), 5)
        refusals.close()

    run("asyncio", main)


def test_no_descriptor_is_left(loop: str) -> None:
    async def main() -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        refusals = RefusalTime(0.002)
        await refusals.reached(refusals.due())
        refusals.close()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    run(loop, main)
