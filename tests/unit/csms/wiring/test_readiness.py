"""What /readyz says: what keeps us from serving, and what only degrades us."""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

import pytest

from csms.adapters.vault import VaultConnection, VaultRefused, VaultUnavailable
from csms.api.health import Degraded
from csms.domain.password import LatePeppers, Peppers
from csms.gateway.server import GatewayHealth
from csms.store.unit_of_work import SqlStore
from csms.wiring import readiness as module
from csms.wiring.readiness import AskVault, VaultProbe, certificate_word, gauges, readiness
from csms.wiring.supervision import supervised
from pki.wire import PkiUnavailable
from tests.fixtures.inside import PEPPERS, MovableClock

NOW = MovableClock().now()


class Vault:
    """A Vault that is there, away, or hangs."""

    def __init__(self, *, away: bool = False, seconds: float = 0.0) -> None:
        self.asked = 0
        self.away = away
        self.seconds = seconds

    def health(self) -> dict[str, Any]:
        self.asked += 1
        time.sleep(self.seconds)
        if self.away:
            raise VaultUnavailable("sealed")
        return {}


def probe(
    vault: Vault, clock: MovableClock, asks: Mapping[str, AskVault] | None = None
) -> VaultProbe:
    return VaultProbe(cast("VaultConnection", vault), clock, asks or {})


def health(*, accepting: bool) -> Callable[[], GatewayHealth]:
    return lambda: GatewayHealth(
        accepting=accepting, database_available=True, sessions=3, strangers=1, tasks=0
    )


@pytest.mark.parametrize(
    ("left", "word"),
    [
        (timedelta(hours=23), None),
        (timedelta(hours=8), None),
        (timedelta(hours=7, minutes=30), Degraded("ends in 7.5 h and was not renewed")),
        (timedelta(0), "has ended"),
        (timedelta(hours=-1), "has ended"),
        (None, "there is none"),
    ],
)
def test_the_listeners_certificate(left: timedelta | None, word: str | None) -> None:
    found = certificate_word(None if left is None else NOW + left, NOW)
    assert found == word
    assert type(found) is type(word)


def test_vault_away_is_told_and_is_no_reason_to_stop() -> None:
    async def main() -> None:
        assert await probe(Vault(), MovableClock()).ask() is None
        assert isinstance(await probe(Vault(away=True), MovableClock()).ask(), Degraded)

    asyncio.run(main())


def test_a_vault_that_hangs_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VAULT_SECONDS", 0.05)

    async def main() -> None:
        began = time.monotonic()
        assert isinstance(await probe(Vault(seconds=0.5), MovableClock()).ask(), Degraded)
        assert time.monotonic() - began < 0.4

    asyncio.run(main())


def test_vault_is_asked_once_for_many_probes() -> None:
    async def main() -> None:
        vault, clock = Vault(), MovableClock()
        asked = probe(vault, clock)
        await asyncio.gather(*(asked.ask() for _ in range(20)))
        assert vault.asked == 1
        vault.away = True
        clock.pass_time(timedelta(seconds=6))
        assert isinstance(await asked.ask(), Degraded)
        assert vault.asked == 2

    asyncio.run(main())


def test_a_vault_that_refuses_an_identity_is_told_by_what_cannot_be_done() -> None:
    async def fine() -> None:
        return

    async def refused() -> None:
        raise VaultRefused("permission denied")

    async def unavailable() -> None:
        raise PkiUnavailable("login failed")

    async def main() -> None:
        asked = probe(Vault(), MovableClock(), {"a": fine, "b": refused, "c": unavailable})
        found = await asked.ask()
        assert isinstance(found, Degraded)
        assert found == "there, and does not let us: b, c"

    asyncio.run(main())


def test_an_identity_that_is_not_answered_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDENTITY_SECONDS", 0.05)

    async def main() -> None:
        found = await probe(Vault(), MovableClock(), {"a": forever}).ask()
        assert isinstance(found, Degraded)

    asyncio.run(main())


def test_passwords_wait_for_vault(sqlite_store_url: str) -> None:
    found = answers(sqlite_store_url, accepting=True, worker=True, peppers=None)
    assert isinstance(found["passwords"], Degraded)


async def forever() -> None:
    await asyncio.Event().wait()


def answers(
    url: str, *, accepting: bool, worker: bool, peppers: Peppers | None = PEPPERS
) -> dict[str, str | None]:
    async def main() -> dict[str, str | None]:
        store, clock = SqlStore(url), MovableClock()
        try:
            async with supervised(asyncio.Event()) as roles:
                if worker:
                    roles.start("worker", forever())
                checks = readiness(
                    store=store,
                    gateway=health(accepting=accepting),
                    roles=roles,
                    not_after=lambda: clock.now() + timedelta(hours=20),
                    vault=probe(Vault(), clock),
                    peppers=LatePeppers(peppers),
                    clock=clock,
                )
                return {name: await check() for name, check in checks.items()}
        finally:
            await store.close()

    return asyncio.run(main())


def test_all_is_well(sqlite_store_url: str) -> None:
    found = answers(sqlite_store_url, accepting=True, worker=True)
    assert found.keys() == {
        "database",
        "gateway",
        "worker",
        "certificate",
        "vault",
        "passwords",
    }
    assert set(found.values()) == {None}


def test_what_keeps_us_from_serving(sqlite_store_url: str) -> None:
    found = answers(sqlite_store_url, accepting=False, worker=False)
    assert (found["gateway"], found["worker"]) == ("not accepting", "not running")


def test_the_figures() -> None:
    registry = gauges(health(accepting=True))
    assert registry.get_sample_value("csms_sessions") == 3
    assert registry.get_sample_value("csms_strangers") == 1
