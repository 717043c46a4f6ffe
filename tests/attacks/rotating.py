"""Charging Stations that rotate their certificates, in a process of their own.

    python -m tests.attacks.rotating PLAN

The simulator as it is: its key stores on disk, its history in a file, its rules for coming back;
only its waits are short. Everything it knows of the CSMS it was told over the wire. Runs until
SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from station import device_model as dm
from station.fleet import Credential, Fleet, FleetConfig
from station.history import History
from station.state import StationConfig

# RetryBackOff*: up to a second between two attempts, however often they fail.
_SHORT: Final = {
    dm.BACK_OFF_WAIT_MINIMUM: "0",
    dm.BACK_OFF_RANDOM_RANGE: "1",
    dm.BACK_OFF_REPEAT_TIMES: "0",
    # A station that has reached profile 3 would only be refused on its old slot.
    dm.CONNECTION_ATTEMPTS: "100000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the process is told: files by path, stations as (identity, serial number, password)."""

    profile2: str
    profile3: str
    root: str
    data: str
    history: str
    stations: list[list[str]]

    def write(self, file: Path) -> None:
        file.touch(mode=0o600)  # the passwords are in it
        file.write_text(json.dumps(asdict(self)))


async def run(plan: Plan) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with Path(plan.history).open("a", buffering=1) as sink:
        fleet = Fleet(
            FleetConfig(
                station=StationConfig(
                    url=plan.profile2,
                    identity="",
                    serial_number="",
                    profile3_url=plan.profile3,
                    upgrade=True,
                    variables=_SHORT,
                ),
                count=len(plan.stations),
                credentials=lambda index: Credential(*plan.stations[index]),
                csms_roots=tuple(x509.load_pem_x509_certificates(Path(plan.root).read_bytes())),
                data=Path(plan.data),
            ),
            history=History(sink=sink),
        )
        async with fleet.running():
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(run(Plan(**json.loads(Path(sys.argv[1]).read_text()))))
