"""A gateway in a process of its own, so that its memory can be measured from outside."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvloop

from csms.domain.station import RegistrationStatus, SecurityProfile
from tests.fixtures.gateway_house import World, house

IDENTITY = "APART"
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Apart:
    """One station, IDENTITY, is registered for profile 1, with the fixtures' password."""

    port: int
    pid: int

    def rss(self) -> int:
        """Bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the gateway has gone")


async def _serve(directory: Path, pipe: Connection, settings: dict[str, Any]) -> None:
    more = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"], **settings}
    async with house(World(directory), directory, **more) as home:
        plain = SecurityProfile.BASIC
        station = await home.add(IDENTITY, "SN-APART", security_profile=plain, minimum=plain)
        await home.booted(station, RegistrationStatus.ACCEPTED)
        pipe.send(home.ports["1"])
        await asyncio.to_thread(pipe.recv)


def _run(directory: Path, pipe: Connection, settings: dict[str, Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(directory, pipe, settings))


@contextmanager
def gateway_apart(directory: Path, **settings: Any) -> Iterator[Apart]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run, args=(directory, theirs, settings))
    process.start()
    theirs.close()
    try:
        assert ours.poll(START_SECONDS), "the gateway did not start"
        port = ours.recv()
        assert process.pid is not None
        yield Apart(port, process.pid)
        assert process.is_alive(), "the gateway has gone"
        ours.send("stop")
        process.join(30)
        assert process.exitcode == 0
    finally:
        if process.is_alive():
            process.kill()
            process.join()
        ours.close()
