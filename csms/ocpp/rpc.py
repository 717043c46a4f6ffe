"""The RPC layer of OCPP-J, sans I/O (Part 4 §4): text and time in, text and events out.

One `RpcSession` serves one connection. After every method that may have changed something the
caller drains `events()` and sends `data_to_send()`, and sets a timer for `next_timeout()`. The
session promises:

1. At most one CALL of ours is outstanding; others wait in a bounded queue (§4.1.1, FR.01).
2. A peer's CALL reaches the caller decoded, one at a time, in order of arrival. A peer that does
   not wait (FR.01) is queued up to a bound, and beyond it reported and not answered.
3. Every CALL is answered at most once by the caller. A repeat of a message id with the same
   content gets the stored answer, with other content `SecurityError` (§4.1.4); a repeat of what
   is still being handled is not handled twice.
4. A CALLRESULT is decoded by the schema of the CALL it answers; one that does not fit fails that
   CALL here, and nothing is sent (FR.06 is OCPP 2.1).
5. No text makes `receive_text` raise.

Left to the caller: answering `SecurityError` before the boot is accepted (FR.04), closing a
connection after too many violations, message ids that are unique over all connections (§4.1.4),
acknowledging only after the commit, and redaction of `json` (csms.ocpp.redaction).
"""

import hashlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from csms.ocpp.actions import RECEIVED_BY, SENT_BY, Action, Kind, Role
from csms.ocpp.errors import (
    CallError,
    CallErrorCode,
    InvalidPayload,
    MessageIdInUse,
    ProtocolError,
    QueueFull,
    SessionClosed,
    UnknownCall,
)
from csms.ocpp.frames import (
    Call,
    CallErrorFrame,
    CallResult,
    Malformed,
    encode_call,
    encode_call_error,
    encode_call_result,
    is_message_id,
    parse,
)
from csms.ocpp.messages.base import Message
from csms.ocpp.schemas import decode, encode
from csms.ocpp.strict_json import Json, flaw_of

__all__ = [
    "CallAnswered",
    "CallFailed",
    "CallReceived",
    "Event",
    "FailureReason",
    "MessageId",
    "ProtocolViolation",
    "Role",
    "RpcSession",
    "ViolationKind",
]

MessageId = str

CALL_TIMEOUT_SECONDS: Final = 30.0  # Part 2 §3.2 suggests it, nothing prescribes one
OUTGOING_LIMIT: Final = 32  # CALLs of ours that wait for one slow station
BACKLOG_LIMIT: Final = 16  # CALLs of a station that does not wait for its answers (threat D09)
REMEMBERED_ANSWERS: Final = 16  # repeats follow a lost answer closely; 10,000 sessions hold these
REMEMBERED_IDS: Final = 64  # our own


class FailureReason(StrEnum):
    TIMEOUT = "timeout"
    CALL_ERROR = "call_error"  # the peer refused; `error` is what it said
    INVALID_ANSWER = "invalid_answer"  # the answer broke the schema; `error` says how
    CANCELLED = "cancelled"  # taken out of the queue, never sent
    CLOSED = "closed"  # the connection ended first; whether the peer acted is unknown


class ViolationKind(StrEnum):
    MALFORMED_FRAME = "malformed_frame"
    INVALID_CALL = "invalid_call"  # a CALL that its schema, or the list of actions, refuses
    UNKNOWN_ANSWER = "unknown_answer"  # CALLRESULT or CALLERROR for no CALL of ours
    LATE_ANSWER = "late_answer"  # the CALL had timed out; slow rather than hostile
    MESSAGE_ID_REUSED = "message_id_reused"  # same id, other content: a security event
    CALL_FLOOD = "call_flood"  # more unanswered CALLs than the backlog holds


@dataclass(frozen=True, slots=True)
class CallReceived:
    """To be answered by `reply` or `refuse`. Payloads may hold secrets and stay out of repr."""

    message_id: MessageId
    action: Action
    payload: Message = field(repr=False)
    json: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallAnswered:
    message_id: MessageId
    action: Action
    payload: Message = field(repr=False)
    json: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class CallFailed:
    message_id: MessageId
    action: Action
    why: FailureReason
    error: CallError | None = None


@dataclass(frozen=True, slots=True)
class ProtocolViolation:
    """`count` is how often this kind has happened on this session; the caller sets the limit."""

    kind: ViolationKind
    count: int
    code: CallErrorCode | None = None  # what it was answered with, if it was


Event = CallReceived | CallAnswered | CallFailed | ProtocolViolation


@dataclass(frozen=True, slots=True)
class _Outgoing:
    message_id: MessageId
    action: Action
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Incoming:
    call: CallReceived
    fingerprint: bytes


class RpcSession:
    def __init__(
        self,
        role: Role,
        *,
        call_timeout: float = CALL_TIMEOUT_SECONDS,
        outgoing_limit: int = OUTGOING_LIMIT,
        backlog_limit: int = BACKLOG_LIMIT,
        remembered_answers: int = REMEMBERED_ANSWERS,
        unwelcome: Callable[[str], CallError | None] = lambda _: None,
    ) -> None:
        """`unwelcome` is asked about the action of a CALL that is refused for its own faults: its
        error goes before theirs, so that a peer that may not speak yet is told that and no more.
        """
        self._sends = SENT_BY[role]
        self._receives = RECEIVED_BY[role]
        self._call_timeout = call_timeout
        self._outgoing_limit = outgoing_limit
        self._backlog_limit = backlog_limit
        self._remembered_answers = remembered_answers
        self._unwelcome = unwelcome
        self._closed = False
        self._events: list[Event] = []
        self._data: list[str] = []
        self._violations: Counter[ViolationKind] = Counter()
        # Ours: the CALL on its way, its deadline, those behind it, and ids used lately.
        self._outstanding: _Outgoing | None = None
        self._deadline: float | None = None
        self._queue: deque[_Outgoing] = deque()
        self._own_ids: deque[MessageId] = deque(maxlen=REMEMBERED_IDS)
        self._timed_out: deque[MessageId] = deque(maxlen=REMEMBERED_IDS)
        # Theirs: the first is being handled, the others wait; then answers given lately.
        self._backlog: deque[_Incoming] = deque()
        self._answers: OrderedDict[MessageId, tuple[bytes, str]] = OrderedDict()

    # What the caller reads

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> list[str]:
        """Text frames to send, in order, since the last call."""
        data, self._data = self._data, []
        return data

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`; changes with every call of any other method."""
        return self._deadline

    @property
    def violations(self) -> int:
        """Rules broken by the peer so far; a late answer is not one."""
        return self._violations.total() - self._violations[ViolationKind.LATE_ANSWER]

    # What the caller wants

    def call(
        self, action: Action, payload: Json | Message, *, message_id: MessageId, now: float
    ) -> None:
        """Send a CALL, or queue it behind the outstanding one.

        Raises SessionClosed, InvalidPayload, MessageIdInUse or QueueFull; then nothing is sent.
        """
        self._require_open()
        if action not in self._sends:
            raise InvalidPayload(f"{action} does not go in this direction")
        if not is_message_id(message_id):
            raise InvalidPayload("a message id is a string of 1 to 36 characters")
        if message_id in self._own_ids or any(one.message_id == message_id for one in self._queue):
            raise MessageIdInUse
        content = _checked(action, Kind.REQUEST, payload)
        outgoing = _Outgoing(message_id, action, encode_call(message_id, action, content))
        if self._outstanding is not None and len(self._queue) >= self._outgoing_limit:
            raise QueueFull
        self._queue.append(outgoing)
        if self._outstanding is None:
            self._send_next(now)

    def cancel(self, message_id: MessageId) -> bool:
        """Take a CALL out of the queue. False when it was sent already, or never asked for."""
        for outgoing in self._queue:
            if outgoing.message_id == message_id:
                self._queue.remove(outgoing)
                self._fail(outgoing, FailureReason.CANCELLED)
                return True
        return False

    def reply(self, call: CallReceived, payload: Json | Message) -> None:
        """Answer with a CALLRESULT, after the commit of whatever must not be lost.

        Raises InvalidPayload when the answer does not fit its schema: the CALL is then still
        unanswered, and `refuse` with InternalError is the way out.
        """
        self._require_unanswered(call)
        content = _checked(call.action, Kind.RESPONSE, payload)
        self._answer(encode_call_result(call.message_id, content))

    def refuse(self, call: CallReceived, error: CallError) -> None:
        """Answer with a CALLERROR."""
        self._require_unanswered(call)
        self._answer(encode_call_error(call.message_id, error))

    def close(self, now: float) -> None:  # noqa: ARG002 - every input of the session is dated
        """The connection ended: fail what is pending, forget what is unanswered, send nothing."""
        if self._closed:
            return
        self._closed = True
        if self._outstanding is not None:
            self._fail(self._outstanding, FailureReason.CLOSED)
        for outgoing in self._queue:
            self._fail(outgoing, FailureReason.CLOSED)
        self._outstanding = self._deadline = None
        self._queue.clear()
        self._backlog.clear()
        self._data.clear()

    # What happens to it

    def handle_timeout(self, now: float) -> None:
        """Fail the outstanding CALL if its time is up, and send the next."""
        if self._outstanding is not None and self._deadline is not None and now >= self._deadline:
            self._timed_out.append(self._outstanding.message_id)
            self._fail(self._outstanding, FailureReason.TIMEOUT)
            self._send_next(now)

    def receive_text(self, text: str, now: float) -> None:
        """Take one text frame. Never raises; after `close` it does nothing."""
        if self._closed:
            return
        match parse(text):
            case Call() as call:
                self._receive_call(call)
            case Malformed(answer=CallError() as answer) as malformed:
                self._data.append(encode_call_error(malformed.message_id, answer))
                self._violation(ViolationKind.MALFORMED_FRAME, answer.code)
            case Malformed() as malformed:
                self._violation(ViolationKind.MALFORMED_FRAME)
                if (ours := self._answered_by(malformed.message_id)) is not None:
                    self._fail(ours, FailureReason.INVALID_ANSWER)
                    self._send_next(now)
            case answer:
                self._receive_answer(answer, now)

    # CALLs of the peer

    def _receive_call(self, call: Call) -> None:
        if self._is_repeat(call):
            return
        try:
            action = self._known(call.action)
            payload = decode(action, Kind.REQUEST, call.payload)
        except ProtocolError as error:
            answer = self._unwelcome(call.action) or error.call_error
            self._data.append(encode_call_error(call.message_id, answer))
            self._violation(ViolationKind.INVALID_CALL, answer.code)
            return
        # The backlog's first is with the caller, so a bound of n lets n more wait behind it.
        if len(self._backlog) > self._backlog_limit:
            self._violation(ViolationKind.CALL_FLOOD)
            return
        received = CallReceived(call.message_id, action, payload, call.payload)
        self._backlog.append(_Incoming(received, _fingerprint(call)))
        if len(self._backlog) == 1:
            self._events.append(received)

    def _is_repeat(self, call: Call) -> bool:
        """Part 4 §4.1.4: a retry may reuse its id, and is then answered, not done, again."""
        known = {one.call.message_id: (one.fingerprint, "") for one in self._backlog}
        seen = self._answers.get(call.message_id) or known.get(call.message_id)
        if seen is None:
            return False
        fingerprint, answer = seen
        if fingerprint != _fingerprint(call):
            error = CallError(CallErrorCode.SECURITY_ERROR, "The message id was used before.")
            self._data.append(encode_call_error(call.message_id, error))
            self._violation(ViolationKind.MESSAGE_ID_REUSED, error.code)
        elif answer:
            self._data.append(answer)
        return True

    def _known(self, name: str) -> Action:
        """Part 4 §4.3: NotImplemented is an unknown action, NotSupported one not offered here."""
        try:
            action = Action(name)
        except ValueError:
            raise ProtocolError(
                CallErrorCode.NOT_IMPLEMENTED, "The action is no message of OCPP 2.0.1."
            ) from None
        if action not in self._receives:
            raise ProtocolError(
                CallErrorCode.NOT_SUPPORTED, f"{action} does not go in this direction."
            )
        return action

    def _require_unanswered(self, call: CallReceived) -> None:
        self._require_open()
        if not self._backlog or self._backlog[0].call is not call:
            raise UnknownCall

    def _answer(self, text: str) -> None:
        """Send, remember for a repeat, and hand out the next CALL."""
        done = self._backlog.popleft()
        self._data.append(text)
        self._answers[done.call.message_id] = (done.fingerprint, text)
        if len(self._answers) > self._remembered_answers:
            self._answers.popitem(last=False)
        if self._backlog:
            self._events.append(self._backlog[0].call)

    # CALLs of ours

    def _receive_answer(self, answer: CallResult | CallErrorFrame, now: float) -> None:
        ours = self._answered_by(answer.message_id)
        if ours is None:
            self._receive_unexpected(answer.message_id)
            return
        if isinstance(answer, CallErrorFrame):
            self._fail(ours, FailureReason.CALL_ERROR, _as_error(answer))
        else:
            self._receive_result(ours, answer)
        self._send_next(now)

    def _receive_unexpected(self, message_id: MessageId) -> None:
        """Dropped; late once is slowness, a second time it is an invention like any other."""
        if message_id in self._timed_out:
            self._timed_out.remove(message_id)
            self._violation(ViolationKind.LATE_ANSWER)
        else:
            self._violation(ViolationKind.UNKNOWN_ANSWER)

    def _receive_result(self, ours: _Outgoing, result: CallResult) -> None:
        try:
            payload = decode(ours.action, Kind.RESPONSE, result.payload)
        except ProtocolError as error:
            self._fail(ours, FailureReason.INVALID_ANSWER, error.call_error)
            return
        self._events.append(CallAnswered(ours.message_id, ours.action, payload, result.payload))

    def _answered_by(self, message_id: MessageId) -> _Outgoing | None:
        ours = self._outstanding
        return ours if ours is not None and ours.message_id == message_id else None

    def _send_next(self, now: float) -> None:
        self._outstanding = self._deadline = None
        if self._queue:
            self._outstanding = self._queue.popleft()
            self._deadline = now + self._call_timeout
            self._own_ids.append(self._outstanding.message_id)
            self._data.append(self._outstanding.text)

    def _fail(
        self, outgoing: _Outgoing, why: FailureReason, error: CallError | None = None
    ) -> None:
        self._events.append(CallFailed(outgoing.message_id, outgoing.action, why, error))

    # Both

    def _violation(self, kind: ViolationKind, code: CallErrorCode | None = None) -> None:
        self._violations[kind] += 1
        self._events.append(ProtocolViolation(kind, self._violations[kind], code))

    def _require_open(self) -> None:
        if self._closed:
            raise SessionClosed


def _checked(action: Action, kind: Kind, payload: Json | Message) -> Json:
    """What we send is held to the same rules as what we receive."""
    content = encode(payload) if isinstance(payload, Message) else payload
    if flaw := flaw_of(content):
        raise InvalidPayload(f"{action}{kind}: {flaw.replace('_', ' ')}")
    try:
        decode(action, kind, content)
    except ProtocolError as error:
        raise InvalidPayload(f"{action}{kind}: {error.description}") from error
    return content


def _fingerprint(call: Call) -> bytes:
    """Of the content rather than the text: white space and order of keys mean nothing."""
    content = msgspec.json.encode([call.action, call.payload], order="sorted")
    return hashlib.blake2b(content, digest_size=16).digest()


def _as_error(frame: CallErrorFrame) -> CallError:
    """What the peer said, with a code of ours: an invented one becomes GenericError."""
    known = {code.value: code for code in CallErrorCode}
    code = known.get(frame.code, CallErrorCode.GENERIC_ERROR)
    return CallError(code, frame.description, frame.details)
