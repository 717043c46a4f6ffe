"""A circuit breaker: a Vault that does not answer is not waited for by everybody (P04).

    closed     calls go through; one that fails opens it
    open       calls fail at once, for a second, then two, then five
    half open  one call tries, the others still fail at once; its outcome closes or opens it

It opens for five seconds at most: so much later than Vault the CA is back, and so rarely an absent
Vault is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pki.signing.signer import SignerUnavailable

_PAUSES: Final = (1.0, 2.0, 5.0)


class Breaker:
    """Thread-safe. `one_try_seconds`: how long a try may be under way before another begins."""

    def __init__(self, monotonic: Callable[[], float], *, one_try_seconds: float) -> None:
        self._monotonic = monotonic
        self._one_try_seconds = one_try_seconds
        self._lock = threading.Lock()
        self._failures = 0
        self._opened_at = 0.0
        self._retry_at = 0.0

    def check(self) -> None:
        """Raises SignerUnavailable while it is open."""
        if self._failures and self._monotonic() < self._retry_at:
            raise SignerUnavailable("backing off: Vault was away a moment ago")

    @contextmanager
    def around(self) -> Iterator[None]:
        """One call. Raises SignerUnavailable instead of making it while the breaker is open."""
        entered_at = self._enter()
        try:
            yield
        except SignerUnavailable:
            self._failed(entered_at)
            raise
        with self._lock:
            self._failures = 0

    def _enter(self) -> float:
        with self._lock:
            self.check()
            now = self._monotonic()
            if self._failures:  # ours is the try
                self._retry_at = now + self._one_try_seconds
            return now

    def _failed(self, entered_at: float) -> None:
        with self._lock:
            # Those that began together with the one that opened it tell nothing new.
            if self._failures and entered_at < self._opened_at:
                return
            self._opened_at = self._monotonic()
            self._retry_at = self._opened_at + _PAUSES[min(self._failures, len(_PAUSES) - 1)]
            self._failures += 1
