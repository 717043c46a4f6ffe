"""What every bus promises. An adapter for a broker joins by one line in `BUSES`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any

import pytest
from structlog.testing import capture_logs

from csms.bus.memory import MemoryBus
from csms.ports.bus import Bus, BusError, BusTimeout, Handler, Json, NoResponders


@asynccontextmanager
async def memory_bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    try:
        yield bus
    finally:
        await bus.close()


Act = Callable[[Bus], Awaitable[None]]
Runner = Callable[[Act], None]
BUSES: list[Callable[[], AbstractAsyncContextManager[Bus]]] = [memory_bus]


@pytest.fixture(params=BUSES, ids=lambda make: make.__name__)
def run_with_bus(request: pytest.FixtureRequest) -> Runner:
    def run(act: Act) -> None:
        async def main() -> None:
            async with asyncio.timeout(10), request.param() as bus:
                await act(bus)

        asyncio.run(main())

    return run


async def echo(message: Json) -> Json:
    return {"echo": message}


async def stuck(message: Json) -> Json:
    await asyncio.sleep(60)
    return message


async def broken(message: Json) -> Json:
    raise RuntimeError(f"password {message}")


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_request_is_answered_by_its_responder(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        await bus.respond("station.1", echo)
        message = {"text": "é", "list": [1, None, {"a": True}], "float": 0.5}
        assert await bus.request("station.1", message, timeout=5) == {"echo": message}

    run_with_bus(act)


def test_nobody_there_is_known_at_once(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        subscription = await bus.respond("station.1", echo)
        started = monotonic()
        with pytest.raises(NoResponders):
            await bus.request("station.2", {}, timeout=30)
        await subscription.close()
        await subscription.close()
        with pytest.raises(NoResponders):
            await bus.request("station.1", {}, timeout=30)
        assert monotonic() - started < 1

    run_with_bus(act)


def test_a_responder_that_takes_too_long_is_a_timeout(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        await bus.respond("station.1", stuck)
        with pytest.raises(BusTimeout):
            await bus.request("station.1", {}, timeout=0.05)

    run_with_bus(act)


def test_an_impatient_requester_does_not_stop_the_handler(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        finished: list[Json] = []

        async def slow(message: Json) -> Json:
            await asyncio.sleep(0.1)
            finished.append(message)
            return {}

        await bus.respond("station.1", slow)
        with pytest.raises(BusTimeout):
            await bus.request("station.1", {"n": 1}, timeout=0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await bus.request("station.1", {"n": 2}, timeout=5)
        await eventually(lambda: finished == [{"n": 1}, {"n": 2}])

    run_with_bus(act)


def test_the_newest_responder_answers_and_a_late_close_of_the_older_harms_nobody(
    run_with_bus: Runner,
) -> None:
    async def act(bus: Bus) -> None:
        async def newer(message: Json) -> Json:
            return {"by": "newer"}

        old = await bus.respond("station.1", echo)
        new = await bus.respond("station.1", newer)
        assert await bus.request("station.1", {}, timeout=5) == {"by": "newer"}
        await old.close()
        assert await bus.request("station.1", {}, timeout=5) == {"by": "newer"}
        await new.close()
        with pytest.raises(NoResponders):
            await bus.request("station.1", {}, timeout=5)

    run_with_bus(act)


def test_what_a_handler_raises_reaches_the_requester_as_a_bus_error_without_its_words(
    run_with_bus: Runner,
) -> None:
    async def act(bus: Bus) -> None:
        await bus.respond("station.1", broken)
        with capture_logs() as logs, pytest.raises(BusError) as caught:
            await bus.request("station.1", {"secret": "5ecre7"}, timeout=5)
        assert not isinstance(caught.value, NoResponders | BusTimeout)
        assert "5ecre7" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert [entry["event"] for entry in logs] == ["bus_handler_failed"]
        await bus.respond("station.1", echo)
        assert await bus.request("station.1", {}, timeout=5) == {"echo": {}}

    run_with_bus(act)


def test_messages_are_copies_on_both_ways(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        kept: list[Json] = []

        async def keep(message: Json) -> Json:
            message["list"].append("handler")
            kept.append(message)
            return message

        await bus.respond("station.1", keep)
        await bus.subscribe("topic", keep)
        sent: Json = {"list": []}
        reply = await bus.request("station.1", sent, timeout=5)
        reply["list"].append("requester")
        await bus.publish("topic", sent)
        sent["list"].append("publisher")
        await eventually(lambda: len(kept) == 2)
        assert kept == [{"list": ["handler"]}, {"list": ["handler"]}]
        assert sent == {"list": ["publisher"]}

    run_with_bus(act)


@pytest.mark.parametrize(
    "message",
    [
        {"tuple": (1, 2)},
        {1: "a number as key"},
        {"nan": float("nan")},
        {"bytes": b""},
        {"object": object()},
        {"half a pair": "\ud800"},
        ["no object"],
    ],
    ids=repr,
)
def test_what_json_cannot_carry_is_refused(run_with_bus: Runner, message: Any) -> None:
    async def act(bus: Bus) -> None:
        seen: list[Json] = []

        async def see(received: Json) -> Json:
            seen.append(received)
            return {}

        async def answer(received: Json) -> Any:
            return message

        await bus.respond("see", see)
        await bus.subscribe("topic", see)
        await bus.respond("answer", answer)
        for send in (
            lambda: bus.request("see", message, timeout=1),
            lambda: bus.publish("topic", message),
            lambda: bus.publish("nobody listens", message),
            lambda: bus.survey("topic", message, timeout=1),
        ):
            with pytest.raises(BusError):
                await send()
        with capture_logs(), pytest.raises(BusError):
            await bus.request("answer", {}, timeout=1)
        assert seen == []

    run_with_bus(act)


def test_a_topic_reaches_all_its_subscribers_and_no_others(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        heard: list[tuple[str, Json]] = []

        def listener(name: str) -> Handler:
            async def hear(message: Json) -> Json:
                heard.append((name, message))
                return {}

            return hear

        await bus.subscribe("topic", listener("a"))
        second = await bus.subscribe("topic", listener("b"))
        await bus.subscribe("other", listener("c"))
        await bus.publish("topic", {"n": 1})
        await eventually(lambda: len(heard) == 2)
        await second.close()
        await second.close()
        await bus.publish("topic", {"n": 2})
        await bus.publish("nobody listens", {})
        await eventually(lambda: len(heard) == 3)
        await asyncio.sleep(0.02)
        assert sorted(heard, key=str) == [("a", {"n": 1}), ("a", {"n": 2}), ("b", {"n": 1})]

    run_with_bus(act)


def test_one_handler_subscribed_twice_is_two_subscriptions(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        first = await bus.subscribe("topic", echo)
        second = await bus.subscribe("topic", echo)
        assert len(await bus.survey("topic", {}, timeout=5)) == 2
        await first.close()
        await first.close()
        assert len(await bus.survey("topic", {}, timeout=5)) == 1
        await second.close()
        assert await bus.survey("topic", {}, timeout=5) == []

    run_with_bus(act)


def test_a_failing_subscriber_keeps_nothing_from_the_others(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        heard: list[Json] = []

        async def hear(message: Json) -> Json:
            heard.append(message)
            return {}

        await bus.subscribe("topic", broken)
        await bus.subscribe("topic", hear)
        with capture_logs():
            for number in range(3):
                await bus.publish("topic", {"n": number})
            await eventually(lambda: len(heard) == 3)

    run_with_bus(act)


def test_a_survey_gathers_who_answers_in_time(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        await bus.subscribe("topic", echo)
        await bus.subscribe("topic", stuck)
        await bus.subscribe("topic", broken)
        started = monotonic()
        with capture_logs():
            replies = await bus.survey("topic", {"n": 1}, timeout=0.1)
        assert replies == [{"echo": {"n": 1}}]
        assert monotonic() - started < 2

    run_with_bus(act)


def test_a_handler_may_use_the_bus_itself(run_with_bus: Runner) -> None:
    async def act(bus: Bus) -> None:
        async def ask_on(message: Json) -> Json:
            return await bus.request("station.2", message, timeout=5)

        await bus.respond("station.1", ask_on)
        await bus.respond("station.2", echo)
        assert await bus.request("station.1", {"n": 1}, timeout=5) == {"echo": {"n": 1}}

    run_with_bus(act)


def test_closing_the_memory_bus_ends_its_handlers_and_frees_who_waits() -> None:
    async def main() -> None:
        bus = MemoryBus()
        await bus.respond("station.1", stuck)
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            waiting = group.create_task(refused(bus))
            await asyncio.sleep(0.02)
            await bus.close()
        assert waiting.result() == "the bus was closed"
        assert len(asyncio.all_tasks()) == 1
        with pytest.raises(BusError):
            await bus.respond("station.1", echo)
        with pytest.raises(BusError):
            await bus.subscribe("topic", echo)
        with pytest.raises(NoResponders):
            await bus.request("station.1", {}, timeout=1)

    async def refused(bus: MemoryBus) -> str:
        with pytest.raises(BusError) as caught:
            await bus.request("station.1", {}, timeout=30)
        return str(caught.value)

    asyncio.run(main())
