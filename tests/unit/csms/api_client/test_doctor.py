"""Advice about failing checks."""

import pytest

from csms.api_client.doctor import ADVICE, advice
from csms.domain.admission import RefusalReason


def test_there_is_advice_for_every_failing_check() -> None:
    assert set(ADVICE) == set(RefusalReason)
    assert all(ADVICE.values())


@pytest.mark.parametrize("check", [None, "", "something newer"])
def test_a_check_of_a_newer_api_has_none(check: str | None) -> None:
    assert advice(check) == ""
