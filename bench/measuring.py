"""Measuring processes: CPU and memory from /proc, a core for each side, servers that answer lines.

"Per core" always means per second of CPU, user and system, of the server's whole process: it does
not depend on how busy the machine is otherwise, as seconds on the wall would. The kernel counts in
ticks of 10 ms, so a measurement should last a second of CPU or so; `CPU_TICK` says how exact it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any, Final, TypeVar

T = TypeVar("T")
ROOT: Final = Path(__file__).resolve().parents[1]
CPU_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
ANSWER_SECONDS: Final = 180
STOP_SECONDS: Final = 15
# What a server still does after the last answer (giving sessions back) belongs to the measurement.
_QUIET_SECONDS: Final = 0.3


class MeasurementFailed(Exception):
    """A side did not do what was to be measured; half a measurement is none."""


# --- what a process has used


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * CPU_TICK


def rss_kib(pid: int) -> int:
    """Resident memory of a process, now."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise MeasurementFailed(f"process {pid} has no memory: it has ended")


@contextmanager
def cpu_of(pid: int) -> Iterator[list[float]]:
    """Seconds of CPU that the process uses within; the list holds them afterwards."""
    used: list[float] = []
    before = cpu_seconds(pid)
    yield used
    _wait_until_quiet(pid)
    used.append(max(cpu_seconds(pid) - before, CPU_TICK))


def _wait_until_quiet(pid: int) -> None:
    until = time.monotonic() + 5
    last = cpu_seconds(pid)
    while time.monotonic() < until:
        time.sleep(_QUIET_SECONDS)
        now = cpu_seconds(pid)
        if now - last <= CPU_TICK:
            return
        last = now


# --- statistics


def middle(samples: Sequence[float]) -> float | None:
    return median(samples) if samples else None


def spread(samples: Sequence[float]) -> float | None:
    """From the least to the most, as a part of the median: how far to trust the figure."""
    if not samples:
        return None
    return (max(samples) - min(samples)) / median(samples)


# --- cores


def cores() -> tuple[int | None, int | None]:
    """One for the server and one for the load; (None, None) where there is no choice."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2 or shutil.which("taskset") is None:
        return None, None
    return available[0], available[1]


def pinned(core: int | None, command: Sequence[str]) -> list[str]:
    return list(command) if core is None else ["taskset", "-c", str(core), *command]


# --- processes


@dataclass(frozen=True, slots=True)
class Spoken:
    """A process that reads a JSON command a line and answers each with a JSON line."""

    process: subprocess.Popen[str]
    greeting: dict[str, Any]

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """Raises MeasurementFailed when the process failed at it, or ended."""
        stdin = _pipe(self.process.stdin)
        stdin.write(json.dumps({"do": do, **command}) + "\n")
        stdin.flush()
        answer = _read_line(self.process)
        if answer.get("failed"):
            raise MeasurementFailed(f"{do} {command}: {answer['failed']}")
        return answer


@contextmanager
def spoken(module: str, *arguments: str, core: int | None, log: Path) -> Iterator[Spoken]:
    """`python -m module arguments`, pinned to a core; ends with the block. Its stderr is in `log`.

    The first line that it prints is its greeting.
    """
    with log.open("w") as stderr:
        process = subprocess.Popen(
            pinned(core, [sys.executable, "-m", module, *arguments]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=ROOT,
        )
        try:
            yield Spoken(process, _greeting(process, log))
        finally:
            _end(process)


def _greeting(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    try:
        return _read_line(process)
    except MeasurementFailed as error:
        tail = log.read_text(encoding="utf-8")[-2000:]
        raise MeasurementFailed(f"a process did not start:\n{tail}") from error


def _read_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = _pipe(process.stdout).readline()
    if not line:
        raise MeasurementFailed("the process has ended")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise MeasurementFailed("the process was started without pipes")
    return pipe


def _end(process: subprocess.Popen[str]) -> None:
    """Its standard input ends: that is how it is told. Then insist."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(check: Callable[[], T | None], *, seconds: float, what: str) -> T:
    """The first value that is not None. Raises MeasurementFailed when time is up."""
    until = time.monotonic() + seconds
    while (value := check()) is None:
        if time.monotonic() > until:
            raise MeasurementFailed(f"{what}: not within {seconds} s")
        time.sleep(0.01)
    return value
