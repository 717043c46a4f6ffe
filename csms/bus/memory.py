"""The bus inside one process.

It promises what a broker would: messages cross as JSON, so that nobody shares an object; a handler
runs in a task of the bus and outlives an impatient requester; what a handler raises stays on its
side of the bus. Delivery to other processes is left to the brokers' adapters, and truth to the
database (decision 12).
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import cast

import structlog

from csms.ports.bus import BusError, BusTimeout, Handler, Json, NoResponders

log = structlog.get_logger()


class MemorySubscription:
    """One place in a table of handlers. Closing it twice is harmless; closing a responder that
    was replaced leaves the newer one alone: compare-and-delete, as with sockets (A03).
    """

    def __init__(self, handler: Handler, withdraw: Callable[[MemorySubscription], None]) -> None:
        self.handler = handler
        self._withdraw = withdraw

    async def close(self) -> None:
        self._withdraw(self)


class MemoryBus:
    """Implements `csms.ports.bus.Bus` for one event loop."""

    def __init__(self) -> None:
        self._responders: dict[str, MemorySubscription] = {}
        self._subscribers: dict[str, list[MemorySubscription]] = defaultdict(list)
        self._tasks: set[asyncio.Task[Json]] = set()
        self._closed = False

    async def respond(self, subject: str, handler: Handler) -> MemorySubscription:
        self._require_open()

        def withdraw(mine: MemorySubscription) -> None:
            if self._responders.get(subject) is mine:
                del self._responders[subject]

        subscription = self._responders[subject] = MemorySubscription(handler, withdraw)
        return subscription

    async def request(self, subject: str, message: Json, *, timeout: float) -> Json:  # noqa: ASYNC109 -- the port's signature
        copy = _crossing(message)
        responder = self._responders.get(subject)
        if responder is None:
            raise NoResponders(subject)
        task = self._start(subject, responder.handler, copy)
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            raise BusTimeout(subject)
        return _reply(task)

    async def subscribe(self, topic: str, handler: Handler) -> MemorySubscription:
        self._require_open()
        subscribers = self._subscribers[topic]

        def withdraw(mine: MemorySubscription) -> None:
            if mine in subscribers:
                subscribers.remove(mine)

        subscription = MemorySubscription(handler, withdraw)
        subscribers.append(subscription)
        return subscription

    async def publish(self, topic: str, message: Json) -> None:
        self._tell_all(topic, message)

    async def survey(self, topic: str, message: Json, *, timeout: float) -> Sequence[Json]:  # noqa: ASYNC109 -- the port's signature
        tasks = self._tell_all(topic, message)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        return [task.result() for task in tasks if _answered(task)]

    async def close(self) -> None:
        """Silence everybody and end the handlers that still run."""
        self._closed = True
        self._responders.clear()
        self._subscribers.clear()
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tell_all(self, topic: str, message: Json) -> list[asyncio.Task[Json]]:
        _crossing(message)  # refused whether or not somebody listens
        return [
            self._start(topic, subscriber.handler, _crossing(message))
            for subscriber in tuple(self._subscribers.get(topic, ()))
        ]

    def _start(self, name: str, handler: Handler, message: Json) -> asyncio.Task[Json]:
        task = asyncio.create_task(_handled(name, handler, message))  # noqa: TID251 -- owned by the set, ended by close()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_forget)  # an impatient requester never looks at it
        return task

    def _require_open(self) -> None:
        if self._closed:
            raise BusError("the bus is closed")


async def _handled(name: str, handler: Handler, message: Json) -> Json:
    """Run a handler; whatever it raises is logged here and told to nobody."""
    try:
        return _crossing(await handler(message))
    except Exception as error:
        log.exception("bus_handler_failed", subject=name, error=type(error).__name__)
        raise BusError("the responder failed") from None


def _crossing(message: Json) -> Json:
    """The message as it comes out on the other side. Raises BusError for what JSON cannot carry.

    The comparison catches what `json` would quietly turn into something else: tuples, keys that
    are no strings.
    """
    try:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
        copy = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise BusError("the message is no JSON") from error
    if not isinstance(copy, dict) or copy != message:
        raise BusError("the message is no JSON object")
    return cast("Json", copy)


def _reply(task: asyncio.Task[Json]) -> Json:
    if task.cancelled():
        raise BusError("the bus was closed")
    return task.result()


def _answered(task: asyncio.Task[Json]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _forget(task: asyncio.Task[Json]) -> None:
    if not task.cancelled():
        task.exception()
