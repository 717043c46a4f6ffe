"""One CALL at a time, and every ending has its own error."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from station.codec import CallError, CallResult
from station.link import CallAnsweredWithError, CallTimedOut, Link, LinkClosed


class Wire:
    """What the link wrote."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.link = Link(self.send)

    async def send(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def call(self, action: str, *, wait: float = 1) -> Coroutine[Any, Any, dict[str, Any]]:
        return self.link.call(action, {}, timeout=wait, on_sent=lambda _: None)


def play(scene: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await scene(Wire())

    asyncio.run(main())


def test_second_call_waits_for_the_answer_to_the_first() -> None:
    async def scene(wire: Wire) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(wire.call("Heartbeat"))
            second = group.create_task(wire.call("Authorize"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [frame[2] for frame in wire.sent] == ["Heartbeat"]
            assert wire.link.settle(CallResult(wire.sent[0][1], {"n": 1}))
            await asyncio.sleep(0.01)
            assert [frame[2] for frame in wire.sent] == ["Heartbeat", "Authorize"]
            assert wire.sent[0][1] != wire.sent[1][1]
            assert wire.link.settle(CallResult(wire.sent[1][1], {"n": 2}))
        assert (first.result(), second.result()) == ({"n": 1}, {"n": 2})

    play(scene)


def test_answer_nobody_asked_for_is_said_to_be_one() -> None:
    async def scene(wire: Wire) -> None:
        assert not wire.link.settle(CallResult("stranger", {}))

    play(scene)


def test_callerror_timeout_and_loss_are_told_apart() -> None:
    async def scene(wire: Wire) -> None:
        with pytest.raises(CallTimedOut):
            await wire.call("Heartbeat", wait=0.01)
        late = CallResult(wire.sent[0][1], {})
        assert not wire.link.settle(late), "after the timeout the answer is a stray one"
        asyncio.get_running_loop().call_later(
            0.01, lambda: wire.link.settle(CallError(wire.sent[1][1], "SecurityError", "", {}))
        )
        with pytest.raises(CallAnsweredWithError, match="SecurityError"):
            await wire.call("Heartbeat")
        asyncio.get_running_loop().call_later(0.01, wire.link.close)
        with pytest.raises(LinkClosed):
            await wire.call("Heartbeat")
        with pytest.raises(LinkClosed):
            await wire.call("Heartbeat")
        assert len(wire.sent) == 3

    play(scene)
