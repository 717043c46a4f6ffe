"""Failures per source."""

import pytest

from csms.oauth.budget import FailureBudget, source_group


def test_a_budget_is_spent_by_failures_of_that_source_alone() -> None:
    budget = FailureBudget(failures_per_source=2)
    budget.spend("192.0.2.1", "a")
    assert not budget.is_spent("192.0.2.1")
    budget.spend("192.0.2.1", "b")
    assert budget.is_spent("192.0.2.1")
    assert not budget.is_spent("192.0.2.2")


def test_a_client_is_slowed_down_by_failures_in_its_own_name_alone() -> None:
    budget = FailureBudget(failures_per_client=1)
    budget.spend("192.0.2.1", "a")
    assert budget.is_spent("192.0.2.1", "a")
    assert not budget.is_spent("192.0.2.1", "b")
    assert not budget.is_spent("192.0.2.2", "a")
    assert not budget.is_spent("192.0.2.1")


def test_asking_costs_nothing() -> None:
    budget = FailureBudget(failures_per_client=1, failures_per_source=1)
    assert not any(budget.is_spent("192.0.2.1") for _ in range(10))
    assert not any(budget.is_spent("192.0.2.1", "a") for _ in range(10))


@pytest.mark.parametrize(
    ("source", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_subscriber_counts_as_one_source(source: str, group: str) -> None:
    assert source_group(source) == group
