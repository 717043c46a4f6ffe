"""csms.gateway.budget: how many strangers, in total and from one source."""

import random
from collections import Counter
from functools import partial

import pytest

from csms.domain.failure_budget import Source
from csms.gateway.budget import Stay, StrangerBudget, source_of, source_of_peer

A, B, C, D = (source_of(f"192.0.2.{n}") for n in range(1, 5))


def taken(budget: StrangerBudget, *sources: Source) -> list[Stay]:
    stays = [budget.take(source) for source in sources]
    assert None not in stays
    return [stay for stay in stays if stay is not None]


def test_the_bounds_hold_and_what_is_given_back_is_free_again() -> None:
    budget = StrangerBudget(total=3, per_source=2)
    first, second = taken(budget, A, A)
    assert budget.take(A) is None
    (third,) = taken(budget, B)
    assert budget.strangers == 3
    first.end()
    first.end()
    first.settle()
    assert budget.strangers == 2
    (fourth,) = taken(budget, C)
    for stay in (second, third, fourth):
        stay.end()
    assert budget.strangers == 0
    # Nothing is remembered of who has gone.
    shares = budget._shares[False]
    assert (len(budget._held), len(shares.slow), len(shares.by_size)) == (0, 0, 0)
    assert shares.largest == 0


def test_when_all_places_are_taken_who_has_few_takes_one_of_who_has_many() -> None:
    budget = StrangerBudget(total=4, per_source=4)
    oldest, *others = taken(budget, A, A, A, A)
    gone: list[Stay] = []
    for stay in (oldest, *others):
        stay.displaced = partial(gone.append, stay)
    taken(budget, B)
    assert gone == [oldest]
    taken(budget, B)
    assert gone == [oldest, others[0]]
    assert budget.take(B) is None, "as many as the others have"
    assert budget.take(A) is None
    taken(budget, C)
    assert budget.take(D) is not None
    assert budget.strangers == 4
    assert dict(budget._held) == {A: 1, B: 1, C: 1, D: 1}
    assert budget.take(source_of("192.0.2.9")) is None, "everybody has one"


def test_who_has_asked_to_be_let_in_is_not_sent_away() -> None:
    budget = StrangerBudget(total=2, per_source=2)
    asked, silent = taken(budget, A, A)
    gone: list[str] = []
    asked.displaced = lambda: gone.append("asked")
    silent.displaced = lambda: gone.append("silent")
    asked.settle()
    asked.settle()
    assert budget.take(B) is None, "A has one that may go, and so would B"
    (other,) = taken(StrangerBudget(total=1, per_source=1), A)
    other.settle()
    silent.end()
    assert budget.strangers == 1
    assert not gone


def test_a_known_source_takes_a_place_from_the_unknown_and_loses_none() -> None:
    """A thousand sources with one stranger each are no way to keep out the stations of before."""
    budget = StrangerBudget(total=2, per_source=2, is_known={A, B}.__contains__)
    taken(budget, C, D, A, A)
    assert dict(budget._held) == {A: 2}
    assert budget.take(C) is None
    # Among themselves they share: an attacker may sit at a known address, too.
    taken(budget, B)
    assert dict(budget._held) == {A: 1, B: 1}
    assert budget.take(A) is None
    assert budget.take(C) is None


def test_without_descriptors_it_is_as_if_all_places_were_taken() -> None:
    budget = StrangerBudget(total=10, per_source=10)
    assert budget.take(A, crowded=True) is None
    taken(budget, A, A, A)
    assert budget.take(B, crowded=True) is not None
    assert dict(budget._held) == {A: 2, B: 1}


def test_places_are_counted_right_whatever_happens() -> None:
    """A long game, played by chance, against plain counting."""
    chance = random.Random(9)
    budget = StrangerBudget(total=20, per_source=6, is_known={A}.__contains__)
    present: dict[Stay, bool] = {}

    def leaves(stay: Stay) -> None:
        del present[stay]

    for _ in range(20_000):
        stays = list(present)
        if stays and chance.random() < 0.45:
            leaving = chance.choice(stays)
            if chance.random() < 0.3:
                leaving.settle()
                present[leaving] = False
            else:
                leaving.end()
                leaves(leaving)
        elif stay := budget.take(source_of(f"192.0.2.{chance.randrange(1, 9)}")):
            stay.displaced = partial(leaves, stay)
            present[stay] = True
        assert budget.strangers == len(present) <= 20
        assert budget._held == Counter(stay.source for stay in present)
        for known, shares in budget._shares.items():
            slow = Counter(
                stay.source
                for stay, may_go in present.items()
                if may_go and (stay.source == A) is known
            )
            assert {source: len(stays) for source, stays in shares.slow.items()} == slow
            assert shares.largest == max(slow.values(), default=0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_site(one: str, other: str, same: bool) -> None:
    assert (source_of(one) == source_of(other)) is same


def test_a_recorded_peer_has_its_source() -> None:
    assert source_of_peer("192.0.2.1:5") == source_of("192.0.2.1")
    assert source_of_peer("[2001:db8::7]:5") == source_of("2001:db8::1")
    with pytest.raises(ValueError, match="does not appear"):
        source_of_peer("somebody")
