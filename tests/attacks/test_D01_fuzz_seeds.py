"""The seeds of `make fuzz`, each through its target: what was found once stays found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.fuzz.targets import TARGETS, run

SEEDS = Path(__file__).resolve().parent / "fuzz" / "seeds"


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_passes_its_target(name: str) -> None:
    seeds = sorted((SEEDS / name).iterdir())
    assert seeds
    for seed in seeds:
        run(name, seed.read_bytes())
