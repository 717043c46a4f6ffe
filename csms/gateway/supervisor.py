"""Owner of the gateway's tasks: none is lost, none ends the others, all end with `stop`."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


class Supervisor:
    """A task group for tasks that must not take their siblings down with them.

    An exception that escapes a task is a bug: it is logged, and only that task ends.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self, *, patience: float = 0.0) -> None:
        """Let them end by themselves for so many seconds, then cancel and wait for the rest."""
        if self._tasks and patience:
            await asyncio.wait(self._tasks, timeout=patience)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("gateway_task_failed", error=type(error).__name__, at=place_of(error))


def place_of(error: BaseException) -> str:
    """Where it happened; an exception's own text may quote a payload and is not logged."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}:{frames[-1].lineno}" if frames else "?"
