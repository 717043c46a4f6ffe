"""P24, P25, D06: frames of every kind through a real gateway, in every state of a session.

Each CALL is answered once, by its id, in order, with a CALLRESULT of its schema or a CALLERROR; or
the connection is closed. No exception goes unhandled, no task stays behind, and whatever has been
stored can be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from csms.adapters.station_link import BusStationLink
from csms.domain.station import RegistrationStatus, SecurityProfile, Station
from csms.ocpp.actions import Action, Kind
from tests.attacks.frame_grammar import Grammar
from tests.attacks.hostile import HostileStation, basic, frame, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.oracle_frames import ANYTHING, judge
from tests.attacks.oracle_frames import Kind as Judged
from tests.attacks.reading import read_everything
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World
from tests.fixtures.ocpp_corpus import reference

ON_PROFILE_1 = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
PLAIN = {
    "security_profile": SecurityProfile.BASIC,
    "minimum": SecurityProfile.BASIC,
}
BATCH = 9
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
CODES = frozenset(
    """FormatViolation GenericError InternalError MessageTypeNotSupported NotImplemented
    NotSupported OccurrenceConstraintViolation PropertyConstraintViolation ProtocolError
    RpcFrameworkError SecurityError TypeConstraintViolation""".split()  # noqa: SIM905 -- a list of words
)


LIKE_AN_ANSWER = re.compile(r"\s*\[\s*[34]\s*,")


class Fuzzed:
    """One station in one state of its session; it reconnects whenever it is thrown out."""

    def __init__(self, fort: Keep, state: str, station: Station) -> None:
        self.fort = fort
        self.state = state
        self.station = station
        self.wire: HostileStation | None = None
        self.calls: list[Future[Any]] = []
        self.count: Counter[str] = Counter()
        self.markers = 0

    def connected(self) -> HostileStation:
        if self.wire is None:
            self.wire = self.fort.visit(1, seconds=20)
            name = self.station.registered_as
            header = f"Authorization: {basic(name, PASSWORD)}"
            assert self.wire.ask(upgrade(f"/ocpp/{name}", header)).status == 101
            self.count["connections"] += 1
        return self.wire

    def asked(self, wire: HostileStation) -> str:
        """A CALL of ours is on its way to the station."""
        link = BusStationLink(self.fort.home.bus, 30)
        work = link.call(self.station.id, Action.GET_BASE_REPORT, REPORT)
        self.calls.append(asyncio.run_coroutine_threadsafe(work, self.fort._loop))
        call = wire.read_text()
        assert call[0] == 2
        return str(call[1])

    def gone(self) -> None:
        if self.wire is not None:
            self.wire.close()
        self.wire = None

    def send(self, texts: list[str]) -> None:
        """A batch, and a CALL that is always answered behind it."""
        wire = self.connected()
        if self.state == "mid-call":
            form = ANSWERS[self.markers % len(ANSWERS)]
            texts = [form.replace("ID", self.asked(wire)), *texts[1:]]
        self.markers += 1
        marker = f"marker-{self.markers}"
        batch = [*texts, json.dumps([2, marker, "BootNotification", BOOT])]
        with contextlib.suppress(OSError):  # thrown out half-way
            wire.send(b"".join(frame(text.encode()) for text in batch))
        answers: list[Any] = []
        while not answers or answers[-1][1] != marker:
            got = wire.read_frame()
            if got is None or got[0] & 0x0F == 8:
                self.gone()
                self.count["closes"] += 1
                break
            if got[0] & 0x0F == 1:
                answers.append(json.loads(got[1]))
        self.compare(batch, [one for one in answers if one[0] != 2], whole=self.wire is not None)

    def compare(self, batch: list[str], answers: list[Any], *, whole: bool) -> None:
        """In order, one for each that is owed one; fewer only where the connection was closed."""
        owed = [(text, judge(text)) for text in batch]
        owed = [(text, verdict) for text, verdict in owed if verdict.kind is not Judged.DROPPED]
        if whole and len(answers) < len(owed):  # too deep and like an answer: may be dropped
            owed = [
                one for one in owed if one[1].ids != ANYTHING or not LIKE_AN_ANSWER.match(one[0])
            ]
        assert len(answers) == len(owed) if whole else len(answers) <= len(owed), (batch, answers)
        for (text, verdict), answer in zip(owed, answers, strict=False):
            assert verdict.ids == ANYTHING or answer[1] in verdict.ids, (text, answer)
            self.valid(text, answer)

    def valid(self, text: str, answer: Any) -> None:
        if answer[0] == 3:
            action = Action(json.loads(text)[2])
            reference(action, Kind.RESPONSE).validate(answer[2])
            self.count["results"] += 1
            return
        kind, _, code, description, details = answer
        assert kind == 4
        assert code in CODES - {"InternalError"}, (text, answer)
        assert len(description) <= 255
        assert details == {}
        self.count["errors"] += 1


# To the CALL that is outstanding: good, bad or monstrous.
ANSWERS = (
    '[3,"ID",{"status":"Accepted"}]',
    '[3,"ID",{"status":"Accepted","unknown":1}]',
    '[3,"ID",{}]',
    '[3,"ID",[]]',
    '[3,"ID"]',
    '[3,"ID",{"status":"Accepted","status":"Accepted"}]',
    '[3,"ID",{"status":"Accepted","customData":{"vendorId":"v","n":' + "9" * 400 + "}}]",
    '[3,"ID",{"status":"Accepted","customData":{"vendorId":"v","x":"' + "x" * 9000 + '"}}]',
    '[4,"ID","NoSuchCode","' + "<script>\\n\\r%s{}" * 300 + '",{}]',
    '[4,"ID","InternalError","\\u0000",{}]',
    '[4,"ID","InternalError","",{"a":' + "9" * 300 + "}]",
    '[4,"ID",null,null,null]',
)
REPORT = {"requestId": 1, "reportBase": "FullInventory"}
# State -> (what people say about the station, what its last boot was answered with)
STATES = {
    "accepted": (RegistrationStatus.ACCEPTED, RegistrationStatus.ACCEPTED),
    "pending": (RegistrationStatus.PENDING, RegistrationStatus.PENDING),
    "rejected": (RegistrationStatus.REJECTED, RegistrationStatus.REJECTED),
    "never booted": (RegistrationStatus.ACCEPTED, None),
    "mid-call": (RegistrationStatus.ACCEPTED, RegistrationStatus.ACCEPTED),
}


def stations(fort: Keep) -> list[Fuzzed]:
    found = []
    for number, (state, (status, booted)) in enumerate(STATES.items()):
        added = fort.home.add(f"FZ{number}", f"SN-FZ{number}", status=status, **PLAIN)
        station = fort.do(added)
        if booted is not None:
            fort.do(fort.home.booted(station, booted))
        found.append(Fuzzed(fort, state, station))
    return found


def unhandled(fort: Keep) -> list[dict[str, Any]]:
    """What reaches the loop's last resort from now on."""
    found: list[dict[str, Any]] = []
    fort.now(lambda: fort._loop.set_exception_handler(lambda _, context: found.append(context)))
    return found


def until(check: Callable[[], bool], fort: Keep) -> None:
    fort.quiet()
    deadline = fort._loop.time() + 20
    while not check():
        assert fort._loop.time() < deadline
        fort.now(lambda: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.timeout(900)
def test_frames_of_every_kind_in_every_state(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P24", "frames through a real gateway, in five states of a session")
    fast = {"messages_per_second": 100_000, "message_assembly_seconds": 60}
    with (
        capture_logs() as logs,
        keep(world, tmp_path, **ON_PROFILE_1, **fast) as fort,
        Witness(fort),
        fort.bounded_lag(),
    ):
        errors = unhandled(fort)
        fuzzed = stations(fort)
        for each in fuzzed:
            texts = Grammar(f"P24 {each.state}").texts(SIZES.wire_frames // len(fuzzed))
            sendable = (text for text in texts if encodable(text))
            while batch := list(islice(sendable, BATCH)):
                each.send(batch)
                row.count(len(batch))
            each.gone()
        total = sum((each.count for each in fuzzed), Counter[str]())
        for each in fuzzed:
            for call in each.calls:
                outcome = call.exception(60)  # whatever it was, it ended
                total["answered" if outcome is None else type(outcome).__name__] += 1
        until(lambda: fort.home.gateway.health().tasks == 1, fort)  # the witness's
        assert errors == []
        row.measure(f"{dict(total)}, worst lag {fort.worst_lag * 1000:.0f} ms")
    assert [log for log in logs if log["log_level"] in {"error", "critical"}] == []
    assert total["results"] > total["closes"] > 0
    assert {"answered", "StationRefused", "InvalidAnswer"} <= set(total)
    readable = scoreboard.row("P25", "every list of the API after P24")
    found = read_everything(f"sqlite+aiosqlite:///{tmp_path}/csms.db")
    assert found["/security-events"]
    readable.count(sum(map(len, found.values())))


def encodable(text: str) -> bool:
    """What is no UTF-8 is closed by 1007, which is another test's; a frame is 64 KiB."""
    try:
        return len(text.encode()) < 1 << 16
    except UnicodeEncodeError:
        return False
