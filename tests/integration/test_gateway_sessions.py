"""Live sessions: the newest wins, orders to close are obeyed, CALLs go both ways."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from csms.adapters.station_link import BusStationLink
from csms.blocks.dispatch import CALL_HANDLERS
from csms.domain.certificate import CertificateStatus
from csms.domain.station import RegistrationStatus, SecurityProfile, Station
from csms.gateway import connection, sessions
from csms.gateway.handshake import Door
from csms.ocpp.actions import Action
from csms.ports.bus import SESSIONS_CLOSE, station_subject
from csms.ports.station_link import (
    InvalidAnswer,
    NoAnswer,
    NotAllowedNow,
    NotConnected,
    QueueFull,
    StationRefused,
)
from csms.ports.store import StoreUnavailable
from tests.fixtures.gateway_house import (
    BOOT,
    LOOPS,
    PASSWORD,
    House,
    World,
    basic,
    close_code,
    close_order,
    closed_with,
    eventually,
    gone,
    house,
    run,
    talk,
    upgrade,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_station_boots_and_is_answered_after_the_commit(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                kind, _, payload = await talk(client, "BootNotification", BOOT)
                assert (kind, payload["status"]) == (3, "Accepted")
                async with home.store.reading() as work:
                    stored = await work.stations.by_id(station.id)
                assert stored is not None
                assert stored.booted_as is RegistrationStatus.ACCEPTED
                assert (await talk(client, "Heartbeat", {}))[0] == 3
            async with home.connect(2, "cs001") as client:
                # Part 4 §5.3: no second Boot on a mere reconnect.
                assert (await talk(client, "Heartbeat", {}))[0] == 3

    run(loop, main)


def test_before_boot_every_other_call_is_a_security_error(
    loop: str, world: World, tmp_path: Path
) -> None:
    """A14, B01.FR.10."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                for action, payload in (
                    ("Heartbeat", {}),
                    (
                        "SecurityEventNotification",
                        {"type": "X", "timestamp": "2026-01-01T00:00:00Z"},
                    ),
                ):
                    answer = await talk(client, action, payload)
                    assert (answer[0], answer[2]) == (4, "SecurityError")
                assert (await talk(client, "BootNotification", BOOT))[0] == 3
                assert (await talk(client, "Heartbeat", {}))[0] == 3

    run(loop, main)


def test_what_is_not_offered_here_is_not_supported(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            async with home.connect(2, "cs001") as client:
                answer = await talk(client, "ReservationStatusUpdate", RESERVATION)
                assert (answer[0], answer[2]) == (4, "NotSupported")

    run(loop, main)


RESERVATION = {"reservationId": 1, "reservationUpdateStatus": "Expired"}


def test_another_serial_number_on_profile_3_is_answered_and_closed(
    loop: str, world: World, tmp_path: Path
) -> None:
    """B01.FR.11, 12: Answer.close ends the session after the reply."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            await home.certify(station, leaf)
            wrong = {
                "reason": "PowerUp",
                "chargingStation": {"model": "M", "vendorName": "V", "serialNumber": "SN002"},
            }
            async with home.connect(3, "cs001", leaf=leaf) as client:
                answer = await talk(client, "BootNotification", wrong)
                assert answer[2]["status"] == "Rejected"
                assert await closed_with(client) == 1008

    run(loop, main)


def test_a_handlers_bug_costs_one_answer_and_logs_no_payload(
    loop: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken(context: Any, request: Any, work: Any) -> None:
        raise RuntimeError("secret-payload")

    monkeypatch.setattr(
        connection,
        "CALL_HANDLERS",
        {**CALL_HANDLERS, Action.STATUS_NOTIFICATION: broken},
    )

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            async with home.connect(2, "cs001") as client:
                status = {
                    "timestamp": "2026-01-01T00:00:00Z",
                    "connectorStatus": "Available",
                    "evseId": 1,
                    "connectorId": 1,
                }
                answer = await talk(client, "StatusNotification", status)
                assert (answer[0], answer[2]) == (4, "InternalError")
                assert (await talk(client, "Heartbeat", {}))[0] == 3

    run(loop, main)
    said = capsys.readouterr().out
    assert "handler_failed" in said
    assert "secret-payload" not in said


def test_with_the_database_away_the_socket_is_closed_and_nothing_answered(
    loop: str, world: World, tmp_path: Path
) -> None:
    """T6: a CALLERROR would make the station discard what it wants to tell."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                await home.store.close()
                await client.send(json.dumps([2, "1", "BootNotification", BOOT]))
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(client.recv(), 5)
                assert client.close_code == 1013

    run(loop, main)


def test_the_newest_connection_wins_and_the_station_stays_reachable(
    loop: str, world: World, tmp_path: Path
) -> None:
    """A02, A03."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            first = await home.connect(2, "cs001")
            # Another letter case is the same station (T8).
            async with home.connect(2, "CS001") as second:
                assert await closed_with(first) == 1008
                assert (await talk(second, "Heartbeat", {}))[0] == 3
                await asyncio.sleep(0.1)  # the late close of the first has had its chance
                assert (await home.session(station)).epoch == 2
                assert home.gateway.health().sessions == 1
                answering = asyncio.get_running_loop().create_task(answer_one(second))
                reply = await home.link.call(station.id, Action.CLEAR_CACHE, {})
                assert reply == {"status": "Accepted"}
                await answering
                assert await home.events(station) == ["DuplicateStationConnection"]
            await eventually(lambda: home.gateway.health().sessions == 0)
            assert await released(home, station)

    run(loop, main)


async def released(home: House, station: Station) -> bool:
    async with asyncio.timeout(3):
        while await home.session_of(station) is not None:
            await asyncio.sleep(0.01)
    return True


async def answer_one(client: ClientConnection, answer: Any = None, *, error: Any = None) -> Any:
    call = json.loads(await client.recv())
    reply = (
        [3, call[1], answer or {"status": "Accepted"}] if error is None else [4, call[1], *error]
    )
    await client.send(json.dumps(reply))
    return call


def test_a_wrong_credential_does_not_disturb_the_session(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            async with home.connect(2, "cs001") as client:
                request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', 'x' * 40)}")
                assert b" 401 " in await home.answer(2, request)
                assert (await talk(client, "Heartbeat", {}))[0] == 3
                assert (await home.session(station)).epoch == 1

    run(loop, main)


STOPPED_STATION = """
import base64, socket, ssl, sys, time
port, ca, request = int(sys.argv[1]), sys.argv[2], base64.b64decode(sys.argv[3])
context = ssl.create_default_context(cafile=ca)
context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
with socket.create_connection(("127.0.0.1", port)) as raw:
    with context.wrap_socket(raw, server_hostname="localhost") as secure:
        secure.sendall(request)
        print(secure.recv(400)[:12].decode(), flush=True)
        time.sleep(60)
"""


def test_a_stopped_peer_is_displaced_without_waiting_for_it(
    loop: str, world: World, tmp_path: Path
) -> None:
    """A04: SIGSTOP the first station; the second is served at once, the old socket soon gone."""
    (tmp_path / "ca.pem").write_text(world.servers.pem)
    request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            arguments = [str(home.ports["2"]), str(tmp_path / "ca.pem")]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                STOPPED_STATION,
                *arguments,
                base64.b64encode(request).decode(),
                stdout=subprocess.PIPE,
            )
            try:
                assert process.stdout is not None
                assert b"101" in await process.stdout.readline()
                await eventually(lambda: home.gateway.health().sessions == 1)
                os.kill(process.pid, signal.SIGSTOP)
                began = asyncio.get_running_loop().time()
                async with home.connect(2, "cs001") as second:
                    assert (await talk(second, "Heartbeat", {}))[0] == 3
                    assert asyncio.get_running_loop().time() - began < 1.0
                    await eventually(lambda: home.gateway.health().tasks == 1, 2.0)
                    assert (await home.session(station)).epoch == 2
            finally:
                os.kill(process.pid, signal.SIGKILL)
                await process.wait()
                cast("Any", process)._transport.close()  # its pipe, or a ResourceWarning

    run(loop, main)


def test_revocation_closes_the_live_session_by_hint_and_by_cursor(
    loop: str, world: World, tmp_path: Path
) -> None:
    """Decision 7: the hint closes at once; without it the outbox does."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            record = await home.certify(station, leaf)
            async with home.connect(3, "cs001", leaf=leaf) as client:
                began = asyncio.get_running_loop().time()
                order = close_order(station, record.id)
                (reply,) = await home.bus.survey(SESSIONS_CLOSE, order, timeout=1)
                assert (reply["node"], reply["closed"]) == ("node-1", 1)
                assert await closed_with(client) == 1008
                assert asyncio.get_running_loop().time() - began < 1.0
            async with home.connect(3, "cs001", leaf=leaf) as client:
                await in_outbox(home, close_order(None, record.id))
                await home.gateway._sessions.catch_up()
                assert await closed_with(client) == 1008
            # An order that the new connection already took into account does not cut it again.
            await in_outbox(home, close_order(station))
            async with home.connect(3, "cs001", leaf=leaf) as client:
                await home.gateway._sessions.catch_up()
                await client.ping()
                assert home.gateway.health().sessions == 1

    run(loop, main)


async def in_outbox(home: House, order: dict[str, Any]) -> None:
    async with home.store.writing() as work:
        await work.outbox.add(SESSIONS_CLOSE, order)
        await work.commit()


def test_a_lost_hint_costs_one_poll(
    loop: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10: nothing was published; the cursor finds the order, also after an outage."""
    monkeypatch.setattr(sessions, "POLL_SECONDS", 0.05)

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                reading = home.store.reading

                def away() -> Any:
                    monkeypatch.setattr(home.store, "reading", reading)
                    raise StoreUnavailable("once")

                monkeypatch.setattr(home.store, "reading", away)
                await in_outbox(home, close_order(station))
                assert await closed_with(client) == 1008

    run(loop, main)


def test_orders_for_another_certificate_or_for_nobody_close_nothing(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            other = await home.add("CS002", "SN002")
            leaf, old = world.stations.station("SN001"), world.stations.station("SN001")
            await home.certify(station, leaf)
            predecessor = await home.certify(station, old)
            async with home.connect(3, "cs001", leaf=leaf) as client:
                for order in (
                    close_order(station, predecessor.id),
                    close_order(other),
                    {"reason": "nobody is named"},
                    {"station_id": "not a uuid"},
                ):
                    (reply,) = await home.bus.survey(SESSIONS_CLOSE, order, timeout=1)
                    assert reply["closed"] == 0
                await client.ping()

    run(loop, main)


def test_an_order_that_overtakes_a_connection_on_its_way_in_still_closes_it(
    loop: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation between the decision and the registration must not be lost."""
    claimed = Door._claim

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            record = await home.certify(station, leaf)

            async def revoked_meanwhile(self: Door, *arguments: Any) -> Any:
                order = close_order(None, record.id)
                (reply,) = await home.bus.survey(SESSIONS_CLOSE, order, timeout=1)
                assert reply["closed"] == 0
                return await claimed(self, *arguments)

            monkeypatch.setattr(Door, "_claim", revoked_meanwhile)
            async with home.connect(3, "cs001", leaf=leaf) as client:
                assert await closed_with(client) == 1008
            assert await released(home, station)

            async def revoked_in_the_outbox(self: Door, *arguments: Any) -> Any:
                await in_outbox(home, close_order(None, record.id))
                await home.gateway._sessions.catch_up()
                return await claimed(self, *arguments)

            monkeypatch.setattr(Door, "_claim", revoked_in_the_outbox)
            async with home.connect(3, "cs001", leaf=leaf) as client:
                assert await closed_with(client) == 1008

    run(loop, main)


def test_a_session_ends_with_its_certificate(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            soon = datetime.now(UTC) + timedelta(seconds=0.4)
            await home.certify(station, leaf, not_after=soon)
            async with home.connect(3, "cs001", leaf=leaf) as client:
                home.gateway._sessions._close_ended()
                await client.ping()
                await asyncio.sleep(0.5)
                home.gateway._sessions._close_ended()
                assert await closed_with(client) == 1008

    run(loop, main)


def test_calls_to_a_station_end_in_exactly_one_way(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path, call_timeout_seconds=0.3) as home:
            station = await home.add("CS001", "SN001")
            pending = await home.add("CS002", "SN002", status=RegistrationStatus.REJECTED)
            call = home.link.call
            with pytest.raises(NotConnected):
                await call(station.id, Action.CLEAR_CACHE, {})
            assert not await home.link.disconnect(station.id, reason="x")
            await home.booted(pending, RegistrationStatus.REJECTED)
            async with home.connect(2, "cs002"):
                with pytest.raises(NotAllowedNow):
                    await call(pending.id, Action.CLEAR_CACHE, {})
            async with home.connect(2, "cs001") as client:
                with pytest.raises(NoAnswer):  # sent, and never answered
                    await call(station.id, Action.CLEAR_CACHE, {})
                await client.recv()
                with pytest.raises(ValueError, match="ClearCache"):
                    await call(station.id, Action.CLEAR_CACHE, {"no": 1})
                async with asyncio.TaskGroup() as group:
                    group.create_task(answer_one(client, {"status": "Perhaps"}))
                    with pytest.raises(InvalidAnswer):
                        await call(station.id, Action.CLEAR_CACHE, {})
                async with asyncio.TaskGroup() as group:
                    group.create_task(answer_one(client, error=["NotSupported", "no", {}]))
                    with pytest.raises(StationRefused) as refused:
                        await call(station.id, Action.CLEAR_CACHE, {})
                    assert refused.value.code == "NotSupported"
                async with asyncio.TaskGroup() as group:
                    waiting = group.create_task(
                        expecting(NoAnswer, call(station.id, Action.CLEAR_CACHE, {}))
                    )
                    await client.recv()
                    await client.close()
                    await waiting
            with pytest.raises(NotConnected):
                await call(station.id, Action.CLEAR_CACHE, {})

    run(loop, main)


async def expecting(error: Any, awaitable: Awaitable[Any]) -> None:
    with pytest.raises(error):
        await awaitable


def test_disconnect_closes_with_policy(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                assert await home.link.disconnect(station.id, reason="an operator")
                assert await closed_with(client) == 1008
                assert client.close_reason == "an operator"

    run(loop, main)


def test_what_was_triggered_may_be_sent_while_pending(
    loop: str, world: World, tmp_path: Path
) -> None:
    """B02, A02: a Pending station is asked for its CSR."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001", status=RegistrationStatus.PENDING)
            async with home.connect(2, "cs001") as client:
                await talk(client, "BootNotification", BOOT)
                assert (await talk(client, "SignCertificate", {"csr": "x"}))[2] == "SecurityError"
                trigger = {"requestedMessage": "SignChargingStationCertificate"}
                async with asyncio.TaskGroup() as group:
                    group.create_task(answer_one(client))
                    await home.link.call(station.id, Action.TRIGGER_MESSAGE, trigger)
                answer = await talk(client, "SignCertificate", {"csr": "x"})
                assert (answer[0], answer[2]["status"]) == (3, "Rejected")

    run(loop, main)


def test_a_reconnect_on_a_lower_profile_is_refused_for_good(
    loop: str, world: World, tmp_path: Path
) -> None:
    """A05.FR.07, A12."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            await home.certify(station, leaf)
            async with home.connect(2, "cs001"):
                pass
            async with home.connect(3, "cs001", leaf=leaf):
                assert (await home.session(station)).profile is SecurityProfile.TLS_CERTIFICATE
            request = upgrade("/ocpp/cs001", f"Authorization: {basic('cs001', PASSWORD)}")
            assert b" 401 " in await home.answer(2, request)
            assert (await home.reasons())[-1] == "profile_too_low"

    run(loop, main)


def test_stop_tells_everybody_to_come_back(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            client = await home.connect(2, "cs001")
            await home.gateway.stop()
            assert await closed_with(client) == 1012
            assert await home.session_of(station) is None
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", home.ports["2"])

    run(loop, main)


def test_a_start_forgets_the_sessions_of_a_crash(loop: str, world: World, tmp_path: Path) -> None:
    """A05: nobody of a node that has just started can be alive."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.store.writing() as work:
                await work.sessions.claim(
                    station_id=station.id,
                    node="node-1",
                    profile=SecurityProfile.TLS_BASIC,
                    certificate_id=None,
                    peer="-",
                    at=datetime.now(UTC),
                )
                await work.commit()
            assert await home.session_of(station) is not None
            await home.gateway._sessions.start()
            assert await home.session_of(station) is None

    run(loop, main)


def test_a_session_whose_epoch_moved_is_closed_at_its_next_call(
    loop: str, world: World, tmp_path: Path
) -> None:
    """Another node took the station: the database says so, whatever the bus lost."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                async with home.store.writing() as work:
                    await work.sessions.claim(
                        station_id=station.id,
                        node="node-2",
                        profile=SecurityProfile.TLS_BASIC,
                        certificate_id=None,
                        peer="-",
                        at=datetime.now(UTC),
                    )
                    await work.commit()
                await client.send(json.dumps([2, "1", "BootNotification", BOOT]))
                assert await closed_with(client) == 1008
            assert (await home.session(station)).node == "node-2"
            # And taking it back tells that node, through the outbox.
            async with home.connect(2, "cs001"):
                async with home.store.reading() as work:
                    (event,) = await work.outbox.after(0, limit=10)
                assert event.payload == {
                    "station_id": str(station.id),
                    "before_epoch": 3,
                    "reason": "replaced",
                }

    run(loop, main)


def test_a_replaced_responder_does_not_answer_for_the_newer_session(
    world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001"):
                old = home.bus._responders[station_subject(station.id)].handler
                async with home.connect(2, "cs001"):
                    reply = await old({"disconnect": "x"})
                    assert reply["error"]["kind"] == "not_connected"
                    assert home.gateway.health().sessions == 1

    run("asyncio", main)


def test_a_revoked_certificate_does_not_come_back(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            record = await home.certify(station, leaf)
            reader, writer = await home.hostile(3, upgrade("/ocpp/cs001"), leaf=leaf)
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            await home.set_status(record, CertificateStatus.REVOKED)
            await home.bus.publish(SESSIONS_CLOSE, close_order(None, record.id))
            assert await close_code(reader) == 1008
            await gone(writer)
            assert b" 403 " in await home.answer(3, upgrade("/ocpp/cs001"), leaf=leaf)

    run(loop, main)


def test_a_call_that_nobody_waits_for_any_more_is_not_sent(
    loop: str, world: World, tmp_path: Path
) -> None:
    """Two CALLs, one answer slot: the second gives up in the queue and is never sent."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                impatient = BusStationLink(home.bus, 0.2)
                async with asyncio.TaskGroup() as group:
                    for _ in range(2):
                        group.create_task(
                            expecting(NoAnswer, impatient.call(station.id, Action.CLEAR_CACHE, {}))
                        )
                first = json.loads(await client.recv())
                await client.send(json.dumps([3, first[1], {"status": "Accepted"}]))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.recv(), 0.2)

    run(loop, main)


def test_a_request_that_is_none_is_answered_as_such(world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001"):
                for message in (
                    {},
                    {"action": "Invented", "payload": {}, "timeout_seconds": 1},
                    {"action": "Reset", "payload": {}, "timeout_seconds": "x"},
                    {"action": "Heartbeat", "payload": {}, "timeout_seconds": 1},
                ):
                    reply = await home.bus.request(station_subject(station.id), message, timeout=2)
                    assert reply["error"]["kind"] == "invalid_payload"

    run("asyncio", main)


def test_too_many_waiting_calls_are_refused(world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001"):
                impatient = BusStationLink(home.bus, 0.5)
                outcomes = await asyncio.gather(
                    *(impatient.call(station.id, Action.CLEAR_CACHE, {}) for _ in range(40)),
                    return_exceptions=True,
                )
                kinds = {type(outcome) for outcome in outcomes}
                assert kinds == {NoAnswer, QueueFull}

    run("asyncio", main)
