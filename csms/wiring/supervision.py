"""The long-running loops of a process: each has an owner, and none ends unnoticed.

A loop that ends by itself, or fails, ends the process: `ended` then says which, and whoever runs
the process makes an exit code of it. A stop that is asked for during the start ends the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import structlog

from csms.wiring.errors import RoleEnded

T = TypeVar("T")
_RETURNED: Final = "it returned"
log = structlog.get_logger()


class Roles:
    """The loops of one process; made by `supervised`."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[str] = set()
        self._ended: RoleEnded | None = None

    def start(self, name: str, loop: Coroutine[Any, Any, Any], *, may_return: bool = False) -> None:
        """`may_return`: no loop but work with an end, which must not fail all the same."""
        self._running.add(name)
        running = asyncio.get_running_loop()
        watched = self._watched(name, loop, may_return=may_return)
        task = running.create_task(watched, name=name)
        task.add_done_callback(lambda _: loop.close())  # of one stopped before its first step
        self._tasks.add(task)

    def is_running(self, name: str) -> bool:
        return name in self._running

    def raise_if_ended(self) -> None:
        """Raises RoleEnded when a loop ended before it was asked to."""
        if self._ended is not None:
            raise self._ended

    async def stop(self) -> None:
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watched(
        self, name: str, loop: Coroutine[Any, Any, Any], *, may_return: bool
    ) -> None:
        why = _RETURNED
        try:
            await loop
        except Exception as error:  # a role's outermost frame: whatever it was, the process ends
            why = type(error).__name__
            log.exception("role_failed", role=name)
        finally:
            self._running.discard(name)
            if not (self._stop.is_set() or (may_return and why == _RETURNED)):
                log.error("role_ended", role=name, why=why)
                self._ended = RoleEnded(f"the role {name} ended by itself ({why}); see the log")
                self._stop.set()


@asynccontextmanager
async def supervised(stop: asyncio.Event) -> AsyncIterator[Roles]:
    """Stops the loops before anything they use is closed. Raises RoleEnded at the end."""
    roles = Roles(stop)
    try:
        yield roles
    finally:
        await roles.stop()
    roles.raise_if_ended()


async def unless_stopped(stop: asyncio.Event, start: Coroutine[Any, Any, T]) -> T | None:
    """What `start` returns; None when `stop` was set first, and then it was cancelled."""
    loop = asyncio.get_running_loop()
    starting, stopping = loop.create_task(start), loop.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        result = starting.result() if starting.done() else None
        return None if stop.is_set() else result
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
