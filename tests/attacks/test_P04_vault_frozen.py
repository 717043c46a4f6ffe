"""P04: a Vault that takes connections and never answers does not hang us."""

from __future__ import annotations

import time

import pytest

from tests.attacks.outage import Scene
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES

_CALL_SECONDS = 5.0
# Abandoned calls end with their own time limit; what piles up is what never ends.
_MORE_THREADS = 40
_MORE_DESCRIPTORS = 80


@pytest.mark.timeout(300)
def test_frozen_for_a_while(scene: Scene, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("P04", f"Vault stopped by SIGSTOP {SIZES.vault_frozen_seconds:g} s")
    product, vault = scene.product, scene.vault
    product.token()
    with row.attempt(), scene.fleet() as fleet:
        before = scene.load()
        frozen_at = time.monotonic()
        vault.freeze()
        try:
            asking = scene.all_ask(fleet)
            row.measure(f"told in {scene.told(degraded=True):.1f} s")
            answers = []
            heaviest = scene.load()
            while time.monotonic() - frozen_at < SIZES.vault_frozen_seconds:
                status, seconds = scene.ask_for_token()
                assert status == 503
                answers.append(seconds)
                assert product.api("GET", "/api/v1/stations?limit=1").status_code == 200
                now = scene.load()
                heaviest = max(heaviest, now, key=lambda load: load.threads)
                time.sleep(0.2)
            # One call may run into its limit, and the breaker then answers for the others.
            assert max(answers) < 2 * _CALL_SECONDS
            assert min(answers) < _CALL_SECONDS / 2
            assert heaviest.threads <= before.threads + _MORE_THREADS
            assert heaviest.descriptors <= before.descriptors + _MORE_DESCRIPTORS
            # New ones are let in.
            for station in scene.spare[:1]:
                fleet.connect(station)
        finally:
            vault.thaw()
        row.measure(f"{len(asking)} CSRs answered in {scene.all_are_answered(asking):.1f} s")
        row.measure(f"well in {scene.told(degraded=False):.1f} s")
        slowest = max(max(one.beats) for one in fleet.standing)
        row.measure(
            f"slowest Heartbeat {slowest:.2f} s, token refused in {min(answers):.2f} to "
            f"{max(answers):.2f} s, {heaviest.threads - before.threads:+d} threads"
        )
    scene.no_secret_is_logged()
