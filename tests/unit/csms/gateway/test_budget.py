"""csms.gateway.budget: how many strangers, in total and from one source."""

import pytest

from csms.gateway.budget import StrangerBudget, source_of, source_of_peer


def test_the_bounds_hold_and_what_is_given_back_is_free_again() -> None:
    budget = StrangerBudget(total=3, per_source=2)
    a, b, c = (source_of(f"192.0.2.{n}") for n in (1, 2, 3))
    assert [budget.take(a), budget.take(a), budget.take(a)] == [True, True, False]
    assert budget.take(b)
    assert not budget.take(c)
    assert budget.strangers == 3
    budget.give_back(a)
    assert budget.take(c)
    for source in (a, b, c):
        budget.give_back(source)
    assert budget.strangers == 0
    assert not budget._held  # nothing is remembered of who has gone


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
