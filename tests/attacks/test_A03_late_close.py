"""A03, P17: the registry is what is: one entry for each live socket, the newest epoch's.

First the real registries of two nodes over one real store, with every step of a connection apart,
so that any may overtake any other. Then real sockets at two gateways.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from csms.adapters.clock import SystemClock, SystemRandomness
from csms.bus.memory import MemoryBus
from csms.domain.admission import Admitted
from csms.domain.failure_budget import FailureBudget
from csms.domain.password import LatePeppers
from csms.domain.signing_budget import SigningBudget
from csms.domain.station import (
    RegistrationStatus,
    SecurityProfile,
    Station,
    parse_identity,
    parse_serial_number,
)
from csms.domain.takeovers import Takeovers
from csms.gateway.attempts import AttemptLog
from csms.gateway.connection import Claim, Surroundings
from csms.gateway.handshake import Door, House
from csms.gateway.server import Gateway
from csms.gateway.sessions import Sessions
from csms.gateway.visitor import Visitor
from csms.ports.bus import SESSIONS_CLOSE, BusError, Json
from csms.settings import GatewaySettings
from csms.store.unit_of_work import SqlStore
from tests.attacks.entering import Credential, certified, request_of, tls_of
from tests.attacks.hostile import HostileStation, frame
from tests.attacks.keep import Keep, keep
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PEPPERS, World
from tests.fixtures.pki_small import ORGANIZATION

T = TypeVar("T")
NODES = ("node-1", "node-2")
STATIONS = (0, 0, 0, 1)  # drawn from: mostly one, where things collide
TWO = SecurityProfile.TLS_BASIC


# The registries, step by step


@dataclass(eq=False)
class Socket:
    """A connection that has been admitted: what `csms.gateway.sessions` asks of one."""

    node: str
    claim: Claim
    registered: bool = False
    is_live: bool = True
    profile: SecurityProfile = TWO
    certificate_id: UUID | None = field(default_factory=uuid4)
    certificate_ends_at: datetime | None = None
    cut_for: list[str] = field(default_factory=list)

    @property
    def station_id(self) -> UUID:
        return self.claim.admitted.station.id

    @property
    def epoch(self) -> int:
        return self.claim.epoch

    @property
    def decided_at(self) -> float:
        return self.claim.decided_at

    @property
    def outbox_seen(self) -> int:
        return self.claim.outbox_seen

    def cut(self, code: int, reason: str) -> None:
        del code
        self.is_live = False
        self.cut_for.append(reason)


class LossyBus(MemoryBus):
    """Hints arrive, or they do not."""

    loses = False

    async def publish(self, topic: str, message: Json) -> None:
        if self.loses:
            raise BusError("lost")
        await super().publish(topic, message)


class Node:
    """A node's registry and door over the shared store; `crash` and start again as one pleases."""

    def __init__(self, name: str, store: SqlStore, bus: LossyBus) -> None:
        clock = SystemClock()
        around = Surroundings(
            settings=GatewaySettings(),
            store=store,
            bus=bus,
            clock=clock,
            randomness=SystemRandomness(),
            signing_budget=SigningBudget(),
            takeovers=Takeovers(),
        )
        house = House(node=name, organization=ORGANIZATION, peppers=LatePeppers(PEPPERS))
        self.name = name
        failures = FailureBudget(burst=20, seconds_each=10.0)
        self.door = Door(house, around, AttemptLog(store, clock), failures)
        self.sessions = Sessions(store=store, bus=bus, clock=clock, node=name)


class Registries(RuleBasedStateMachine):
    """Two nodes; a connection claims, registers, ends and is forgotten, each a step of its own."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    store: ClassVar[SqlStore]

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        async def and_the_bus() -> T:
            result = await work
            while self.bus._tasks:  # what was hinted has arrived
                await asyncio.wait(self.bus._tasks)
            return result

        return self.loop.run_until_complete(and_the_bus())

    @initialize()
    def houses(self) -> None:
        self.bus = LossyBus()
        self.nodes: dict[str, Node] = {}
        self.stations = [registered() for _ in set(STATIONS)]
        self.sockets: list[Socket] = []  # not forgotten yet
        self.do(self._open())

    async def _open(self) -> None:
        async with self.store.writing() as work:
            for station in self.stations:
                await work.stations.add(station)
            await work.commit()
        for name in NODES:
            await self._start(name)

    async def _start(self, name: str) -> None:
        node = self.nodes[name] = Node(name, self.store, self.bus)
        await node.sessions.start()

    async def _die(self, name: str) -> None:
        node = self.nodes.pop(name)
        await node.sessions.stop()  # a dead process hears nothing
        node.door.close()

    @rule(number=st.sampled_from(STATIONS), node=st.sampled_from(NODES), lost=st.booleans())
    def claim(self, number: int, node: str, lost: bool) -> None:
        """As far as the commit; the 101 is on its way."""
        self.bus.loses = lost
        self.sockets.append(self.do(self._claim(self.stations[number], self.nodes[node])))

    async def _claim(self, station: Station, node: Node) -> Socket:
        decided_at = time.monotonic()
        async with self.store.reading() as work:
            outbox_seen = await work.outbox.last_sequence()
        admitted = Admitted(station, TWO, "ocpp2.0.1")
        visitor = Visitor(listener=TWO, host="127.0.0.1", port=1)
        epoch = await node.door._claim(visitor, admitted)
        assert isinstance(epoch, int)
        claim = Claim(
            admitted=admitted, epoch=epoch, decided_at=decided_at, outbox_seen=outbox_seen
        )
        return Socket(node.name, claim)

    def _some(self, which: int, registered: bool | None = None) -> Socket | None:
        those = [one for one in self.sockets if registered in {None, one.registered}]
        return those[which % len(those)] if those else None

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 50))
    def register(self, which: int) -> None:
        if (one := self._some(which, registered=False)) is not None:
            one.registered = True
            self.nodes[one.node].sessions.register(one)

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 50), lost=st.booleans())
    def leave_before_the_101(self, which: int, lost: bool) -> None:
        if (one := self._some(which, registered=False)) is not None:
            self.bus.loses = lost
            one.is_live = False
            self.sockets.remove(one)
            self.do(self.nodes[one.node].door._undo(one.claim))

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 50))
    def close_or_abort(self, which: int) -> None:
        """The socket has ended; whoever served it has not noticed yet."""
        if (one := self._some(which)) is not None:
            one.is_live = False

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 50))
    def late_close(self, which: int) -> None:
        """The close is handled at last, whatever has happened since."""
        if (one := self._some(which, registered=True)) is not None and not one.is_live:
            self._forget(one)

    def _forget(self, one: Socket) -> None:
        self.sockets.remove(one)
        self.nodes[one.node].sessions.unregister(one)
        self.do(self.nodes[one.node].door.leave(one.claim))

    @rule(number=st.sampled_from(STATIONS), lost=st.booleans())
    def order(self, number: int, lost: bool) -> None:
        """An operator closes the station's session; the hint may be lost."""
        self.bus.loses = lost
        self.do(self._order({"station_id": str(self.stations[number].id)}))

    @precondition(lambda self: self.sockets)
    @rule(which=st.integers(0, 50), lost=st.booleans())
    def revoke(self, which: int, lost: bool) -> None:
        """An order for one connection alone, which may be on its way in still."""
        self.bus.loses = lost
        one = self.sockets[which % len(self.sockets)]
        order = {"station_id": str(one.station_id), "certificate_id": str(one.certificate_id)}
        self.do(self._order(order))

    async def _order(self, order: Json) -> None:
        async with self.store.writing() as work:
            await work.outbox.add(SESSIONS_CLOSE, order)
            await work.commit()
        with contextlib.suppress(BusError):
            await self.bus.publish(SESSIONS_CLOSE, order)

    @rule(node=st.sampled_from(NODES))
    def poll(self, node: str) -> None:
        self.do(self.nodes[node].sessions.catch_up())

    @rule(node=st.sampled_from(NODES))
    def restart(self, node: str) -> None:
        """The process dies with its sockets; nothing of it is handled any more."""
        self.do(self._die(node))
        for one in [one for one in self.sockets if one.node == node]:
            one.is_live = False
            self.sockets.remove(one)
        self.do(self._start(node))

    @invariant()
    def no_entry_is_older_than_a_live_one_beside_it(self) -> None:
        for one in getattr(self, "sockets", ()):
            if one.registered and one.is_live:
                entry = self.nodes[one.node].sessions.of_station(one.station_id)
                assert entry is one, "a live socket that the registry does not know"

    @rule()
    def quiesce(self) -> None:
        """Everything under way is done: now the registry, the sockets and the database agree."""
        self.bus.loses = True
        for one in self.sockets:
            if not one.registered:
                one.registered = True
                self.nodes[one.node].sessions.register(one)
        for node in NODES:
            self.poll(node)
        for one in [one for one in self.sockets if not one.is_live]:
            self._forget(one)
        for station in self.stations:
            self._agree(station)

    def _agree(self, station: Station) -> None:
        live = [one for one in self.sockets if one.station_id == station.id]
        entries = [
            entry
            for node in self.nodes.values()
            if (entry := node.sessions.of_station(station.id)) is not None
        ]
        assert entries == live
        assert len(live) <= 1, "two live sockets for one station"
        row = self.do(self._row(station))
        if not live:
            assert row is None
        else:
            assert row is not None
            assert (row.epoch, row.node) == (live[0].epoch, live[0].node)

    async def _row(self, station: Station) -> Any:
        async with self.store.reading() as work:
            return await work.sessions.current(station.id)

    def teardown(self) -> None:
        if not hasattr(self, "nodes"):
            return
        self.quiesce()
        for one in list(self.sockets):
            one.is_live = False
            self._forget(one)
        assert [len(node.sessions) for node in self.nodes.values()] == [0, 0]
        for name in NODES:
            self.do(self._die(name))
        for station in self.stations:
            assert self.do(self._row(station)) is None
        self.loop.run_until_complete(self.bus.close())


def registered() -> Station:
    name = uuid4().hex[:12]
    return Station(
        id=uuid4(),
        identity=parse_identity(name),
        registered_as=name,
        serial_number=parse_serial_number(name),
        security_profile=TWO,
        minimum_security_profile=TWO,
        registration_status=RegistrationStatus.ACCEPTED,
        created_at=datetime.now(UTC),
    )


@pytest.fixture
def shared_store() -> Iterator[None]:
    """One store for all examples; in memory-backed storage where there is any, for speed."""
    memory = Path("/dev/shm")
    directory = tempfile.mkdtemp(dir=memory if memory.is_dir() else None)
    loop = asyncio.new_event_loop()
    store = SqlStore(f"sqlite+aiosqlite:///{directory}/csms.db")
    loop.run_until_complete(store.migrate())
    Registries.loop, Registries.store = loop, store
    yield
    loop.run_until_complete(store.close())
    loop.close()
    shutil.rmtree(directory)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("shared_store")
def test_no_interleaving_parts_the_registry_from_the_sockets(scoreboard: Scoreboard) -> None:
    row = scoreboard.row("A03 P17", "interleavings of two nodes' registries and one store")
    run_state_machine_as_test(
        Registries,
        settings=settings(
            max_examples=SIZES.interleavings,
            stateful_step_count=12,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    row.count(SIZES.interleavings)


# Real sockets at two gateways


class Crowd:
    """Stations that come, go, break off and throw each other out, at random."""

    def __init__(self, fort: Keep, other: Gateway, ports: dict[str, int], seed: int) -> None:
        self.fort = fort
        self.gateways = (fort.home.gateway, other)
        self.ports = (fort.home.ports, ports)
        self.random = random.Random(seed)
        self.stations = [fort.add(f"cs{number}", f"SN{number}") for number in range(6)]
        self.how = {
            station.id: (3, certified(fort, station))
            if number % 2
            else (2, Credential(station.identity))
            for number, station in enumerate(self.stations)
        }
        self.contexts = {
            station.id: tls_of(fort, self.how[station.id][1]) for station in self.stations
        }
        self.wires: dict[UUID, list[HostileStation]] = {one.id: [] for one in self.stations}

    def step(self) -> None:
        station = self.random.choice(self.stations)
        act = self.random.choice(
            (self._open, self._open, self._open, self._end, self._end, self._race, self._break_off)
        )
        act(station)

    def _visit(self, station: Station) -> HostileStation:
        profile, _ = self.how[station.id]
        port = self.random.choice(self.ports)[str(profile)]
        return HostileStation(port, context=self.contexts[station.id], seconds=20)

    def _request(self, station: Station) -> bytes:
        return request_of(self.how[station.id][1])

    def _open(self, station: Station) -> None:
        wire = self._visit(station)
        self.wires[station.id].append(wire)
        assert wire.ask(self._request(station)).status == 101

    def _end(self, station: Station) -> None:
        """The newest goes: by a close frame, by FIN, by RST, with half a message said."""
        if not self.wires[station.id]:
            return
        wire = self.wires[station.id].pop()
        how = self.random.choice(("close", "fin", "reset", "half"))
        with contextlib.suppress(OSError):  # it may have been thrown out before
            if how == "close":
                wire.send(frame(b"\x03\xe8", opcode=8))
                wire.close_code()
            elif how == "half":
                wire.send(frame(b"[2,", announced=200))
        if how in {"fin", "close"}:
            wire.close()
        else:
            wire.reset()

    def _race(self, station: Station) -> None:
        """Several at once, on both nodes: whoever is admitted last wins, whichever that is."""
        wires = [self._visit(station) for _ in range(3)]
        self.wires[station.id] += wires
        for wire in wires:
            wire.send(self._request(station))
        for wire in wires:  # one that was replaced before its 101 may never get it
            with contextlib.suppress(OSError):
                wire.read_answer()

    def _break_off(self, station: Station) -> None:
        """Away with RST behind the request: it may have taken the place, or not."""
        wire = self._visit(station)
        wire.send(self._request(station))
        wire.reset()

    def agree(self) -> int:
        """Wait until all is quiet; then registries, database and sockets must say the same."""
        until = time.monotonic() + 20
        while not self._is_quiet():
            assert time.monotonic() < until, [gateway.health() for gateway in self.gateways]
            time.sleep(0.01)
        live = 0
        for station in self.stations:
            held = self.fort.now(
                lambda station=station: [
                    session.epoch
                    for gateway in self.gateways
                    if (session := gateway._sessions.of_station(station.id)) is not None
                ]
            )
            row = self.fort.session_of(station)
            assert held == ([] if row is None else [row.epoch])
            alive = [wire for wire in self.wires[station.id] if answers(wire)]
            assert len(alive) == len(held), f"{len(alive)} sockets live, {len(held)} entries"
            for wire in self.wires[station.id]:
                if wire not in alive:
                    wire.close()
            self.wires[station.id] = alive
            live += len(alive)
        return live

    def _is_quiet(self) -> bool:
        """Nobody is at the door, every task serves a session, and every session's row is there."""
        for gateway in self.gateways:
            health = self.fort.now(gateway.health)
            if health.strangers or health.tasks != health.sessions:
                return False
        held = self.fort.now(lambda: sum(len(gateway._sessions) for gateway in self.gateways))
        rows = sum(self.fort.session_of(station) is not None for station in self.stations)
        return bool(held == rows)

    def leave(self) -> None:
        for wires in self.wires.values():
            while wires:
                wires.pop().close()


def sockets_open() -> int:
    """Of this process: the gateways' and ours."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed while we look
            count += str(path.readlink()).startswith("socket:")
    return count


def answers(wire: HostileStation) -> bool:
    try:
        return bool(wire.call("Heartbeat", {})[0] == 3)
    except (AssertionError, OSError):  # a close frame, or the end
        return False


async def second_gateway(fort: Keep) -> tuple[Gateway, dict[str, int]]:
    """Another node on the same store and bus."""
    first, home = fort.home.gateway, fort.home
    gateway = Gateway(
        settings=first._settings,
        bind="127.0.0.1",
        node="node-2",
        organization=ORGANIZATION,
        peppers=LatePeppers(PEPPERS),
        policy=first._policy,
        chain_file=home.world.listener,
        key_file=home.world.listener,
        station_issuers_pem=[home.world.stations.pem],
        store=home.store,
        bus=home.bus,
        clock=SystemClock(),
        randomness=SystemRandomness(),
    )
    return gateway, await gateway.start()


@pytest.mark.timeout(600)
def test_whatever_sockets_do_the_registries_say_who_is_there(
    tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("A03 P17", "random open, close, RST, replace, race on two gateways")
    seed = random.randrange(1 << 32)
    world = World(tmp_path_factory.mktemp("world"))
    with keep(world, tmp_path_factory.mktemp("keep")) as fort, fort.bounded_lag():
        other, ports = fort.do(second_gateway(fort))
        try:
            before = sockets_open()
            crowd = Crowd(fort, other, ports, seed)
            most = 0
            for number in range(1, SIZES.socket_steps + 1):
                with row.attempt():
                    crowd.step()
                    if number % 25 == 0:
                        most = max(most, crowd.agree())
            crowd.leave()
            assert crowd.agree() == 0
            assert sockets_open() <= before
            row.measure(f"up to {most} live sessions at once")
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            fort.do(other.stop())
