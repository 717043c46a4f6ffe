"""csms.domain.failure_budget: who fails too often is not heard, and whom that must not hurt."""

from ipaddress import ip_address

import pytest

from csms.domain import failure_budget
from csms.domain.failure_budget import (
    GUESS_WINDOW_SECONDS,
    GUESSES,
    KNOWN_BURST,
    SOURCES_PER_STATION,
    FailureBudget,
    GuessWatch,
    Source,
)

BURST, EACH = 20, 10.0
ATTACKER, OTHER = ip_address("192.0.2.66"), ip_address("192.0.2.1")
PROOF, NEW, WRONG = b"p" * 32, b"n" * 32, b"w" * 32


def budget() -> FailureBudget:
    return FailureBudget(burst=BURST, seconds_each=EACH)


def fail(
    asked: FailureBudget,
    times: int = 1,
    *,
    source: Source = ATTACKER,
    identity: str | None = "cs9",
    proof: bytes | None = WRONG,
    now: float = 0.0,
) -> int:
    """How many of so many attempts were heard."""
    heard = 0
    for _ in range(times):
        if asked.may_try(source, identity, proof, now=now):
            heard += 1
            asked.failed(source, identity, proof, now=now)
    return heard


def spent(now: float = 0.0) -> FailureBudget:
    asked = budget()
    assert fail(asked, 100, now=now) == BURST
    return asked


# The source


def test_a_source_has_its_burst_and_no_other_source_notices() -> None:
    asked = spent()
    assert asked.is_shut(ATTACKER, now=0)
    assert not asked.is_shut(OTHER, now=0)
    assert asked.may_try(OTHER, "cs9", WRONG, now=0)


def test_success_costs_nothing() -> None:
    asked = budget()
    for second in range(1000):
        assert asked.may_try(OTHER, "cs1", PROOF, now=second / 100)
        asked.admitted(OTHER, "cs1", PROOF)
    assert not asked.is_shut(OTHER, now=10)


def test_who_is_quiet_gets_one_more_in_ten_seconds_and_never_more_than_the_burst() -> None:
    asked = spent()
    assert fail(asked, 5, now=EACH) == 1
    assert fail(asked, 100, now=1e6) == BURST


def test_who_goes_on_gets_nothing_back() -> None:
    """5,000 attempts in 50 seconds; and no less after three hours of it."""
    asked = spent()
    assert sum(fail(asked, now=10 + at / 100) for at in range(5000)) <= 1
    asked = spent()
    assert sum(fail(asked, now=float(second)) for second in range(10_000)) == 0
    shut = spent()
    assert all(shut.is_shut(ATTACKER, now=float(second)) for second in range(10_000))


def test_who_knocks_now_and_then_does_not_shut_the_door_on_others() -> None:
    """Ten stations set up wrong behind one address, each once a minute."""
    asked = spent()
    assert sum(fail(asked, now=second * 6.0) for second in range(1000)) > 100


def test_attempts_that_are_verified_at_once_are_paid_for_afterwards() -> None:
    asked = budget()
    assert all(asked.may_try(ATTACKER, "cs9", WRONG, now=0) for _ in range(200))
    worth = [asked.failed(ATTACKER, "cs9", WRONG, now=0) for _ in range(200)]
    assert worth == [True] * BURST + [False] * (200 - BURST)  # rows are bounded all the same
    # The debt has a bound of its own: minutes.
    assert not asked.may_try(ATTACKER, "cs9", WRONG, now=BURST * EACH)
    assert asked.may_try(ATTACKER, "cs9", WRONG, now=(BURST + 2) * EACH)


def test_a_handshake_that_fails_counts_before_anybody_said_who_it_is() -> None:
    asked = budget()
    assert [asked.failed(ATTACKER, None, None, now=0) for _ in range(BURST + 1)][-1] is False
    assert asked.is_shut(ATTACKER, now=0)
    assert not asked.may_try(ATTACKER, None, None, now=0)


def test_an_identity_is_never_locked() -> None:
    asked = spent()  # by wrong passwords of cs9
    assert asked.may_try(OTHER, "cs9", PROOF, now=0)


# Known stations


def test_a_known_station_gets_in_beside_an_attacker_at_its_own_address() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    fail(asked, 1000)
    assert not asked.is_shut(ATTACKER, now=0)
    assert asked.may_try(ATTACKER, "cs1", PROOF, now=0)
    assert not asked.may_try(ATTACKER, "cs2", PROOF, now=0)


def test_it_gets_in_whatever_others_do_in_its_name() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    for second in range(1000):
        fail(asked, 100, identity="cs1", now=float(second))
        assert asked.may_try(ATTACKER, "cs1", PROOF, now=float(second))


def test_guesses_in_its_name_are_bounded() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    assert fail(asked, 1000, identity="cs1") == BURST + KNOWN_BURST


def test_coming_in_does_not_fill_the_bucket_for_those_who_guess() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    fail(asked, 1000, identity="cs1")
    asked.admitted(ATTACKER, "cs1", PROOF)
    assert fail(asked, 1000, identity="cs1") == 0


def test_a_new_password_has_a_few_tries_of_its_own() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    fail(asked, 1000)
    assert asked.may_try(ATTACKER, "cs1", NEW, now=0)
    asked.admitted(ATTACKER, "cs1", NEW)
    assert asked.may_try(ATTACKER, "cs1", NEW, now=0)


def test_what_only_a_record_tells_of_has_tries_but_no_free_pass() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", None)
    fail(asked, 1000)
    assert fail(asked, 1000, identity="cs1", proof=None) == KNOWN_BURST


def test_a_record_does_not_make_a_proof_forgotten() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    asked.admitted(ATTACKER, "cs1", None)
    fail(asked, 1000)
    assert all(asked.may_try(ATTACKER, "cs1", PROOF, now=0) for _ in range(100))


def test_it_is_known_at_its_own_address_only() -> None:
    asked = budget()
    asked.admitted(OTHER, "cs1", PROOF)
    fail(asked, 1000)
    assert asked.is_known(OTHER)
    assert not asked.is_known(ATTACKER)
    assert asked.is_shut(ATTACKER, now=0)
    assert not asked.may_try(ATTACKER, "cs1", PROOF, now=0)


def test_a_credential_that_no_longer_lets_in_is_no_pass_any_more() -> None:
    """Blocked, deleted, or below its profile: its next attempts are anybody's."""
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    fail(asked, 1000)
    assert asked.may_try(ATTACKER, "cs1", PROOF, now=0)
    assert asked.failed(ATTACKER, "cs1", PROOF, now=0), "on record"
    assert fail(asked, 1000, identity="cs1", proof=PROOF) == 0
    assert asked.is_shut(ATTACKER, now=0)


def test_it_stays_known_elsewhere() -> None:
    asked = budget()
    for source in (ATTACKER, OTHER):
        asked.admitted(source, "cs1", PROOF)
    asked.failed(ATTACKER, "cs1", PROOF, now=0)
    fail(asked, 1000, source=OTHER)
    assert asked.may_try(OTHER, "cs1", PROOF, now=0)


def test_a_wrong_password_before_the_source_is_spent_costs_the_station_nothing() -> None:
    asked = budget()
    asked.admitted(ATTACKER, "cs1", PROOF)
    fail(asked, BURST, identity="cs1")
    assert fail(asked, 100, identity="cs1") == KNOWN_BURST


# Memory


def test_the_source_that_failed_longest_ago_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failure_budget, "MAXIMUM_SOURCES", 2)
    asked = spent()
    asked.failed(OTHER, None, None, now=1)
    asked.failed(ATTACKER, None, None, now=2)
    asked.failed(ip_address("2001:db8::"), None, None, now=3)
    assert list(asked._sources) == [ATTACKER, ip_address("2001:db8::")]


def test_the_station_that_came_longest_ago_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failure_budget, "MAXIMUM_STATIONS", 2)
    asked = budget()
    for identity in ("cs1", "cs2", "cs1", "cs3"):
        asked.admitted(OTHER, identity, PROOF)
    assert list(asked._stations) == ["cs1", "cs3"]
    assert asked._known_at == {OTHER: 2}


def test_a_station_with_many_addresses_is_known_at_the_latest_of_them() -> None:
    asked = budget()
    addresses = [ip_address(f"192.0.2.{at}") for at in range(10)]
    for source in addresses:
        asked.admitted(source, "cs1", PROOF)
    assert set(asked._known_at) == set(addresses[-SOURCES_PER_STATION:])


def test_no_credential_is_printed() -> None:
    asked = budget()
    asked.admitted(OTHER, "cs1", PROOF)
    assert repr(PROOF) not in repr(asked._stations)


# Guessing


def test_the_tenth_wrong_password_of_a_window_raises_the_alarm_and_no_other_does() -> None:
    watch = GuessWatch()
    seen = [watch.wrong_password("cs1", now=at / 10) for at in range(100)]
    assert [at for at, alarm in enumerate(seen) if alarm] == [GUESSES - 1]
    later = [watch.wrong_password("cs1", now=GUESS_WINDOW_SECONDS) for _ in range(100)]
    assert later.count(True) == 1


def test_a_station_that_is_set_up_wrong_raises_no_alarm() -> None:
    watch = GuessWatch()
    assert not any(watch.wrong_password("cs1", now=at * 10.0) for at in range(1000))


def test_so_many_identities_are_watched_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_budget, "MAXIMUM_GUESSED", 3)
    watch = GuessWatch()
    for number in range(10):
        watch.wrong_password(f"cs{number}", now=0)
    assert list(watch._guessed) == ["cs7", "cs8", "cs9"]
