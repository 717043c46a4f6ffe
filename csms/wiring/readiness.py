"""What /readyz and /metrics say of the product.

Without database, gateway, worker or a certificate that has not ended nobody is served: not ready.
Vault may be away for hours before a station notices, and a certificate that ends soon still works:
those are told, and the process stays ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from csms.adapters.own_certificate import ALARM_REMAINING
from csms.adapters.vault import VaultConnection, VaultError
from csms.api.health import Check, Degraded
from csms.domain.password import LatePeppers
from csms.gateway.server import GatewayHealth
from csms.ports.clock import Clock
from csms.ports.store import Store
from csms.wiring.supervision import Roles
from pki.wire import PkiError

# Probes come from several sides; Vault is asked once for all of them.
_FRESH_SECONDS: Final = 2.0
# Together less than /readyz waits for any check.
_VAULT_SECONDS: Final = 1.5
_IDENTITY_SECONDS: Final = 1.0

# Raises VaultError or PkiError when a role's identity in Vault is of no use just now.
AskVault = Callable[[], Awaitable[None]]


def readiness(
    *,
    store: Store,
    gateway: Callable[[], GatewayHealth],
    roles: Roles,
    not_after: Callable[[], datetime | None],
    vault: VaultProbe,
    peppers: LatePeppers,
    clock: Clock,
) -> Mapping[str, Check]:
    async def database() -> str | None:
        async with store.reading() as work:
            await work.outbox.last_sequence()
        return None

    async def listeners() -> str | None:
        return None if gateway().accepting else "not accepting"

    async def worker() -> str | None:
        return None if roles.is_running("worker") else "not running"

    async def certificate() -> str | None:
        return certificate_word(not_after(), clock.now())

    async def passwords() -> str | None:
        if peppers.are_there:
            return None
        return Degraded("not to be checked before Vault is back: profile 3 is served, 1 and 2 wait")

    return {
        "database": database,
        "gateway": listeners,
        "worker": worker,
        "certificate": certificate,
        "vault": vault.ask,
        "passwords": passwords,
    }


def certificate_word(not_after: datetime | None, now: datetime) -> str | None:
    """What is wrong with the listeners' certificate."""
    if not_after is None:
        return "there is none"
    if now >= not_after:
        return "has ended"
    if not_after - now < ALARM_REMAINING:
        hours = (not_after - now).total_seconds() / 3600
        return Degraded(f"ends in {hours:.1f} h and was not renewed")
    return None


class VaultProbe:
    """Whether Vault is there, unsealed, and takes our identities. Never keeps a process from being
    ready. `asks`: what we could not do, by the call that would fail.
    """

    def __init__(
        self, connection: VaultConnection, clock: Clock, asks: Mapping[str, AskVault]
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._asks = asks
        self._lock = asyncio.Lock()
        self._asked_at: float | None = None
        self._found: Degraded | None = None

    async def ask(self) -> str | None:
        async with self._lock:
            now = self._clock.monotonic()
            if self._asked_at is None or now - self._asked_at >= _FRESH_SECONDS:
                self._found = await self._word()
                self._asked_at = self._clock.monotonic()
            return self._found

    async def _word(self) -> Degraded | None:
        try:
            async with asyncio.timeout(_VAULT_SECONDS):
                await asyncio.to_thread(self._connection.health)
        except (VaultError, TimeoutError):
            return Degraded("away or sealed: nothing can be issued or signed")
        answers = await asyncio.gather(*(self._lacks(what) for what in self._asks))
        lacking = ", ".join(what for what in answers if what is not None)
        return Degraded(f"there, and does not let us: {lacking}") if lacking else None

    async def _lacks(self, what: str) -> str | None:
        try:
            async with asyncio.timeout(_IDENTITY_SECONDS):
                await self._asks[what]()
        except (VaultError, PkiError, TimeoutError):
            return what
        return None


def gauges(gateway: Callable[[], GatewayHealth]) -> CollectorRegistry:
    registry = CollectorRegistry()
    sessions = Gauge("csms_sessions", "Charging Stations connected here", registry=registry)
    sessions.set_function(lambda: gateway().sessions)
    strangers = Gauge("csms_strangers", "Sockets not authenticated yet", registry=registry)
    strangers.set_function(lambda: gateway().strangers)
    return registry
