"""Certificate states: the table is the rule."""

import itertools
import re
from pathlib import Path

import pytest

from csms.domain.certificate import (
    ADMISSIBLE,
    TRANSITIONS,
    CertificateEvent,
    CertificateStatus,
    TransitionImpossible,
    next_status,
)

S = CertificateStatus
E = CertificateEvent


def test_the_ordinary_life_of_a_certificate() -> None:
    status = S.SIGNED
    for event in (E.SENT, E.STATION_ACCEPTED, E.SEEN, E.SUCCESSOR_SEEN):
        status = next_status(status, event)
    assert status is S.SUPERSEDED


def test_being_seen_proves_more_than_a_lost_accepted() -> None:
    assert next_status(S.DELIVERED, E.SEEN) is S.ACTIVE


@pytest.mark.parametrize(("status", "event"), list(itertools.product(S, E)))
def test_a_pair_outside_the_table_is_impossible(
    status: CertificateStatus, event: CertificateEvent
) -> None:
    if (status, event) in TRANSITIONS:
        assert next_status(status, event) is TRANSITIONS[(status, event)]
    else:
        with pytest.raises(TransitionImpossible, match=event.value):
            next_status(status, event)


@pytest.mark.parametrize("event", list(E))
def test_revoked_is_the_end(event: CertificateEvent) -> None:
    """Nothing brings a revoked certificate back, whatever the station says later."""
    with pytest.raises(TransitionImpossible):
        next_status(S.REVOKED, event)


def test_only_what_a_station_can_hold_lets_it_in() -> None:
    assert {S.DELIVERED, S.ACCEPTED, S.ACTIVE} == ADMISSIBLE


def test_every_live_certificate_can_be_revoked() -> None:
    for status in set(S) - {S.REVOKED, S.EXPIRED}:
        assert next_status(status, E.REVOKE) is S.REVOKED


def test_the_diagram_in_the_decision_is_the_table() -> None:
    """docs/adr/0008 draws the table; revoke and expire, possible everywhere, are not drawn."""
    page = Path(__file__).resolve().parents[4] / "docs/adr/0008-certificate-as-desired-state.md"
    drawn = {
        (CertificateStatus(before), CertificateEvent(said), CertificateStatus(after))
        for before, after, said in re.findall(
            r"^    (\w+) --> (\w+): ([\w ]+)$", page.read_text(), re.MULTILINE
        )
    }
    table = {
        (status, event, becomes)
        for (status, event), becomes in TRANSITIONS.items()
        if event not in {E.REVOKE, E.EXPIRE}
    }
    assert drawn == table
