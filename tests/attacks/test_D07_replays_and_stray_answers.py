"""D07, D08, T7: replayed CALLs, and answers that nobody asked for.

What is remembered of message ids is one session's; in the next session a replay is handled again,
and each message must bear that (docs/adr/0024).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from csms.adapters.station_link import BusStationLink
from csms.domain.certificate import RequestStatus
from csms.domain.station import Station
from csms.ocpp.actions import Action
from csms.ports.station_link import InvalidAnswer, NoAnswer, StationRefused
from tests.attacks.hostile import HostileStation, basic, frame, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import BOOT, PASSWORD, World


def new_csr() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SN-REPLAY")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
# One of each, under the ids of a counter that starts again at every boot, as real ones do.
RECORDED: tuple[tuple[str, Any], ...] = (
    ("BootNotification", BOOT),
    ("Heartbeat", {}),
    (
        "StatusNotification",
        {"timestamp": EARLY, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1},
    ),
    ("SecurityEventNotification", {"type": "TamperDetectionActivated", "timestamp": EARLY}),
    ("SignCertificate", {"csr": new_csr()}),
)  # fmt: skip
LATER_STATUS = {"timestamp": LATE, "connectorStatus": "Faulted", "evseId": 1, "connectorId": 1}


def texts() -> list[str]:
    return [json.dumps([2, str(number), *call]) for number, call in enumerate(RECORDED, 1)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


class Party:
    """A station of the tests: how it connects, and what is stored of it."""

    def __init__(self, fort: Keep, identity: str) -> None:
        self.fort = fort
        self.station: Station = fort.add(identity, f"SN-{identity}")

    @contextmanager
    def session(self) -> Iterator[HostileStation]:
        with self.fort.visit(2) as wire:
            name = self.station.registered_as
            header = f"Authorization: {basic(name, PASSWORD)}"
            assert wire.ask(upgrade(f"/ocpp/{name}", header)).status == 101
            yield wire

    def stored(self) -> dict[str, Any]:
        return self.fort.do(self._stored())

    async def _stored(self) -> dict[str, Any]:
        async with self.fort.home.store.reading() as work:
            connectors = await work.stations.connectors(self.station.id)
            events = await work.security_events.page(
                station_id=self.station.id, limit=50, cursor=None
            )
            requests = await work.certificate_requests.page(status=None, limit=50, cursor=None)
            now = await work.stations.by_id(self.station.id)
        assert now is not None
        return {
            "status": (now.registration_status, now.booted_as),
            "connectors": [(one.evse_id, one.status) for one in connectors],
            "events": [(event.type, event.occurred_at) for event in events.items],
            "requests": [
                (request.id, request.status)
                for request in requests.items
                if request.station_id == self.station.id
            ],
        }


def say(wire: HostileStation, text: str) -> Any:
    wire.send(frame(text.encode()))
    return wire.read_text()


def say_all(wire: HostileStation) -> list[Any]:
    return [say(wire, text) for text in texts()]


def test_a_replay_changes_nothing(world: World, tmp_path: Path, scoreboard: Scoreboard) -> None:
    """In the same session the stored answers; later each message again, and nothing by it."""
    row = scoreboard.row("D07", "five recorded CALLs: same session, next, other station, restart")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        party, other = Party(fort, "REPLAY"), Party(fort, "OTHER")
        untouched = other.stored()
        with party.session() as wire:
            first = say_all(wire)
            assert {answer[0] for answer in first} == {3}
            before = party.stored()
            assert [len(before[what]) for what in ("connectors", "events", "requests")] == [1, 1, 1]
            assert say_all(wire) == first, "word for word, the time of the Heartbeat too"
            assert party.stored() == before
            row.count(len(first))
            for number in range(20):  # until the session has forgotten them
                assert say(wire, f'[2,"beat-{number}","Heartbeat",{{}}]')[0] == 3
            again(say_all(wire), first, party.stored(), before, events=2)
            row.count(len(first))
            say(wire, json.dumps([2, "later", "StatusNotification", LATER_STATUS]))
        with party.session() as wire:
            newer = party.stored()
            assert newer["connectors"] == [(1, "Faulted")]
            again(say_all(wire), first, party.stored(), newer, events=3)
            row.count(len(first))
        assert other.stored() == untouched
        with other.session() as wire:
            before = party.stored()
            assert {answer[0] for answer in say_all(wire)} == {3}
            row.count(len(first))
            assert party.stored() == before, "it speaks for itself alone"
    with keep(world, tmp_path) as fort:
        party.fort = fort
        with party.session() as wire:
            again(say_all(wire), first, party.stored(), before, events=4)
            row.count(len(first))


def again(
    answers: list[Any],
    first: list[Any],
    after: dict[str, Any],
    before: dict[str, Any],
    *,
    events: int,
) -> None:
    """Answered as before; a security event is an observation more, and nothing else is changed.

    An old report of a connector does not hide a newer one, and the CSR joins the request that is
    there: one certificate at most.
    """
    assert [answer[:2] for answer in answers] == [answer[:2] for answer in first]
    assert [answer[2].get("status") for answer in answers] == [
        answer[2].get("status") for answer in first
    ]
    assert after | {"events": None} == before | {"events": None}
    assert len(after["requests"]) == 1
    assert after["requests"][0][1] is RequestStatus.OPEN
    assert len(after["events"]) == events
    assert len(set(after["events"])) == 1


def test_a_counter_that_starts_again_is_no_replay(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Real stations count their ids from the same number after each boot."""
    row = scoreboard.row("D07 T7", "known ids with other content, in the next session")
    with keep(world, tmp_path) as fort:
        party = Party(fort, "COUNTS")
        with party.session() as wire:
            say_all(wire)
        with party.session() as wire:
            for number in range(1, 6):
                with row.attempt():
                    event = {"type": f"Event{number}", "timestamp": EARLY}
                    text = json.dumps([2, str(number), "SecurityEventNotification", event])
                    assert say(wire, text) == [3, str(number), {}]
        assert len(party.stored()["events"]) == 6


# D08

HOSTILE_TEXT = '\\u001b[2J\\r\\n{\\"level\\":\\"info\\"} <script>%s' + "x" * 9000


def ask(fort: Keep, party: Party, seconds: float = 30) -> Future[Any]:
    link = BusStationLink(fort.home.bus, seconds)
    work = link.call(party.station.id, Action.GET_BASE_REPORT, REPORT)
    return asyncio.run_coroutine_threadsafe(work, fort._loop)


REPORT = {"requestId": 1, "reportBase": "FullInventory"}


def test_stray_answers_end_nothing_but_their_own_session(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("D08", "answers to unknown, foreign, old and answered CALLs")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        party, other = Party(fort, "ASKED"), Party(fort, "STRANGER")
        with party.session() as wire:
            asked = ask(fort, party)
            message_id = wire.read_text()[1]
            good = f'[3,"{message_id}",{{"status":"Accepted"}}]'
            with other.session() as stranger, row.attempt():
                stranger.send(frame(good.encode()) * 2)
                assert stranger.call("Heartbeat", {})[0] == 3
                assert not asked.done(), "the answer of another station"
            with row.attempt():
                wire.send(frame(b'[3,"unknown",{}]'))
                assert wire.call("Heartbeat", {})[0] == 3
                assert not asked.done()
            with row.attempt():
                wire.send(frame(good.encode()) * 2)  # the second answers nothing
                assert asked.result(10) == {"status": "Accepted"}
                assert wire.call("Heartbeat", {})[0] == 3
            lost = ask(fort, party)
            old_id = wire.read_text()[1]
        with row.attempt():
            assert isinstance(lost.exception(10), NoAnswer)
        with party.session() as wire:
            asked = ask(fort, party)
            current = wire.read_text()[1]
            with row.attempt():  # of the epoch before
                wire.send(frame(f'[3,"{old_id}",{{"status":"Accepted"}}]'.encode()))
                assert wire.call("Heartbeat", {})[0] == 3
                assert not asked.done()
            wire.send(frame(f'[3,"{current}",{{"status":"NotSupported"}}]'.encode()))
            assert asked.result(10) == {"status": "NotSupported"}
            with row.attempt():  # and too many of them are the end
                wire.send(frame(b'[3,"unknown",{}]') * 25)
                assert wire.close_code() == 1008
        events = [event for event, _ in party.stored()["events"]]
        assert events == ["InvalidMessages"]
        assert other.stored()["events"] == []


BAD_ANSWERS: tuple[tuple[str, type[Exception]], ...] = (
    ('[3,"ID",{"status":"Maybe"}]', InvalidAnswer),
    ('[3,"ID",{}]', InvalidAnswer),
    ('[3,"ID",[]]', InvalidAnswer),
    ('[3,"ID",null]', InvalidAnswer),
    ('[3,"ID"]', InvalidAnswer),
    ('[3,"ID",{"status":"Accepted"},{}]', InvalidAnswer),
    ('[3,"ID",{"status":"Accepted","status":"Accepted"}]', InvalidAnswer),
    ('[3,"ID",{"currentTime":"2026-01-01T00:00:00Z"}]', InvalidAnswer),  # of another action
    (f'[4,"ID","InternalError","{HOSTILE_TEXT}",{{}}]', StationRefused),
    (f'[4,"ID","{HOSTILE_TEXT}","",{{"a":[1]}}]', StationRefused),
    (f'[4,"ID","GenericError","",{{"{HOSTILE_TEXT}":1}}]', StationRefused),
    ('[4,"ID","GenericError"]', InvalidAnswer),
    ('[4,"ID","GenericError","\\u0000",{}]', InvalidAnswer),
)


def test_a_bad_answer_fails_the_call_it_answers(
    world: World, tmp_path: Path, scoreboard: Scoreboard, capfd: pytest.CaptureFixture[str]
) -> None:
    row = scoreboard.row("D08", "CALLRESULTs that break the schema, CALLERRORs of hostile text")
    with keep(world, tmp_path) as fort, Witness(fort), fort.bounded_lag():
        party = Party(fort, "ASKED")
        for answer, error in BAD_ANSWERS:
            with row.attempt(), party.session() as wire:
                asked = ask(fort, party)
                message_id = wire.read_text()[1]
                wire.send(frame(answer.replace("ID", message_id).encode()))
                failure = asked.exception(10)
                assert isinstance(failure, error), answer
                assert len(str(failure)) < 300
                asked = ask(fort, party)  # the line is free again
                message_id = wire.read_text()[1]
                wire.send(frame(f'[3,"{message_id}",{{"status":"Accepted"}}]'.encode()))
                assert asked.result(10) == {"status": "Accepted"}
    assert "script" not in capfd.readouterr().out, "an answer's text is not logged"
