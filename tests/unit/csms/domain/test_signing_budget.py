"""csms.domain.signing_budget: how often a station may ask for a certificate."""

from itertools import pairwise
from uuid import uuid4

from csms.domain.signing_budget import BURST, SECONDS_EACH, SigningBudget, Spending

STATION, OTHER = uuid4(), uuid4()


def test_the_retries_of_an_unanswered_request_all_pass() -> None:
    """A02.FR.17-19 with the shortest wait stations use: 10 s, doubling, six times; then again."""
    budget, now = SigningBudget(), 0.0
    for _round in range(3):
        for doubling in range(7):
            assert budget.spend(STATION, now=now) is Spending.GRANTED
            now += 10 * 2**doubling


def test_a_flood_gets_its_burst_and_one_a_minute_and_one_record() -> None:
    budget = SigningBudget()
    hour = [budget.spend(STATION, now=second / 10) for second in range(36000)]
    assert hour.count(Spending.GRANTED) <= BURST + 3600 / SECONDS_EACH
    assert budget.spend(OTHER, now=3600) is Spending.GRANTED
    refusals = [(one, two) for one, two in pairwise(hour) if two is Spending.REFUSED]
    assert all(one is Spending.GRANTED for one, _ in refusals), "once for each run of refusals"


def test_rest_does_not_pile_up_beyond_the_burst() -> None:
    budget = SigningBudget()
    budget.spend(STATION, now=0)
    granted = [budget.spend(STATION, now=1e9) for _ in range(BURST + 1)]
    assert granted == [Spending.GRANTED] * BURST + [Spending.REFUSED]


def test_a_bucket_that_is_full_again_is_forgotten() -> None:
    """C07: stations come and go, removed ones too; what is kept is who asked lately."""
    budget = SigningBudget()
    for second in range(5_000):
        budget.spend(uuid4(), now=second)
        assert len(budget) <= BURST * SECONDS_EACH
    assert budget.spend(STATION, now=1e9) is Spending.GRANTED
    assert len(budget) == 1


def test_who_goes_on_asking_is_not_forgotten() -> None:
    budget = SigningBudget()
    asked = [budget.spend(STATION, now=second) for second in range(1_200)]
    assert asked.count(Spending.GRANTED) <= BURST + 1_200 / SECONDS_EACH


def test_the_fleets_queue_is_bounded_and_full_is_news_once() -> None:
    budget = SigningBudget(maximum_open=4)
    assert budget.enough_open == 4
    assert budget.queue(3) is Spending.GRANTED
    assert budget.queue(4) is Spending.REFUSED
    assert budget.queue(4) is Spending.REFUSED_AGAIN
    assert budget.queue(3) is Spending.GRANTED
    assert budget.queue(4) is Spending.REFUSED_AGAIN, "it goes up and down at its bound: no news"
    assert budget.queue(2) is Spending.GRANTED
    assert budget.queue(5) is Spending.REFUSED
