"""A circuit breaker: a Vault that does not answer is not waited for by everybody (P04).

    closed     calls go through; one that fails opens it
    open       calls fail at once, for a second, then two, then five
    half open  one call tries, the others still fail at once; its outcome closes or opens it

The PKI, which shares no code with us, has its own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from csms.adapters.vault.connection import VaultError, VaultUnavailable

# The last is also how much later than Vault we are back, so it stays well under ten seconds.
_PAUSES: Final = (1.0, 2.0, 5.0)


class Breaker:
    """Of one event loop. `one_try_seconds`: how long a try may be under way before another one."""

    def __init__(self, monotonic: Callable[[], float], *, one_try_seconds: float) -> None:
        self._monotonic = monotonic
        self._one_try_seconds = one_try_seconds
        self._failures = 0
        self._opened_at = 0.0
        self._retry_at = 0.0

    @contextmanager
    def around(self) -> Iterator[None]:
        """One call. Raises VaultUnavailable instead of making it while the breaker is open."""
        entered_at = self._monotonic()
        if self._failures:
            if entered_at < self._retry_at:
                raise VaultUnavailable("Vault was away a moment ago")
            self._retry_at = entered_at + self._one_try_seconds  # ours is the try
        try:
            yield
        except VaultUnavailable:
            self._failed(entered_at)
            raise
        except VaultError:  # it answered
            self._failures = 0
            raise
        self._failures = 0

    def _failed(self, entered_at: float) -> None:
        # Those that began together with the one that opened it tell nothing new.
        if self._failures and entered_at < self._opened_at:
            return
        self._opened_at = self._monotonic()
        self._retry_at = self._opened_at + _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
