"""Many stations in one process: identities from a pattern, a bounded connect rate, one scenario.

Credentials come from a file or from a callback; keys are made before the first connection, so that
key generation is not part of what is measured. Deterministic for a seed: every station has its own
generator derived from it. What became of the stations is told by `FleetReport`.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
from asyncio import sslproto
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from cryptography import x509

from station.client import ChargingStation, Listener
from station.clock import Clock
from station.effects import Milestone
from station.history import History
from station.keystore import KeyStore
from station.misbehaviour import Misbehaviour
from station.signing_request import StationKey, new_key
from station.state import StationConfig

# asyncio allocates this much per TLS connection; its own default of 256 KiB is for bulk transfer.
_TLS_BUFFER: Final = 16 * 1024


class FleetInvalid(Exception):
    """The credentials or the pattern cannot make this fleet."""


class Scenario(StrEnum):
    """How far each station goes before the fleet calls it done."""

    CONNECT = "connect"
    BOOT = "boot"
    ENROL = "enrol"
    HEARTBEAT = "heartbeat"
    IDLE = "idle"


_GOALS: Final = {
    Scenario.CONNECT: Milestone.CONNECTED,
    Scenario.BOOT: Milestone.BOOT_ACCEPTED,
    Scenario.ENROL: Milestone.CERTIFICATE_INSTALLED,
    Scenario.HEARTBEAT: Milestone.HEARTBEAT,
    Scenario.IDLE: Milestone.BOOT_ACCEPTED,
}


@dataclass(frozen=True, slots=True)
class Credential:
    identity: str
    serial_number: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConfig:
    """`station` is the pattern for all; identity, serial number and password are per station."""

    station: StationConfig
    count: int
    credentials: Callable[[int], Credential]
    csms_roots: tuple[x509.Certificate, ...] = ()
    scenario: Scenario = Scenario.BOOT
    connect_rate: float = 100.0  # connection attempts per second
    connecting_at_once: int = 50
    deflate: str = "half"  # "on", "off", or "half" of the stations
    seed: int = 0
    data: Path | None = None
    misbehaviour: Callable[[int], Misbehaviour] = lambda _index: Misbehaviour()
    keystore: Callable[[int], KeyStore] | None = None


@dataclass(slots=True)
class FleetReport:
    """What happened, by milestone and by reason of refusal."""

    milestones: Counter[Milestone] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    done: set[str] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        return {
            "done": len(self.done),
            "milestones": {name.value: number for name, number in sorted(self.milestones.items())},
            "refusals": dict(sorted(self.refusals.items())),
        }


class ConnectGate(AbstractAsyncContextManager[None]):
    """At most so many at once, and no more than `rate` a second in the long run."""

    def __init__(self, *, rate: float, at_once: int) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._period = 1.0 / rate
        self._next = 0.0

    async def __aenter__(self) -> None:
        await self._slots.acquire()
        try:
            now = asyncio.get_running_loop().time()
            start = max(now, self._next)
            self._next = start + self._period
            await asyncio.sleep(start - now)
        except BaseException:
            self._slots.release()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._slots.release()


class Fleet:
    """The stations and their report; `running()` starts them, `finished()` waits for the goal."""

    def __init__(
        self, config: FleetConfig, *, clock: Clock | None = None, history: History | None = None
    ) -> None:
        # Loop-independent on uvloop, which has buffers of its own.
        sslproto.SSLProtocol.max_size = _TLS_BUFFER  # type: ignore[misc,unused-ignore] # no setter
        self.config = config
        self.report = FleetReport()
        self._clock = clock or Clock()
        self._history = history or History()
        self._goal = _GOALS[config.scenario]
        self._all_done = asyncio.Event()
        self._gate = ConnectGate(rate=config.connect_rate, at_once=config.connecting_at_once)
        self._keys = _keys(config.count)
        self.on_milestone: list[Listener] = [self._count]
        self.stations = [self._station(index) for index in range(config.count)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Fleet]:
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(station.run()) for station in self.stations]
            try:
                yield self
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                failure = error
            finally:
                for task in tasks:
                    task.cancel()
        if failure is not None:
            raise failure

    async def finished(self) -> None:
        """Every station has reached the scenario's goal."""
        await self._all_done.wait()

    def _station(self, index: int) -> ChargingStation:
        config = self.config
        credential = config.credentials(index)
        data = config.data / credential.identity if config.data is not None else None
        own = replace(
            config.station,
            identity=credential.identity,
            serial_number=credential.serial_number,
            password=credential.password,
            deflate=config.deflate == "on" or (config.deflate == "half" and index % 2 == 0),
            data=data,
        )
        station = ChargingStation(
            own,
            keystore=self._keystore(index, data),
            csms_roots=list(config.csms_roots),
            misbehaviour=config.misbehaviour(index),
            clock=self._clock,
            rng=random.Random(f"{config.seed}/{credential.identity}"),  # noqa: S311 - jitter
            history=self._history,
            connect_gate=self._gate,
        )
        station.on_milestone = self.on_milestone
        return station

    def _keystore(self, index: int, data: Path | None) -> KeyStore:
        if self.config.keystore is not None:
            return self.config.keystore(index)
        directory = data / "keys" if data is not None else None
        return KeyStore(directory, make_key=self._take_key)

    def _take_key(self) -> StationKey:
        return self._keys.popleft() if self._keys else new_key()

    def _count(self, station: ChargingStation, milestone: Milestone, facts: dict[str, str]) -> None:
        self.report.milestones[milestone] += 1
        if milestone is Milestone.REFUSED:
            self.report.refusals[facts["reason"]] += 1
        if milestone is self._goal:
            self.report.done.add(station.config.identity)
            if len(self.report.done) == len(self.stations):
                self._all_done.set()


def by_pattern(
    *, identity: str, serial_number: str, password: str | None
) -> Callable[[int], Credential]:
    """Names with `{n}` or `{n:05d}` in them, counted from 1; one password for all or none."""
    try:
        identity.format(n=1), serial_number.format(n=1)
    except (KeyError, ValueError, IndexError) as error:
        raise FleetInvalid("a pattern takes {n} or {n:05d} and nothing else") from error

    def credential(index: int) -> Credential:
        number = index + 1
        return Credential(identity.format(n=number), serial_number.format(n=number), password)

    return credential


def from_file(path: Path) -> list[Credential]:
    """CSV with a header, or JSON Lines: identity, serial_number, password (may be absent)."""
    try:
        text = path.read_text(encoding="utf-8")
        rows = _rows(text)
        return [
            Credential(row["identity"], row["serial_number"], row.get("password") or None)
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # The row itself may hold a password: name the file only.
        raise FleetInvalid(
            f"{path}: needs identity, serial_number and password in CSV or JSON Lines"
        ) from error


def _rows(text: str) -> Iterator[dict[str, str]]:
    if text.lstrip().startswith("{"):
        return (json.loads(line) for line in text.splitlines() if line.strip())
    return iter(csv.DictReader(text.splitlines()))


def _keys(count: int) -> deque[StationKey]:
    return deque(islice(iter(new_key, None), count))
