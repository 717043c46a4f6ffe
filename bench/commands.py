"""The other end of `measuring.Spoken`: commands in on standard input, answers out, a line each."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

Answer = dict[str, Any]
Command = Callable[..., Awaitable[Answer]]


def log_as_csms_does() -> None:
    """One JSON object a line on standard error, from INFO on: what `csms up` does in a service."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def say(answer: Answer) -> None:
    print(json.dumps(answer), flush=True)


async def obey(commands: Mapping[str, Command]) -> None:
    """Until standard input ends. What a command raises is its answer, and the next may come."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        command = json.loads(line)
        try:
            say(await commands[command.pop("do")](**command))
        except Exception as error:  # noqa: BLE001 -- it is told to whoever measures, who stops
            say({"failed": f"{type(error).__name__}: {error}"[:500]})
