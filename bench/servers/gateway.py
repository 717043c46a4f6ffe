"""Ours: the product's gateway on SQLite and the in-process bus, profile 3, its own defaults.

`python -m bench.servers.gateway WORLD`: registers the world's stations with their certificates,
accepts, and says on which port. The event loop and the logging are those of `csms up`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import uvloop

from bench.commands import log_as_csms_does, obey, say
from bench.measuring import ROOT
from bench.world import ISSUER, LISTENER, BenchStation, World, read_world
from csms.adapters.clock import SystemClock, SystemRandomness
from csms.bus.memory import MemoryBus
from csms.domain.certificate import CertificateRecord, CertificateStatus, CertificateUse
from csms.domain.password import LatePeppers, Peppers
from csms.domain.station import (
    RegistrationStatus,
    SecurityProfile,
    Station,
    parse_identity,
    parse_serial_number,
)
from csms.gateway.server import Gateway
from csms.gateway.tls import load_policy
from csms.ports.store import UnitOfWork
from csms.settings import GatewaySettings
from csms.store.unit_of_work import SqlStore


async def serve(world_dir: Path, data_dir: Path) -> None:
    world = read_world(world_dir)
    store = SqlStore(f"sqlite+aiosqlite:///{data_dir}/csms.db")
    await store.migrate()
    await _register(store, world)
    bus = MemoryBus()
    gateway = _gateway(world, world_dir, store, bus)
    ports = await gateway.start()
    try:
        say({"port": ports["3"]})
        await obey({})
    finally:
        await gateway.stop()
        await bus.close()
        await store.close()


def _gateway(world: World, world_dir: Path, store: SqlStore, bus: MemoryBus) -> Gateway:
    return Gateway(
        settings=GatewaySettings(
            profile2_port=None,
            profile3_port=0,
            messages_per_second=100_000,  # what is measured is the work, not the pace of a station
        ),
        bind="127.0.0.1",
        node="bench",
        organization=world.organization,
        peppers=LatePeppers(Peppers(current=1, by_version={1: os.urandom(32)})),
        policy=load_policy(ROOT / "policies" / "tls.toml", "modern"),
        chain_file=world_dir / LISTENER,
        key_file=world_dir / LISTENER,
        station_issuers_pem=[(world_dir / ISSUER).read_text()],
        store=store,
        bus=bus,
        clock=SystemClock(),
        randomness=SystemRandomness(),
    )


async def _register(store: SqlStore, world: World) -> None:
    async with store.writing() as work:
        for station in world.stations:
            await _add(work, station, world)
        await work.commit()


async def _add(work: UnitOfWork, known: BenchStation, world: World) -> None:
    now = datetime.now(UTC)
    station = Station(
        id=uuid4(),
        identity=parse_identity(known.identity),
        registered_as=known.identity,
        serial_number=parse_serial_number(known.serial_number),
        security_profile=SecurityProfile.TLS_CERTIFICATE,
        minimum_security_profile=SecurityProfile.TLS_CERTIFICATE,
        registration_status=RegistrationStatus.ACCEPTED,
        created_at=now,
    )
    await work.stations.add(station)
    await work.certificates.add(
        CertificateRecord(
            id=uuid4(),
            station_id=station.id,
            use=CertificateUse.CHARGING_STATION,
            issuer="stations",
            serial=known.certificate_serial,
            fingerprint_sha256=known.fingerprint_sha256,
            status=CertificateStatus.ACTIVE,
            not_before=world.not_before,
            not_after=world.not_after,
            certificate_pem="-",
            chain_pem="-",
            created_at=now,
            first_seen_at=now,
        )
    )


def main() -> None:
    log_as_csms_does()
    with (
        tempfile.TemporaryDirectory(prefix="bench-gateway-") as data_dir,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(Path(sys.argv[1]), Path(data_dir)))


if __name__ == "__main__":
    main()
