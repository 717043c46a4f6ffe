"""D02, D04, D06, M14, M15: a literal that JSON, the schema or a database would choke on is refused
with a code that fits, or it is kept and can be read: in every field of every inbound message.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # it ships no types

from csms.domain.station import SecurityProfile
from csms.ocpp.actions import RECEIVED_BY, Action, Kind, Role
from csms.ocpp.rpc import CallReceived, RpcSession
from csms.ocpp.schemas import encode
from tests.attacks.frame_grammar import HANDLED
from tests.attacks.hostile import HostileStation, basic, frame, upgrade
from tests.attacks.hostile_literals import LITERALS, Reads
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.reading import read_everything
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World
from tests.fixtures.ocpp_corpus import Messages, at, put, schema_of
from tests.fixtures.ocpp_corpus import Path as Place

HERE = "@here@"
INBOUND = sorted(RECEIVED_BY[Role.CSMS])
SCHEMA_CODES = {
    "FormatViolation",
    "OccurrenceConstraintViolation",
    "PropertyConstraintViolation",
    "TypeConstraintViolation",
}


@cache
def fields(action: Action) -> list[tuple[Place, dict[str, Any], str]]:
    """(path, schema, payload text with a mark in that place) of every leaf of the request."""
    draw = Messages(schema_of(action, Kind.REQUEST), Random(f"fields {action}"))
    whole = draw.valid(draw.root, 9.0)  # everything optional is there
    found = []
    for path, schema in draw.places(draw.root, whole):
        first = all(step == 0 for step in path if isinstance(step, int))
        if path and first and schema.get("type") not in {"object", "array"}:
            found.append((path, schema, json.dumps(put(whole, path, HERE))))
    return found


@dataclass(frozen=True, slots=True)
class Cell:
    """One literal in one field."""

    message_id: str
    text: str
    reads: Reads
    place: Place
    schema: dict[str, Any]


def cells(action: Action, stride: int) -> Iterator[Cell]:
    """Each literal in each field, or, by the stride, in every so-manieth."""
    for number, (place, schema, payload) in enumerate(fields(action)):
        for turn, (literal, reads) in enumerate(LITERALS):
            if (number + turn) % stride == 0:
                message_id = f"{number}-{turn}"
                inside = payload.replace(f'"{HERE}"', literal)
                text = f'[2,"{message_id}","{action}",{inside}]'
                yield Cell(message_id, text, reads, place, schema)


def fits(answer: Any, reads: Reads, message_id: str) -> bool:
    """Whether a CALLERROR says what is wrong, under the right id."""
    kind, under, code, *_ = answer
    match reads:
        case Reads.NO_JSON:
            return bool(kind == 4 and (under, code) == ("-1", "RpcFrameworkError"))
        case Reads.FLAWED:
            return bool(kind == 4 and (under, code) == (message_id, "FormatViolation"))
    return bool(under == message_id and (kind == 3 or code in SCHEMA_CODES))


def valid(schema: dict[str, Any], value: Any) -> bool:
    """The rest of the message is; so this decides about all of it, as the reference would."""
    return bool(Draft4Validator(schema).is_valid(value))


def stricter(schema: dict[str, Any], value: Any) -> bool:
    """Where we refuse what the reference takes, on purpose."""
    if schema.get("format") == "date-time" or "type" not in schema:
        return True  # a time that is none; DataTransfer.data and its bounds (D04)
    if schema.get("type") == "integer":
        return bool(abs(value) >= 2**31)
    return bool(schema.get("type") == "number" and abs(value) > 10**15)


def storable(value: Any) -> None:
    """No database, driver or reader known to us chokes on it (M15)."""
    match value:
        case dict():
            for key, part in value.items():
                storable(key)
                storable(part)
        case list():
            for part in value:
                storable(part)
        case str():
            assert "\0" not in value
            value.encode()
        case float():
            assert math.isfinite(value)
        case int():
            assert -(2**63) <= value < 2**64


@pytest.mark.timeout(900)
def test_every_field_of_every_inbound_message(scoreboard: Scoreboard) -> None:
    row = scoreboard.row("D02", "hostile literals in every field of all inbound messages")
    seen: Counter[str] = Counter()
    for action in INBOUND:
        for cell in cells(action, SIZES.literal_stride):
            seen["kept" if is_kept(action, cell) else "refused"] += 1
    row.count(seen.total())
    places = sum(len(fields(action)) for action in INBOUND)
    row.measure(f"{places} fields, {len(LITERALS)} literals, {dict(seen)}")
    assert min(seen["refused"], seen["kept"]) > places


def is_kept(action: Action, cell: Cell) -> bool:
    """Taken whole, or refused with a code that fits."""
    session = RpcSession(Role.CSMS)
    session.receive_text(cell.text, 0)
    answers = [json.loads(one) for one in session.data_to_send()]
    if answers:
        (answer,) = answers
        assert answer[0] == 4
        assert fits(answer, cell.reads, cell.message_id), (cell.text[:500], answer)
        if cell.reads is Reads.VALUE:
            value = at(json.loads(cell.text)[3], cell.place)
            assert not valid(cell.schema, value) or stricter(cell.schema, value), cell.text[:500]
        return False
    assert cell.reads is Reads.VALUE, cell.text[:500]
    (received,) = session.events()
    assert isinstance(received, CallReceived)
    assert valid(cell.schema, at(received.json, cell.place))
    kept = encode(received.payload)
    storable(kept)
    if cell.schema.get("format") != "date-time":
        assert kept == received.json
    return True


# Through the gateway into the database, and out again by the API


class Talker:
    """A station that is thrown out now and then, and comes back."""

    def __init__(self, fort: Keep) -> None:
        self._fort = fort
        plain = SecurityProfile.BASIC
        fort.add("LITERAL", "SN-LITERAL", security_profile=plain, minimum=plain)
        self._wire: HostileStation | None = None

    def says(self, text: str) -> Any:
        """The answer to one CALL, which comes before any close."""
        if self._wire is None:
            self._wire = self._fort.visit(1, seconds=20)
            header = f"Authorization: {basic('LITERAL', PASSWORD)}"
            assert self._wire.ask(upgrade("/ocpp/LITERAL", header)).status == 101
            self._refused = count(1)
        self._wire.send(frame(text.encode()))
        answer = self._wire.read_text()
        if answer[0] == 4 and next(self._refused) == 20:
            assert self._wire.close_code() == 1008
            self.leave()
        return answer

    def leave(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.timeout(900)
def test_what_is_acknowledged_is_stored_and_can_be_read(
    store_url: str, world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """On each database; what the API shows of a security event is what the station said."""
    engine = store_url.partition("+")[0]
    row = scoreboard.row("D02 P25", f"hostile literals in what is stored, {engine}")
    settings = {
        "profile1_port": 0,
        "profile1_networks": ["127.0.0.0/8"],
        "messages_per_second": 100_000,
    }
    kept: list[Any] = []
    seen: Counter[str] = Counter()
    with (
        keep(world, tmp_path, store_url=store_url, **settings) as fort,
        Witness(fort),
        fort.bounded_lag(),
    ):
        talker = Talker(fort)
        for action in map(Action, HANDLED):
            for cell in cells(action, SIZES.stored_stride):
                if len(cell.text.encode()) > 65_000:
                    continue  # D04: the gateway's own bound, another test's
                answer = talker.says(cell.text)
                assert fits(answer, cell.reads, cell.message_id), (cell.text[:500], answer)
                assert answer[2:3] != ["InternalError"], cell.text[:500]
                seen["kept" if answer[0] == 3 else "refused"] += 1
                if answer[0] == 3 and action is Action.SECURITY_EVENT_NOTIFICATION:
                    kept.append(json.loads(cell.text)[3])
        talker.leave()
    shown = [
        event
        for event in read_everything(store_url)["/security-events"]
        if event["source"] == "station"
    ]
    assert len(shown) == len(kept) > 0
    said = Counter((event["type"], event.get("techInfo") or None) for event in kept)
    assert Counter((event["type"], event["tech_info"]) for event in shown) == said
    assert all(datetime.fromisoformat(event["occurred_at"]).year in YEARS for event in shown)
    row.count(seen.total())
    row.measure(f"{dict(seen)}")


YEARS = range(1969, 2102)  # by its own offset an instant is of 1970 to 2100
