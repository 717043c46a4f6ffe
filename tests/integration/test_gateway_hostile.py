"""Peers that mean harm: frames, bytes, silence and floods; the others must not notice."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import ssl
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from csms.domain.station import RegistrationStatus, Station
from csms.gateway import websocket
from tests.fixtures.gateway_house import (
    LOOPS,
    PASSWORD,
    House,
    World,
    basic,
    close_code,
    eventually,
    frame,
    gone,
    house,
    run,
    silent,
    talk,
    upgrade,
)

CREDENTIALS = f"Authorization: {basic('cs001', PASSWORD)}"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def admitted(
    home: House, *headers: str
) -> tuple[Station, asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """A raw, accepted station; returns the response head too."""
    station = await home.add("CS001", "SN001")
    await home.booted(station, RegistrationStatus.ACCEPTED)
    reader, writer = await home.hostile(2, upgrade("/ocpp/cs001", CREDENTIALS, *headers))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 101 ")
    return station, reader, writer, head


def deflated(data: bytes, bits: int = 15) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


HEARTBEAT = json.dumps([2, "1", "Heartbeat", {}]).encode()
BAD_FRAMES = {
    "binary": (frame(HEARTBEAT, opcode=2), 1003),
    "too large": (frame(b" " * 70_000), 1009),
    "announced far too large": (b"\x81\xff" + (1 << 62).to_bytes(8, "big") + bytes(4), 1009),
    "too large in fragments": (
        frame(b" " * 40_000, final=False) + frame(b" " * 40_000, opcode=0),
        1009,
    ),
    "unmasked": (b"\x81\x02{}", 1002),
    "reserved opcode": (frame(b"", opcode=3), 1002),
    "not UTF-8": (frame(b"\xff\xfe"), 1007),
    "compressed without being asked": (frame(deflated(HEARTBEAT), rsv1=True), 1002),
}


def test_bad_frames_end_their_own_connection_with_the_right_code(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            _, reader, writer, _ = await admitted(home)
            await gone(writer)
            other = await home.add("CS002", "SN002")
            await home.booted(other, RegistrationStatus.ACCEPTED)
            async with home.connect(2, "cs002") as honest:
                for what, (sent, code) in BAD_FRAMES.items():
                    reader, writer = await home.hostile(2, upgrade("/ocpp/cs001", CREDENTIALS))
                    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                    writer.write(sent)
                    assert await close_code(reader) == code, what
                    await gone(writer)
                assert (await talk(honest, "Heartbeat", {}))[0] == 3
            await eventually(lambda: home.gateway.health().tasks == 0)

    run(loop, main)


def test_deflate_is_negotiated_with_small_windows_and_no_context(
    loop: str, world: World, tmp_path: Path
) -> None:
    """Part 4 §3.3, T5."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            _, reader, writer, head = await admitted(home, DEFLATE)
            extension = next(line for line in head.decode().split("\r\n") if "Extensions" in line)
            for part in (
                "permessage-deflate",
                "server_no_context_takeover",
                "client_no_context_takeover",
                "server_max_window_bits=11",
                "client_max_window_bits=11",
            ):
                assert part in extension
            writer.write(frame(deflated(HEARTBEAT, 11), rsv1=True))
            first, length = await asyncio.wait_for(reader.readexactly(2), 5)
            assert first == 0xC1  # compressed, too
            answer = zlib.decompressobj(-11).decompress(
                await reader.readexactly(length) + b"\x00\x00\xff\xff"
            )
            assert json.loads(answer)[:2] == [3, "1"]
            await gone(writer)

    run(loop, main)


def test_a_compression_bomb_is_refused_by_its_inflated_size(
    loop: str, world: World, tmp_path: Path
) -> None:
    """D05, M17: 10 MB in 10 KiB on the wire."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            _, reader, writer, _ = await admitted(home, DEFLATE)
            bomb = deflated(b" " * 10_000_000, 11)
            assert len(bomb) < 65_536
            writer.write(frame(bomb, rsv1=True))
            assert await close_code(reader) == 1009
            await gone(writer)

    run(loop, main)


def test_a_message_dripped_in_fragments_is_cut_off(loop: str, world: World, tmp_path: Path) -> None:
    """M17: one-byte fragments keep a connection alive for ever; the message has a deadline."""

    async def main() -> None:
        async with house(world, tmp_path, message_assembly_seconds=0.4) as home:
            _, reader, writer, _ = await admitted(home)
            writer.write(frame(b"[", final=False))
            began = time.monotonic()
            for _ in range(30):
                await asyncio.sleep(0.05)
                if reader.at_eof() or time.monotonic() - began > 0.8:
                    break
                writer.write(frame(b" ", opcode=0, final=False))
            assert await close_code(reader) == 1008
            await gone(writer)
            # Half a frame header is a message begun, too.
            reader, writer = await home.hostile(2, upgrade("/ocpp/cs001", CREDENTIALS))
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            writer.write(frame(HEARTBEAT)[:4])
            assert await close_code(reader) == 1008
            await gone(writer)

    run(loop, main)


def test_an_honest_station_that_sends_whole_messages_slowly_stays(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path, message_assembly_seconds=0.3) as home:
            _, reader, writer, _ = await admitted(home)
            for number in range(4):
                text = json.dumps([2, str(number), "Heartbeat", {}]).encode()
                half = len(frame(text)) // 2
                writer.write(frame(text)[:half])
                await asyncio.sleep(0.15)
                writer.write(frame(text)[half:])
                head = await asyncio.wait_for(reader.readexactly(2), 5)
                assert head[0] == 0x81
                assert json.loads(await reader.readexactly(head[1]))[1] == str(number)
            await gone(writer)

    run(loop, main)


def test_a_silent_station_is_pinged_and_then_dropped(
    loop: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "PONG_SECONDS", 0.3)

    async def main() -> None:
        async with house(world, tmp_path) as home:
            home.gateway._settings = home.gateway._settings.model_copy(
                update={"ping_interval_seconds": 0.2}
            )
            _, reader, writer, _ = await admitted(home)
            for _ in range(2):
                assert (await asyncio.wait_for(reader.readexactly(2), 5))[0] == 0x89
                writer.write(frame(b"", opcode=10))
            assert (await asyncio.wait_for(reader.readexactly(2), 5))[0] == 0x89
            # No pong any more: the socket just ends.
            await eventually(lambda: home.gateway.health().sessions == 0)
            await gone(writer)

    run(loop, main)


def test_rules_broken_too_often_end_the_connection_with_a_security_event(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station, reader, writer, _ = await admitted(home)
            for _ in range(25):
                writer.write(frame(b"not json"))
            assert await close_code(reader) == 1008
            await gone(writer)
            assert await home.events(station) == ["InvalidMessages"]

    run(loop, main)


def test_a_message_id_used_for_something_else_is_a_security_event(
    loop: str, world: World, tmp_path: Path
) -> None:
    """D07, T7."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station, _, writer, _ = await admitted(home)
            other = {"type": "X", "timestamp": "2026-01-01T00:00:00Z"}
            writer.write(frame(HEARTBEAT))
            writer.write(frame(json.dumps([2, "1", "SecurityEventNotification", other]).encode()))

            async def reported() -> bool:
                return "AttemptedReplayAttacks" in await home.events(station)

            await eventually(reported)
            await gone(writer)

    run(loop, main)


def test_calls_are_handled_in_order_though_the_station_does_not_wait(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            _, reader, writer, _ = await admitted(home)
            for number in range(12):
                text = json.dumps([2, str(number), "Heartbeat", {}])
                writer.write(frame(text.encode()))
            answered = []
            for _ in range(12):
                head = await asyncio.wait_for(reader.readexactly(2), 5)
                answered.append(json.loads(await reader.readexactly(head[1]))[1])
            assert answered == [str(number) for number in range(12)]
            await gone(writer)

    run(loop, main)


def test_frames_behind_a_refused_request_are_not_handled(
    loop: str, world: World, tmp_path: Path
) -> None:
    """A16."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            await home.booted(station, RegistrationStatus.ACCEPTED)
            event = json.dumps(
                [
                    2,
                    "1",
                    "SecurityEventNotification",
                    {"type": "X", "timestamp": "2026-01-01T00:00:00Z"},
                ]
            )
            request = upgrade("/ocpp/cs001", CREDENTIALS, subprotocol="ocpp1.6")
            answer = await home.answer(2, request + frame(event.encode()))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert await home.events(station) == []

    run(loop, main)


def test_silent_strangers_are_capped_per_source_and_evicted(
    loop: str, world: World, tmp_path: Path
) -> None:
    """D10, D11."""

    async def main() -> None:
        limits = {"max_strangers": 50, "max_strangers_per_source": 10}
        async with house(world, tmp_path, handshake_timeout_seconds=0.6, **limits) as home:
            await home.add("CS001", "SN001")
            sockets = [silent(home.ports["2"]) for _ in range(30)]
            try:
                await eventually(lambda: home.gateway.health().strangers == 10)
                await asyncio.sleep(0.1)
                assert home.gateway.health().strangers == 10
                await eventually(lambda: home.gateway.health().strangers == 0)
                async with home.connect(2, "cs001"):
                    assert home.gateway.health().sessions == 1
                    assert home.gateway.health().strangers == 0
                records = await home.attempts()
                busy = [int(str(r.details["count"])) for r in records if r.reason == "busy"]
                assert sum(busy) == 20  # counted, not a row each
            finally:
                for sock in sockets:
                    sock.close()

    run(loop, main)


def test_a_handshake_that_does_not_go_on_is_evicted_and_holds_up_nobody(
    loop: str, world: World, tmp_path: Path
) -> None:
    """D10: sixteen slow peers must not close the door for the others."""

    async def main() -> None:
        async with house(world, tmp_path, max_handshakes=2, handshake_timeout_seconds=1.5) as home:
            await home.add("CS001", "SN001")
            sockets = [silent(home.ports["2"]) for _ in range(8)]
            try:
                for sock in sockets:
                    sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello that never comes
                began = time.monotonic()
                async with home.connect(2, "cs001"):
                    assert time.monotonic() - began < 1.0
                await eventually(lambda: home.gateway.health().strangers == 0, 4)
                reasons = await home.reasons()
                assert reasons.count("tls_handshake") == 8
            finally:
                for sock in sockets:
                    sock.close()

    run(loop, main)


def test_a_request_that_drips_is_evicted(loop: str, world: World, tmp_path: Path) -> None:
    """M18."""

    async def main() -> None:
        async with house(world, tmp_path, handshake_timeout_seconds=0.5) as home:
            reader, writer = await home.hostile(2, b"GET /ocpp/cs001 HT")
            began = time.monotonic()
            assert await asyncio.wait_for(reader.read(), 5) == b""
            assert time.monotonic() - began < 2
            await gone(writer)
            (record,) = await home.attempts()
            assert (record.reason, record.details["detail"]) == ("http", "no request in time")

    run(loop, main)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /ocpp/cs001 HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"GET /ocpp/caf\xc3\xa9 HTTP/1.1\r\n\r\n",
        upgrade("/ocpp/cs001", CREDENTIALS, "Content-Length: 5"),
        upgrade("/ocpp/cs001", CREDENTIALS, "Sec-WebSocket-Extensions: ;;;"),
    ],
)
def test_what_is_no_http_upgrade_never_gets_in(
    world: World, tmp_path: Path, request_bytes: bytes
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            try:
                answer = await home.answer(2, request_bytes)
            except (OSError, ssl.SSLError):
                answer = b""
            assert b" 101 " not in answer

            async def recorded() -> bool:
                return await home.reasons() == ["http"]

            await eventually(recorded)

    run("asyncio", main)


def test_when_descriptors_run_out_accepting_pauses_and_resumes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        real = loop.sock_accept
        failures: list[float] = []

        async def exhausted(sock: socket.socket) -> tuple[socket.socket, Any]:
            if len(failures) < 3:
                failures.append(loop.time())
                raise OSError(errno.EMFILE, "too many open files")
            return await real(sock)

        monkeypatch.setattr(loop, "sock_accept", exhausted)
        async with house(world, tmp_path, profile3_port=None) as home:
            await home.add("CS001", "SN001")
            async with home.connect(2, "cs001"):
                assert home.gateway.health().sessions == 1
        assert failures[2] - failures[0] >= 0.19  # no busy loop

    run("asyncio", main)


def test_no_descriptor_is_left_behind(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path, handshake_timeout_seconds=0.3) as home:
            await home.add("CS001", "SN001")
            async with home.connect(2, "cs001"):
                pass
            await eventually(lambda: home.gateway.health().tasks == 0)
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(10):
                sock = silent(home.ports["2"])
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                sock.close()
                silent(home.ports["3"]).close()
                await home.answer(2, upgrade("/ocpp/cs001"))
            await eventually(lambda: home.gateway.health().tasks == 0)
            await asyncio.sleep(0.05)
            assert len(list(Path("/proc/self/fd").iterdir())) <= before

    run(loop, main)
