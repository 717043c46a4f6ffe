"""Advice about failing checks."""

import pytest

from csms.api_client.doctor import ADVICE, advice
from csms.domain.admission import RefusalReason


def test_there_is_advice_for_every_failing_check() -> None:
    assert set(ADVICE) == set(RefusalReason)
    assert all(ADVICE.values())


@pytest.mark.parametrize("check", [None, "", "something newer"])
def test_a_check_of_a_newer_api_has_none(check: str | None) -> None:
    assert advice(check, minimum_profile=2) == ""


@pytest.mark.parametrize(
    ("check", "minimum", "anew"),
    [
        (RefusalReason.CERTIFICATE_REVOKED, 3, True),
        (RefusalReason.CERTIFICATE_EXPIRED, 3, True),
        (RefusalReason.CERTIFICATE_EXPIRED, 2, False),
        (RefusalReason.CERTIFICATE_EXPIRED, None, False),
        (RefusalReason.PASSWORD, 3, False),
    ],
)
def test_where_no_lower_profile_is_left_the_way_back_is_a_new_registration(
    check: RefusalReason, minimum: int | None, *, anew: bool
) -> None:
    advised = advice(check, minimum_profile=minimum)
    assert ("csms station remove" in advised) is anew
    assert ("csms station add" in advised) is anew
