"""The two breakers in front of Vault, csms's and the PKI's: one contract."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from csms.adapters.vault import VaultRejected, VaultUnavailable
from csms.adapters.vault.breaker import Breaker
from pki.signing.breaker import Breaker as PkiBreaker
from pki.signing.signer import SignerUnavailable, SignerUnfit


class Bench:
    """A breaker with a clock to turn."""

    def __init__(self, make: Any, away: type[Exception], answered: type[Exception]) -> None:
        self.at = 100.0
        self.away, self.answered = away, answered
        self.made: list[str] = []
        self._breaker = make(lambda: self.at, one_try_seconds=5.0)

    @property
    def around(self) -> Callable[[], AbstractContextManager[None]]:
        around: Callable[[], AbstractContextManager[None]] = self._breaker.around
        return around

    def call(self, error: type[Exception] | None = None) -> bool:
        """Whether the call was made at all."""
        before = len(self.made)
        try:
            with self.around():
                self.made.append("call")
                if error is not None:
                    raise error("x")
        except (self.away, self.answered):
            pass
        return len(self.made) > before


@pytest.fixture(params=["csms", "pki"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "csms":
        return Bench(Breaker, VaultUnavailable, VaultRejected)
    return Bench(PkiBreaker, SignerUnavailable, SignerUnfit)


def test_it_opens_at_one_failure_for_longer_and_longer_and_never_for_long(bench: Bench) -> None:
    for pause in (1.0, 2.0, 5.0, 5.0, 5.0):
        assert bench.call(bench.away)
        bench.at += pause - 0.1
        assert not bench.call()
        bench.at += 0.1
    assert bench.call()
    assert bench.call(bench.away)
    bench.at += 1.0
    assert bench.call(), "after a success it begins again with the shortest pause"


def test_those_that_failed_together_are_one_failure(bench: Bench) -> None:
    together = [bench.around() for _ in range(8)]
    for one in together:
        one.__enter__()
    bench.at += 5  # they hang, and then all fail
    for one in together:
        bench.at += 0.01
        error = bench.away("x")
        assert not one.__exit__(type(error), error, None)
    bench.at += 1
    assert bench.call()


def test_half_open_one_tries_and_the_others_do_not_wait_for_it(bench: Bench) -> None:
    assert bench.call(bench.away)
    bench.at += 1
    with bench.around():
        assert not bench.call()
        bench.at += 4
        assert not bench.call()
    assert bench.call()


def test_a_try_that_never_comes_back_does_not_keep_it_open(bench: Bench) -> None:
    assert bench.call(bench.away)
    bench.at += 1
    with bench.around():
        bench.at += 5
        assert bench.call()


def test_whoever_answers_is_there_whatever_it_says(bench: Bench) -> None:
    assert bench.call(bench.answered)
    assert bench.call()
