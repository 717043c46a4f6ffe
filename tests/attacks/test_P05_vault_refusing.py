"""P05: tokens lost, and a Vault that refuses everything: logins, but no storm of them."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

import pytest

from tests.attacks.outage import Scene
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES

_LOGIN = "auth/approle/login"


@pytest.mark.timeout(120)
def test_lost_tokens_are_replaced_at_once(scene: Scene, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("P05", "every role's token revoked")
    with row.attempt(), scene.fleet() as fleet:
        before = len(scene.vault.requests(_LOGIN))
        assert scene.vault.revoke_tokens() >= 1
        asking = scene.all_ask(fleet)
        row.measure(f"{len(asking)} CSRs answered in {scene.all_are_answered(asking):.1f} s")
        scene.product.eventually(lambda: scene.ask_for_token()[0] == 200)
        logins = len(scene.vault.requests(_LOGIN)) - before
        assert 1 <= logins <= 4
        row.measure(f"{logins} logins")
    scene.no_secret_is_logged()


@pytest.mark.timeout(300)
def test_refused_for_a_while(scene: Scene, scoreboard: Scoreboard) -> None:
    seconds = SIZES.vault_refusing_seconds
    row = scoreboard.row("P05", f"tokens revoked and secret ids destroyed {seconds:g} s")
    product, vault = scene.product, scene.vault
    product.token()
    with row.attempt(), scene.fleet() as fleet:
        before = len(vault.requests(_LOGIN))
        refused_at = time.monotonic()
        vault.take_secret_ids()
        vault.revoke_tokens()
        try:
            asking = scene.all_ask(fleet)
            row.measure(f"told in {scene.told(degraded=True):.1f} s")
            assert "does not let us" in scene.ready()["checks"]["vault"]
            while time.monotonic() - refused_at < seconds:
                assert scene.ask_for_token()[0] == 503
                assert product.api("GET", "/api/v1/stations?limit=1").status_code == 200
                time.sleep(0.1)
            lasted = time.monotonic() - refused_at
        finally:
            vault.give_secret_ids_back()
        logins = vault.requests(_LOGIN)[before:]
        row.measure(f"{len(asking)} CSRs answered in {scene.all_are_answered(asking):.1f} s")
        row.measure(f"well in {scene.told(degraded=False):.1f} s")
        scene.product.eventually(lambda: scene.ask_for_token()[0] == 200)
        # By the server's own book: each role at most once a second, and less and less often.
        of_role: dict[str, list[float]] = {}
        for login in logins:
            at = datetime.fromisoformat(login["time"]).timestamp()
            of_role.setdefault(login["request"]["data"]["role_id"], []).append(at)
        for times in of_role.values():
            crowded = Counter(int(at - times[0]) for at in times)
            assert max(crowded.values()) <= 2
            assert len(times) <= 2 + lasted / 2
        row.measure(f"{len(logins)} logins of {len(of_role)} roles in {lasted:.0f} s")
    scene.no_secret_is_logged()
