"""P03, H01: a sealed Vault is invisible to connected stations, and what waits for it is bounded."""

from __future__ import annotations

import time

import pytest

from tests.attacks.outage import Scene, displacement
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES

# The worker has so many certificate jobs in hand at once: within that, order is the threads' luck.
_AT_ONCE = 32


@pytest.mark.timeout(300)
def test_sealed_for_a_while(scene: Scene, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("P03", f"Vault sealed {SIZES.vault_sealed_seconds:g} s, then unsealed")
    product, vault = scene.product, scene.vault
    product.token()
    with row.attempt(), scene.fleet() as fleet:
        before = scene.load()
        signed_before = len(vault.requests("transit/sign/csms-issuer-stations/sha2-256"))
        sealed_at = time.monotonic()
        vault.seal()
        try:
            row.measure(f"told in {scene.told(degraded=True):.1f} s")
            asking = scene.all_ask(fleet)
            # Whoever comes now is let in, by password and by certificate, and heard.
            late = [fleet.connect(station) for station in scene.spare]
            station, key = scene.by_certificate[0]
            again = fleet.connect(station, key)
            fleet.standing = [one for one in fleet.standing if one.identity != again.identity]
            fleet.standing.append(again)
            # Overflow is Rejected, told once, and on record for each.
            for one in late:
                answer = fleet.do(one.ask_for_a_certificate())
                assert answer["status"] == "Rejected"
                assert answer["statusInfo"]["reasonCode"] == "QueueFull"
            assert [scene.refusals(one) for one in late] == [["queue_full"]] * len(late)
            events = [scene.events(one) for one in late]
            assert events == [["CertificateQueueFull"]] + [[]] * (len(late) - 1)
            # A station can be registered: the pepper is in memory, the PKI's registry its own.
            assert product.station()["password"]
            # Tokens: none is made, those that were made work.
            status, seconds = scene.ask_for_token()
            assert status == 503
            row.measure(f"no token in {seconds:.2f} s")
            assert product.api("GET", "/api/v1/stations?limit=1").status_code == 200
            time.sleep(max(0.0, SIZES.vault_sealed_seconds - (time.monotonic() - sealed_at)))
            during = scene.load()
            assert not any(one.signed for one in asking)
        finally:
            vault.unseal()
        row.measure(f"{len(asking)} CSRs answered in {scene.all_are_answered(asking):.1f} s")
        places = displacement(asking)
        assert places < _AT_ONCE
        row.measure(f"out of order by {places} places at most")
        row.measure(f"well in {scene.told(degraded=False):.1f} s")
        assert during.threads <= before.threads + _AT_ONCE
        slowest = max(max(one.beats) for one in fleet.standing)
        row.measure(
            f"slowest Heartbeat {slowest:.2f} s, {during.threads - before.threads:+d} threads"
        )
    signed = len(vault.requests("transit/sign/csms-issuer-stations/sha2-256")) - signed_before
    assert signed >= len(asking)
    scene.no_secret_is_logged()


@pytest.mark.timeout(120)
def test_killed_and_started_again(scene: Scene, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("P03 H01", "Vault killed, started again, unsealed")
    with row.attempt(), scene.fleet() as fleet:
        scene.vault.kill()
        try:
            row.measure(f"told in {scene.told(degraded=True):.1f} s")
            asking = scene.all_ask(fleet)
            assert scene.ask_for_token()[0] == 503
        finally:
            scene.vault.start()
            scene.vault.unseal()
        row.measure(f"{len(asking)} CSRs answered in {scene.all_are_answered(asking):.1f} s")
        row.measure(f"well in {scene.told(degraded=False):.1f} s")
        assert scene.ask_for_token()[0] == 200
    scene.no_secret_is_logged()
