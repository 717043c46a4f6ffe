"""Frames and the RPC session under arbitrary input (threats D01, D07, D08, D09)."""

import json
from collections import Counter, deque
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from csms.ocpp.actions import Action, Role
from csms.ocpp.errors import CallError, CallErrorCode, LocalError
from csms.ocpp.frames import (
    Call,
    CallErrorFrame,
    CallResult,
    Malformed,
    encode_call,
    encode_call_error,
    encode_call_result,
    parse,
)
from csms.ocpp.rpc import (
    CallAnswered,
    CallFailed,
    CallReceived,
    FailureReason,
    ProtocolViolation,
    RpcSession,
)
from csms.ocpp.strict_json import JsonFlaw, nests_too_deeply, read

ordinary_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
# The machine may be busy with other tests: time is no property here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | ordinary_text
)
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(ordinary_text, inner), max_leaves=12
)
printable = st.characters(exclude_categories=["Cs"], min_codepoint=32)
message_ids = st.text(printable, min_size=1, max_size=36)
codes = st.sampled_from(CallErrorCode)

# Frames that are nearly right: every element may be anything, most are what they should be.
type_ids = st.sampled_from([2, 2, 3, 4, 5, True, 2.0, "2", None])
frame_parts: st.SearchStrategy[Any] = st.sampled_from(
    ["a", "b", "Heartbeat", "Reset", "GenericError", {}, [], None, 7]
)
nearly_frames = st.builds(
    lambda kind, rest: json.dumps([kind, *rest]),
    type_ids,
    st.lists(frame_parts | json_values, max_size=5),
)
hostile_texts = st.text() | nearly_frames | json_values.map(json.dumps)


@unhurried
@given(json_values)
def test_compact_and_spaced_json_read_the_same(value: Any) -> None:
    """The first takes the fast way through strict_json, the second the careful one."""
    for ascii_only in (True, False):
        compact = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
        spaced = json.dumps(value, indent=1, ensure_ascii=ascii_only)
        if not nests_too_deeply(compact):
            assert read(compact) == read(spaced) == (value, None)


@unhurried
@given(json_values, ordinary_text, st.booleans())
def test_a_repeated_key_is_found_in_any_layout(value: Any, key: str, spaced: bool) -> None:
    separators = (", ", " : ") if spaced else (",", ":")
    member = json.dumps({key: value}, separators=separators)[1:-1]
    if not nests_too_deeply(f"[{{{member}}}]"):
        assert read(f"[{{{member},{member}}}]")[1] is JsonFlaw.DUPLICATE_KEY


@unhurried
@given(message_ids, ordinary_text, json_values)
def test_call_comes_back_as_sent(message_id: str, action: str, payload: Any) -> None:
    assert parse(encode_call(message_id, action, payload)) == Call(message_id, action, payload)


@unhurried
@given(message_ids, json_values)
def test_call_result_comes_back_as_sent(message_id: str, payload: Any) -> None:
    assert parse(encode_call_result(message_id, payload)) == CallResult(message_id, payload)


@unhurried
@given(message_ids, codes, ordinary_text, st.dictionaries(ordinary_text, json_values, max_size=3))
def test_call_error_comes_back_as_sent(
    message_id: str, code: CallErrorCode, description: str, details: dict[str, Any]
) -> None:
    text = encode_call_error(message_id, CallError(code, description, details))
    expected = CallErrorFrame(message_id, code.value, description[:255], details)
    assert parse(text) == expected


@unhurried
@given(hostile_texts)
def test_parse_never_raises_and_what_it_answers_is_a_frame(text: str) -> None:
    match parse(text):
        case Malformed(answer=CallError() as answer) as malformed:
            assert isinstance(
                parse(encode_call_error(malformed.message_id, answer)), CallErrorFrame
            )


@unhurried
@given(st.lists(hostile_texts, max_size=8))
def test_session_survives_any_text_and_sends_at_most_one_error_for_each(texts: list[str]) -> None:
    session = RpcSession(Role.CSMS)
    session.call(Action.CLEAR_CACHE, {}, message_id="a", now=0)
    session.data_to_send()
    for text in texts:
        session.receive_text(text, 0)
        sent = session.data_to_send()
        assert len(sent) <= 1
        assert all(isinstance(parse(one), CallErrorFrame) for one in sent)


class RpcConversation(RuleBasedStateMachine):
    """Both sides do what they like; the promises of csms.ocpp.rpc hold after every step."""

    received = Bundle("received")

    @initialize()
    def connect(self) -> None:
        self.session = RpcSession(
            Role.CSMS, call_timeout=10, outgoing_limit=3, backlog_limit=2, remembered_answers=3
        )
        self.now = 0.0
        self.next_id = 0
        self.wanted: list[str] = []  # ids of CALLs that the session took from us
        self.sent: list[str] = []  # those on the wire, in order
        self.finished: Counter[str] = Counter()
        self.in_hand: list[CallReceived] = []  # handed to us and not yet answered
        self.remembered: deque[str] = deque(maxlen=3)  # ids whose answers the session still has
        self.arrived: Counter[str] = Counter()  # CALL frames by id
        self.answered: Counter[str] = Counter()  # answers on the wire by id

    def observe(self) -> None:
        for text in self.session.data_to_send():
            match parse(text):
                case Call(message_id=message_id):
                    self.sent.append(message_id)
                case CallResult(message_id=message_id) | CallErrorFrame(message_id=message_id):
                    self.answered[message_id] += 1
        for event in self.session.events():
            match event:
                case CallReceived():
                    assert event.message_id not in self.remembered, "handled twice"
                    self.in_hand.append(event)
                case CallAnswered(message_id=message_id) | CallFailed(message_id=message_id):
                    self.finished[message_id] += 1
                case ProtocolViolation(count=count):
                    assert count > 0

    @rule(valid=st.booleans())
    def we_call(self, *, valid: bool) -> None:
        self.next_id += 1
        message_id = f"ours-{self.next_id}"
        payload = {"type": "OnIdle"} if valid else {}
        try:
            self.session.call(Action.RESET, payload, message_id=message_id, now=self.now)
        except LocalError:
            assert not valid or len(self.wanted) - self.finished.total() == 4
        else:
            assert valid
            self.wanted.append(message_id)
        self.observe()

    @rule(position=st.integers(0, 5))
    def we_cancel(self, position: int) -> None:
        if position < len(self.wanted):
            message_id = self.wanted[position]
            before = self.finished[message_id]
            cancelled = self.session.cancel(message_id)
            assert not (cancelled and message_id in self.sent)
            self.observe()
            assert self.finished[message_id] == before + cancelled

    @rule(
        back=st.integers(0, 3),
        answer=st.sampled_from(
            [
                '[3,"{}",{{"status":"Accepted"}}]',
                '[3,"{}",{{}}]',
                '[4,"{}","X","",{{}}]',
                '[3,"{}"]',
            ]
        ),
    )
    def they_answer(self, back: int, answer: str) -> None:
        message_id = self.sent[-1 - back] if back < len(self.sent) else "never-sent"
        before = self.finished[message_id]
        open_before = before == 0 and message_id in self.sent
        self.session.receive_text(answer.format(message_id), self.now)
        self.observe()
        assert self.finished[message_id] == before + open_before

    @rule(target=received, number=st.integers(0, 7), csr=st.sampled_from(["x", "y"]))
    def they_call(self, number: int, csr: str) -> str:
        message_id = f"theirs-{number}"
        self.arrived[message_id] += 1
        text = json.dumps([2, message_id, "SignCertificate", {"csr": csr}])
        self.session.receive_text(text, self.now)
        self.observe()
        return text

    @rule(text=consumes(received))
    def they_repeat(self, text: str) -> None:
        self.arrived[json.loads(text)[1]] += 1
        self.session.receive_text(text, self.now)
        self.observe()

    @rule(accept=st.booleans())
    def we_answer(self, *, accept: bool) -> None:
        if not self.in_hand:
            return
        call = self.in_hand.pop()
        self.remembered.append(call.message_id)
        if accept:
            self.session.reply(call, {"status": "Accepted"})
        else:
            self.session.refuse(call, CallError(CallErrorCode.INTERNAL_ERROR))
        self.observe()
        try:
            self.session.reply(call, {"status": "Accepted"})
        except LocalError:
            return
        raise AssertionError("answered twice")

    @rule(text=st.text() | nearly_frames)
    def they_babble(self, text: str) -> None:
        match parse(text):
            case Call(message_id=message_id) | Malformed(message_id=message_id):
                self.arrived[message_id] += 1
        self.session.receive_text(text, self.now)
        self.observe()

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.session.handle_timeout(self.now)
        self.observe()
        due = self.session.next_timeout()
        assert due is None or due > self.now

    @invariant()
    def at_most_one_call_is_outstanding(self) -> None:
        if hasattr(self, "session"):
            outstanding = [one for one in self.sent if not self.finished[one]]
            assert len(outstanding) <= 1
            assert (self.session.next_timeout() is not None) == bool(outstanding)

    @invariant()
    def at_most_one_call_is_in_hand(self) -> None:
        assert len(getattr(self, "in_hand", [])) <= 1

    @invariant()
    def no_frame_is_answered_more_than_once(self) -> None:
        for message_id, answers in getattr(self, "answered", Counter()).items():
            assert answers <= self.arrived[message_id]

    @invariant()
    def ours_go_out_in_order_and_never_twice(self) -> None:
        sent = getattr(self, "sent", [])
        assert len(set(sent)) == len(sent)
        assert sent == [one for one in self.wanted if one in sent] if sent else True

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        self.session.close(self.now)
        for event in self.session.events():
            assert isinstance(event, CallFailed)
            assert event.why is FailureReason.CLOSED
            self.finished[event.message_id] += 1
        assert self.session.data_to_send() == []
        assert self.finished == Counter(self.wanted), "every CALL of ours ends exactly once"


TestRpcConversation = RpcConversation.TestCase
TestRpcConversation.settings = settings(unhurried, max_examples=100, stateful_step_count=40)
