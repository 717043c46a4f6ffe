"""A gateway in a process of its own, whose memory, processor time and descriptors are its alone.

`python -m tests.attacks.outpost DIRECTORY SETTINGS`: as `keep`, obeying one JSON line after the
other. `Outpost` is the attacker's side of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.attacks.hostile import HostileStation, basic, client_tls, upgrade
from tests.attacks.keep import Keep, keep
from tests.fixtures.gateway_house import PASSWORD, World

ROOT = Path(__file__).resolve().parents[2]
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
OWN_DESCRIPTORS = 16_000  # of the attacker, where the machine allows


class Outpost:
    """Made by `outpost`. Blocks, as `Keep` does."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self._process = process
        self._ports: dict[str, int] = ready["ports"]
        self.trust: str = ready["trust"]

    def _ask(self, what: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **more}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the gateway's process has ended"
        return json.loads(answer)

    def port(self, profile: int) -> int:
        return self._ports[str(profile)]

    def add(self, *identities: str) -> None:
        self._ask("add", identities=identities)

    def visit(self, profile: int, **more: Any) -> HostileStation:
        if profile > 1 and "context" not in more:
            more["context"] = client_tls(self.trust)
        return HostileStation(self.port(profile), **more)

    def connected(self, identity: str, **more: Any) -> HostileStation:
        """An admitted station."""
        wire = self.visit(2, **more)
        header = f"Authorization: {basic(identity, PASSWORD)}"
        answer = wire.ask(upgrade(f"/ocpp/{identity}", header))
        assert answer.status == 101, answer
        return wire

    def seconds_to_connect(self, identity: str, **more: Any) -> float:
        began = time.monotonic()
        with self.connected(identity, **more) as wire:
            took = time.monotonic() - began
            assert wire.call("Heartbeat", {})[0] == 3
        return took

    def health(self) -> dict[str, Any]:
        """`GatewayHealth`, and the worst lag since it was asked last."""
        answer: dict[str, Any] = self._ask("health")
        return answer

    def reasons(self) -> Counter[str]:
        """Refusals on record since they were asked last; counted ones as often as they say."""
        return Counter(self._ask("reasons"))

    def occupy(self, *, leave: int) -> None:
        """Use up the process's descriptors, but for so many."""
        self._ask("occupy", leave=leave)

    def release(self) -> None:
        self._ask("release")

    def quiet(self, seconds: float = 30) -> None:
        """Wait until no stranger is left."""
        until = time.monotonic() + seconds
        while (health := self.health())["strangers"]:
            assert time.monotonic() < until, health
            time.sleep(0.05)

    # What the kernel says of the process

    def rss(self) -> int:
        """Bytes."""
        return int(self._proc("statm").split()[1]) * _PAGE

    def processor_seconds(self) -> float:
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()


@contextmanager
def outpost(
    directory: Path, *, descriptors: int | None = None, **settings: Any
) -> Iterator[Outpost]:
    """Settings are those of `house`; `descriptors`: the process's hard limit."""
    _allow_many_sockets()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.attacks.outpost",
            str(directory),
            json.dumps({"descriptors": descriptors, "settings": settings}),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready, "the gateway did not start"
        yield Outpost(process, json.loads(ready))
        assert process.poll() is None, "the gateway's process has ended"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _allow_many_sockets() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OWN_DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OWN_DESCRIPTORS), hard))


# The gateway's side


_occupied: list[int] = []


def _all_free_descriptors() -> Iterator[int]:
    with contextlib.suppress(OSError):
        while True:
            yield os.dup(0)


def _answer(fort: Keep, order: dict[str, Any]) -> Any:
    match order["what"]:
        case "add":
            for identity in order["identities"]:
                fort.add(identity, f"SN-{identity}")
            return None
        case "health":
            health = fort.now(fort.home.gateway.health)
            lag, fort._worst_lag = fort.worst_lag, 0.0
            return {
                "sessions": health.sessions,
                "strangers": health.strangers,
                "tasks": health.tasks,
                "accepting": health.accepting,
                "lag": lag,
            }
        case "reasons":
            reasons: Counter[str] = Counter()
            for record in fort.records():
                if record.outcome == "refused":
                    reasons[str(record.reason)] += int(str(record.details.get("count") or 1))
            return reasons
        case "occupy":
            _occupied.extend(_all_free_descriptors())
            for _ in range(order["leave"]):
                os.close(_occupied.pop())
            return None
        case "release":
            while _occupied:
                os.close(_occupied.pop())
            return None
        case other:
            raise ValueError(other)


def main() -> None:
    directory, chosen = Path(sys.argv[1]), json.loads(sys.argv[2])
    if chosen["descriptors"] is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (chosen["descriptors"],) * 2)
    # What is logged goes to stderr: stdout is the conversation.
    conversation = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(what: Any) -> None:
        conversation.write(json.dumps(what) + "\n")
        conversation.flush()

    world = World(directory)
    with keep(world, directory, **chosen["settings"]) as fort:
        say({"ports": fort.home.ports, "trust": fort.trust})
        for line in sys.stdin:
            say(_answer(fort, json.loads(line)))


if __name__ == "__main__":
    main()
