"""A running role's session with Vault: it logs in by itself, renews, and never blocks the loop.

Every call runs in a bounded set of threads with a deadline, and fails at once while Vault is known
to be away (`breaker`). A lost token is replaced within the call that noticed; logins are held apart
by a back-off, since a server may refuse everything.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, TypeVar

import anyio
import anyio.to_thread
import structlog

from csms.adapters.vault.breaker import Breaker
from csms.adapters.vault.connection import (
    CALL_TIMEOUT,
    THREADS,
    Lease,
    VaultConnection,
    VaultCredentials,
    VaultError,
    VaultRefused,
    VaultSettings,
    VaultUnavailable,
)

log = structlog.get_logger()
T = TypeVar("T")

FIRST_BACK_OFF: Final = 1.0  # no login storm on a server that answers 403 to everything (P05)
LAST_BACK_OFF: Final = 5.0  # and no longer, or we would be back long after our rights are
RENEW_AFTER: Final = 0.5  # of the lease: two attempts fit before it ends


class VaultSession:
    """A running role's way to Vault. Make one per role and process; use it as a context manager.

    Entering does not log in: a role must start while Vault is sealed. The first call does.
    """

    def __init__(
        self,
        identity: VaultSettings | VaultCredentials,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._identity = identity
        self._monotonic = monotonic
        self._call_timeout = call_timeout
        self._connection = VaultConnection(
            identity.addr, ca_file=identity.ca_file, namespace=identity.namespace
        )
        self._threads = anyio.CapacityLimiter(THREADS)
        self._breaker = Breaker(monotonic, one_try_seconds=call_timeout)
        self._login = asyncio.Lock()
        self._generation = 0  # counts tokens, so that many refused calls make one login
        self._lease_ends_at = 0.0
        self._renew_at = 0.0
        self._back_off = 0.0
        self._next_login_at = 0.0
        self._login_failure: VaultError = VaultUnavailable("no login tried yet")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the token back, if the server still listens, and close the sockets."""
        if self._generation and self._lease_ends_at > self._monotonic():
            try:
                await self._in_thread(self._connection.log_out)
            except VaultError as error:
                log.info("vault_logout_failed", error=str(error))
        self._connection.close()

    async def read(self, path: str) -> dict[str, Any] | None:
        return await self.call(lambda connection: connection.read(path))

    async def write(self, path: str, data: Mapping[str, object]) -> dict[str, Any]:
        return await self.call(lambda connection: connection.write(path, data))

    async def call(self, operation: Callable[[VaultConnection], T]) -> T:
        """Run a blocking operation with a live token; a refusal is tried once with a new one."""
        with self._breaker.around():
            return await self._tried(operation)

    async def check_token(self) -> None:
        """Whether Vault lets us ask it anything just now. Raises VaultError."""

        def look_up(connection: VaultConnection) -> None:
            if connection.read("auth/token/lookup-self") is None:
                raise VaultUnavailable("what answers there is no Vault")

        await self.call(look_up)

    async def _tried(self, operation: Callable[[VaultConnection], T]) -> T:
        generation = await self._ensure_token()
        try:
            result = await self._in_thread(lambda: operation(self._connection))
        except VaultRefused:
            # 403 is both "token gone" and "policy says no": only a fresh token tells which.
            if not await self._log_in_again(after=generation):
                raise
            result = await self._in_thread(lambda: operation(self._connection))
        if self._back_off:  # the next loss is a new one, and need not wait for the last one's sake
            self._back_off = 0.0
            soon = self._monotonic() + FIRST_BACK_OFF
            self._next_login_at = min(self._next_login_at, soon)
        return result

    async def _ensure_token(self) -> int:
        now = self._monotonic()
        if self._generation == 0 or now >= self._lease_ends_at:
            if not await self._log_in_again(after=self._generation):
                why = self._login_failure
                raise type(why)(f"waiting before the next login: {why}") from why
        elif now >= self._renew_at:
            await self._renew()
        return self._generation

    async def _renew(self) -> None:
        """Best effort: until the lease ends the token works, and then there is the login. Of a
        Vault that does not answer nothing more is asked in this call.
        """
        self._renew_at = self._lease_ends_at
        try:
            self._note(await self._in_thread(self._connection.renew))
        except VaultError as error:
            log.info("vault_renewal_failed", error=str(error))
            if isinstance(error, VaultUnavailable):
                raise

    async def _log_in_again(self, *, after: int) -> bool:
        """True when there is a token newer than `after`; False while the back-off forbids one."""
        async with self._login:
            if self._generation != after:
                return True
            if self._monotonic() < self._next_login_at:
                return False
            self._back_off = min(max(2 * self._back_off, FIRST_BACK_OFF), LAST_BACK_OFF)
            try:
                lease = await self._in_thread(lambda: self._connection.log_in(self._identity))
            except VaultError as error:
                self._login_failure = error
                if isinstance(error, VaultRefused):  # no call need ask again with a refused token
                    self._lease_ends_at = 0.0
                log.warning("vault_login_failed", error=str(error), retry_in=self._back_off)
                raise
            finally:  # counted from the end: those who queued behind a hanging login do not hang
                self._next_login_at = self._monotonic() + self._back_off
            self._note(lease)
            self._generation += 1
            log.info("vault_logged_in")
            return True

    def _note(self, lease: Lease) -> None:
        now = self._monotonic()
        self._lease_ends_at = now + lease.seconds
        self._renew_at = now + (RENEW_AFTER if lease.renewable else 1.0) * lease.seconds

    async def _in_thread(self, blocking: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._call_timeout):
                return await anyio.to_thread.run_sync(
                    blocking, abandon_on_cancel=True, limiter=self._threads
                )
        except TimeoutError as error:
            raise VaultUnavailable("Vault does not answer in time") from error
