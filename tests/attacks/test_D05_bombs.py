"""P23, D03, D04, D05, M17: bombs are free. Each is closed or answered, and the memory stays."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Callable
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.attacks.apart import IDENTITY, Apart, gateway_apart
from tests.attacks.hostile import HostileStation, basic, frame, upgrade
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
CREDENTIALS = f"Authorization: {basic(IDENTITY, PASSWORD)}"
GROWTH = 20 << 20
FIRST_LOOK = 12  # each kind once: what was loaded for the first time is no growth


def deflated(data: bytes, *, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -11)
    return (compressor.compress(data) + compressor.flush(flush)).removesuffix(b"\x00\x00\xff\xff")


def packed(data: bytes) -> bytes:
    return frame(deflated(data), rsv=4)


def fragments(data: bytes, *, rsv: int, size: int) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    last = len(parts) - 1
    return b"".join(
        frame(part, opcode=0 if at else 1, rsv=0 if at else rsv, final=at == last)
        for at, part in enumerate(parts)
    )


def call(payload: str) -> bytes:
    return f'[2,"bomb","DataTransfer",{payload}]'.encode()


@cache
def bombs() -> dict[str, tuple[bytes, int | str]]:
    """Name -> (bytes on the wire, what becomes of it: a close code or a CALLERROR's code)."""
    spaces = deflated(b" " * 50_000_000)
    layers = deflated(deflated(b"\0" * 50_000_000))
    deep = b"[" * 500_000
    return {
        "50 MB of spaces, one frame": (frame(spaces, rsv=4), 1009),
        "50 MB of spaces, fragments": (fragments(spaces, rsv=4, size=512), 1009),
        "500,000 levels, deflated": (packed(deep), 1009),
        "a bomb in a bomb": (frame(layers, rsv=4), 1007),
        "2^62 announced": (frame(b"", announced=1 << 62), 1009),
        "2^63 announced": (b"\x81\xff" + struct.pack("!Q", 1 << 63) + bytes(4), 1009),
        "70 kB in fragments": (fragments(b" " * 70_000, rsv=0, size=1000), 1009),
        "a block that refers to nothing": (frame(b"\x4b\x04\x13\x00" * 9, rsv=4), 1002),
        "60,000 levels": (frame(deep[:60_000]), "RpcFrameworkError"),
        "60,000 levels in a CALL": (packed(call("[" * 60_000)), "FormatViolation"),
        "30,000 empty arrays": (
            packed(call("[" + "[]," * 20_000 + "[]]")),
            "TypeConstraintViolation",
        ),
        "5,000 keys": (
            packed(call(json.dumps({str(key): 0 for key in range(5_000)}))),
            "FormatViolation",
        ),
        "65,000 digits": (packed(call("9" * 65_000)), "FormatViolation"),
        "32,000 escaped quotes": (packed(call('"' + '\\"' * 32_000)), "RpcFrameworkError"),
    }


def connected(gateway: Apart) -> HostileStation:
    wire = HostileStation(gateway.port, seconds=20)
    assert wire.ask(upgrade(f"/ocpp/{IDENTITY}", CREDENTIALS, DEFLATE)).status == 101
    return wire


def outcome(wire: HostileStation) -> int | str | None:
    """Close code, or code of the CALLERROR."""
    got = wire.read_frame()
    if got is None:
        return None
    first, payload = got
    if first & 0x0F == 8:
        return int(struct.unpack("!H", payload[:2])[0])
    if first & 0x40:
        payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
    return str(json.loads(payload)[2])


@pytest.mark.timeout(900)
def test_bombs_are_free(tmp_path: Path, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("P23", f"{len(bombs())} kinds of bombs; a gateway in a process of its own")
    slowest = 0.0
    with gateway_apart(tmp_path) as gateway:
        before = 0
        for number, name in enumerate(islice(cycle(bombs()), SIZES.bombs)):
            data, expected = bombs()[name]
            with row.attempt(), connected(gateway) as wire:
                began = time.monotonic()
                try:
                    wire.send(data)
                except OSError:  # closed while we were still talking
                    assert expected == 1009, name
                assert outcome(wire) == expected, name
                slowest = max(slowest, time.monotonic() - began)
            if number == FIRST_LOOK + len(bombs()):
                before = gateway.rss()
        growth = gateway.rss() - before
        row.measure(f"slowest {slowest * 1000:.0f} ms, RSS {growth / (1 << 20):+.1f} MiB")
        assert growth < GROWTH


@cache
def stream(at: int) -> bytes:
    """The `at`-th message of one stream with a window over all of them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -11)
    data = b""
    for _ in range(at + 1):
        data = compressor.compress(b"\0" * 60_000) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(data.removesuffix(b"\x00\x00\xff\xff"), rsv=4)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("each nearly 64 KiB from 90 bytes", lambda _: packed(b" " * 65_000 + b"[]")),
        ("each referring to the one before", stream),
    ],
)
def test_bombs_over_many_messages(
    what: str, message: Callable[[int], bytes], tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """D05: no context is kept between messages, whatever the station pretends."""
    row = scoreboard.row("P23", f"context takeover: {what}")
    with gateway_apart(tmp_path) as gateway:
        before = 0
        for number in range(max(3, SIZES.bombs // 50)):
            with row.attempt(), connected(gateway) as wire:
                ended: int | str | None = None
                for at in range(30):
                    try:
                        wire.send(message(at))
                    except OSError:
                        break
                while isinstance(said := outcome(wire), str):
                    ended = said
                assert said in {1002, 1007, 1008}, (said, ended)
            if number == 1:
                before = gateway.rss()
        growth = gateway.rss() - before
        row.measure(f"RSS {growth / (1 << 20):+.1f} MiB")
        assert growth < GROWTH
