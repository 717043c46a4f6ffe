"""What the servers of one run share: certificate authorities, a listener's certificate, stations.

Made before anything is measured, kept in a directory: `world.json`, `listener.pem`, `trust.pem`
(whom stations trust), `issuer.pem` (whose station certificates are let in), `NNNNN.pem` per
station. P-256 throughout, station chain root → issuing CA → station, as the product issues it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from tests.fixtures.pki_small import ORGANIZATION, SmallCA

LISTENER: Final = "listener.pem"
TRUST: Final = "trust.pem"
ISSUER: Final = "issuer.pem"


class BenchStation(msgspec.Struct, frozen=True):
    identity: str
    serial_number: str
    file: str
    certificate_serial: str
    fingerprint_sha256: str


class World(msgspec.Struct, frozen=True):
    organization: str
    not_before: datetime
    not_after: datetime
    stations: list[BenchStation]


def make_world(directory: Path, *, stations: int) -> World:
    servers, root = SmallCA("Bench Servers"), SmallCA("Bench Root")
    issuer = SmallCA("Bench Stations", parent=root)
    servers.server().write(directory, LISTENER)
    (directory / TRUST).write_text(servers.pem)
    (directory / ISSUER).write_text(issuer.pem)
    now = datetime.now(UTC)
    world = World(
        organization=ORGANIZATION,
        not_before=now - timedelta(hours=1),
        not_after=now + timedelta(hours=12),
        stations=[_station(directory, issuer, number) for number in range(stations)],
    )
    (directory / "world.json").write_bytes(msgspec.json.encode(world))
    return world


def read_world(directory: Path) -> World:
    return msgspec.json.decode((directory / "world.json").read_bytes(), type=World)


def _station(directory: Path, issuer: SmallCA, number: int) -> BenchStation:
    leaf = issuer.station(f"SN{number:05d}")
    file = leaf.write(directory, f"{number:05d}.pem").name
    return BenchStation(
        identity=f"CS{number:05d}",
        serial_number=f"SN{number:05d}",
        file=file,
        certificate_serial=f"{leaf.certificate.serial_number:x}",
        fingerprint_sha256=leaf.fingerprint,
    )
