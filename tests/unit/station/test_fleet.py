"""Fleets: credentials, the connect gate, and the same seed giving the same stations."""

import asyncio
import json
from pathlib import Path

import pytest

from station.clock import Clock
from station.fleet import (
    ConnectGate,
    Credential,
    Fleet,
    FleetConfig,
    FleetInvalid,
    Scenario,
    by_pattern,
    from_file,
)
from station.state import StationConfig
from tests.unit.station.csms_double import CSMS

PATTERN = StationConfig(url="wss://localhost:1/ocpp", identity="", serial_number="")


def test_pattern_counts_from_one() -> None:
    credential = by_pattern(identity="CS{n:05d}", serial_number="SN{n}", password="p" * 16)
    assert credential(0) == Credential("CS00001", "SN1", "p" * 16)
    assert "pppp" not in repr(credential(0))


@pytest.mark.parametrize("pattern", ["CS{x}", "CS{", "CS{0}"])
def test_pattern_with_anything_else_is_refused(pattern: str) -> None:
    with pytest.raises(FleetInvalid):
        by_pattern(identity=pattern, serial_number="SN{n}", password=None)


def test_file_is_csv_or_json_lines(tmp_path: Path) -> None:
    rows = [{"identity": "A", "serial_number": "1", "password": "x" * 16}]
    expected = [Credential("A", "1", "x" * 16)]
    csv, lines = tmp_path / "a.csv", tmp_path / "a.jsonl"
    csv.write_text(f"identity,serial_number,password\nA,1,{'x' * 16}\n")
    lines.write_text("\n".join(json.dumps(row) for row in rows))
    assert from_file(csv) == from_file(lines) == expected


def test_unusable_file_is_named_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("identity,password\nA,secret-secret-secret\n")
    with pytest.raises(FleetInvalid) as caught:
        from_file(path)
    assert str(path) in str(caught.value)
    assert "secret-secret" not in str(caught.value)


def test_gate_spaces_connections_and_bounds_how_many_are_open() -> None:
    async def main() -> None:
        gate, open_now, most = ConnectGate(rate=200, at_once=2), 0, 0
        loop = asyncio.get_running_loop()
        starts: list[float] = []

        async def connect() -> None:
            nonlocal open_now, most
            async with gate:
                starts.append(loop.time())
                open_now += 1
                most = max(most, open_now)
                await asyncio.sleep(0.02)
                open_now -= 1

        begin = loop.time()
        await asyncio.gather(*(connect() for _ in range(8)))
        assert most == 2
        assert max(starts) - begin >= 7 / 200

    asyncio.run(main())


def test_stations_of_a_fleet_boot_with_their_own_names_over_one_ca(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), CSMS(tmp_path).listening() as csms:
            csms.passwords = {f"CS{n}": f"fleet-password-{n:02d}" for n in range(1, 21)}
            config = FleetConfig(
                station=StationConfig(url=csms.url(2), identity="", serial_number=""),
                count=20,
                credentials=lambda i: Credential(
                    f"CS{i + 1}", f"SN{i + 1}", f"fleet-password-{i + 1:02d}"
                ),
                csms_roots=(csms.root.certificate,),
                scenario=Scenario.BOOT,
            )
            fleet = Fleet(config, clock=Clock(scale=0.01))
            async with fleet.running():
                await fleet.finished()
            assert len(fleet.report.done) == 20
            assert not fleet.report.refusals

    asyncio.run(main())


def test_same_seed_gives_every_station_the_same_and_its_own_jitter() -> None:
    def jitter(seed: int) -> list[float]:
        config = FleetConfig(
            station=PATTERN,
            count=3,
            credentials=by_pattern(identity="CS{n}", serial_number="SN{n}", password=None),
            seed=seed,
        )
        return [station._rng.random() for station in Fleet(config).stations]

    assert jitter(1) == jitter(1) != jitter(2)
    assert len(set(jitter(1))) == 3
