"""D01, D03: every text gets the answer that a small model, written from Part 4 alone, expects."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from csms.ocpp.actions import Role
from csms.ocpp.rpc import CallReceived, ProtocolViolation, RpcSession
from tests.attacks.frame_grammar import Grammar
from tests.attacks.oracle_frames import ANYTHING, UNREADABLE, Kind, judge
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES

PAYLOAD_CODES = {
    "FormatViolation",
    "OccurrenceConstraintViolation",
    "PropertyConstraintViolation",
    "TypeConstraintViolation",
}


def compare(text: str) -> Kind:
    """The session's answer against the model's; the model's verdict."""
    session = RpcSession(Role.CSMS)
    session.receive_text(text, 0)
    sent = [json.loads(one) for one in session.data_to_send()]
    events = session.events()
    verdict = judge(text)
    match verdict.kind:
        case Kind.DROPPED:
            assert sent == []
            assert [type(event) for event in events] == [ProtocolViolation]
        case Kind.TAKEN if sent == []:
            (event,) = events
            assert isinstance(event, CallReceived)
            assert {event.message_id} == verdict.ids
        case Kind.TAKEN:
            ((kind, message_id, code, *_),) = sent
            assert kind == 4
            assert {message_id} == verdict.ids
            assert code in PAYLOAD_CODES
        case Kind.ANSWERED if verdict.ids == ANYTHING and sent == []:
            assert text.lstrip().startswith("[")
            assert [type(event) for event in events] == [ProtocolViolation]
        case Kind.ANSWERED:
            ((kind, message_id, code, description, details),) = sent
            assert kind == 4
            assert verdict.ids == ANYTHING or message_id in verdict.ids
            assert code in verdict.codes
            assert len(description) <= 255
            assert details == {}
            assert len(events) == 1, "a violation, counted once"
    return verdict.kind


@pytest.mark.timeout(900)
def test_every_frame_gets_the_answer_that_the_model_expects(scoreboard: Scoreboard) -> None:
    row = scoreboard.row("D01", "frames from a grammar, and damaged; the model's verdict on each")
    seen: Counter[Kind] = Counter()
    for number, text in enumerate(Grammar("D01").texts(SIZES.judged_frames)):
        try:
            seen[compare(text)] += 1
        except Exception as error:
            raise AssertionError(f"frame {number}: {text[:2000]!r}") from error
    row.count(seen.total())
    row.measure(", ".join(f"{kind.name.lower()} {count}" for kind, count in seen.items()))
    assert min(seen[kind] for kind in Kind) > SIZES.judged_frames / 50, "a corpus of one kind"


@pytest.mark.parametrize("depth", [30, 31, 32, 33, 34, 10_000, 500_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded_at_32(depth: int, opening: str, closing: str) -> None:
    """D03; the frame itself is the first level."""
    inner = opening * (depth - 1) + "1" + closing * (depth - 1)
    session = RpcSession(Role.CSMS)
    session.receive_text(f'[2,"a","DataTransfer",{inner}]', 0)
    ((_, message_id, code, *_),) = (json.loads(one) for one in session.data_to_send())
    assert message_id == "a"
    deep = depth > 32
    expected = {"FormatViolation"} if deep or opening != "[" else {"TypeConstraintViolation"}
    assert code in expected
    assert judge(f"[{inner}]").ids == (ANYTHING if deep else frozenset({UNREADABLE}))
