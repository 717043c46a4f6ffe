"""H01, P04, P05: what a Vault may answer instead of an answer, at both of our sessions with it.

However often a role asks, the server is asked rarely: the breaker is open, and logins are held
apart. When it is well again, so is the session, within six seconds of its clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from csms.adapters.vault import Role, VaultError, VaultSession
from pki.signing.signer import SignerError
from pki.signing.vault_session import VaultAccess
from pki.signing.vault_session import VaultSession as PkiSession
from tests.attacks.faults import FaultProxy
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.vault import TestVault

# Sealed, not initialised, standby, quota, performance standby, recovering, broken, refused; and the
# answer of a thing that is no Vault.
STATUSES: Final = (503, 501, 429, 472, 473, 500, 502, 403, 404)
# Four calls in each second of the session's clock, for a minute.
CALLS, STEP_SECONDS = 240, 0.25
# Pauses of 1, 2 and then 5 seconds, and what a fresh login may cost besides.
MOST_ASKED: Final = 3 * (2 + 60 // 5 + 2)
MOST_LOGINS: Final = 60 // 3


@pytest.fixture(scope="module")
def proxy(vault: TestVault) -> Iterator[FaultProxy]:
    with FaultProxy(vault.addr, vault.server.directory).running() as running:
        yield running


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def for_csms(vault: TestVault, proxy: FaultProxy, clock: Clock, scene: Callable[..., None]) -> None:
    """The scene's calls are made by the API's session."""
    identity = replace(vault.credentials(Role.API), addr=proxy.addr)
    with asyncio.Runner() as runner:
        session = VaultSession(identity, monotonic=clock)

        def call() -> bool:
            try:
                runner.run(session.check_token())
            except VaultError:
                return False
            return True

        scene(call)
        runner.run(session.close())


def for_pki(vault: TestVault, proxy: FaultProxy, clock: Clock, scene: Callable[..., None]) -> None:
    """By the PKI's."""
    identity = vault.credentials(Role.PKI)
    session = PkiSession(
        VaultAccess(
            addr=proxy.addr,
            role_id=identity.role_id,
            read_secret_id=identity.read_secret_id,
            ca_file=identity.ca_file,
        ),
        monotonic=clock,
    )

    def call() -> bool:
        try:
            session.check_token()
        except SignerError:
            return False
        return True

    scene(call)
    session.close()


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("session", [for_csms, for_pki], ids=["csms", "pki"])
def test_a_vault_that_only_says_no_is_asked_rarely_and_found_again(
    vault: TestVault,
    proxy: FaultProxy,
    scoreboard: Scoreboard,
    session: Callable[..., None],
    status: int,
) -> None:
    row = scoreboard.row("H01 P05", f"{status} to everything, {session.__name__[4:]}'s session")
    clock = Clock()

    def scene(call: Callable[[], bool]) -> None:
        assert call()
        proxy.status, proxy.asked = status, []
        try:
            for _ in range(CALLS):
                clock.at += STEP_SECONDS
                assert not call()
            asked, logins = len(proxy.asked), proxy.logins()
        finally:
            proxy.status = None
        assert asked <= MOST_ASKED
        assert logins <= MOST_LOGINS
        clock.at += 6
        assert call()
        row.measure(f"{CALLS} calls in a minute: asked {asked} times, {logins} logins")

    with row.attempt():
        session(vault, proxy, clock, scene)
