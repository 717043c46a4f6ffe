"""D14, M17: frames that RFC 6455 does not know, or knows otherwise. Each ends its own connection
with the code that fits, and costs nobody else anything; what is legal goes on.
"""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest

from csms.domain.station import SecurityProfile
from tests.attacks.hostile import basic, frame, upgrade
from tests.attacks.keep import Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import PASSWORD, World

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
BEAT = json.dumps([2, "1", "Heartbeat", {}]).encode()
HALF, REST = BEAT[:7], BEAT[7:]


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(struct.pack("!H", code) + reason, opcode=CLOSE)


# RFC 6455 §5 and §7: what is sent, and the close code that is due.
ILLEGAL: dict[str, tuple[bytes, int]] = {
    "binary": (frame(BEAT, opcode=BINARY), 1003),
    "binary in fragments": (
        frame(HALF, opcode=BINARY, final=False) + frame(REST, opcode=0),
        1003,
    ),
    "binary, empty": (frame(b"", opcode=BINARY), 1003),
    **{f"opcode {code}": (frame(BEAT, opcode=code), 1002) for code in (3, 4, 5, 6, 7, 11, 15)},
    **{f"reserved bits {bits}": (frame(BEAT, rsv=bits), 1002) for bits in (1, 2, 3, 4, 7)},
    "not masked": (frame(BEAT, masked=False), 1002),
    "a ping not masked": (frame(b"", opcode=PING, masked=False), 1002),
    "a ping of 126": (frame(b"x" * 126, opcode=PING), 1002),
    "a ping in fragments": (frame(b"x", opcode=PING, final=False), 1002),
    "a pong of 200": (frame(b"x" * 200, opcode=PONG), 1002),
    "a close in fragments": (frame(b"", opcode=CLOSE, final=False), 1002),
    "a close of one byte": (frame(b"\x03", opcode=CLOSE), 1002),
    "a close of 126": (closing(1000, b"x" * 124), 1002),
    **{f"close code {code}": (closing(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015)},
    "a close reason that is no UTF-8": (closing(1000, b"\xff\xfe"), 1007),
    "a continuation of nothing": (frame(BEAT, opcode=0), 1002),
    "a text inside of a text": (frame(HALF, final=False) + frame(BEAT), 1002),
    "half a character": (frame(b'["\xc3"]'), 1007),
    "an encoded surrogate": (frame(b'["\xed\xa0\x80"]'), 1007),
    "an overlong NUL": (frame(b'["\xc0\x80"]'), 1007),
    "beyond Unicode": (frame(b'["\xf4\x90\x80\x80"]'), 1007),
}
# What is legal, though nobody would write it; a Heartbeat is answered behind it.
LEGAL: dict[str, bytes] = {
    "an empty text": frame(b""),
    "empty fragments": (
        frame(b"", final=False) + frame(b"", opcode=0, final=False) * 50 + frame(b"", opcode=0)
    ),
    "a ping between fragments": (
        frame(HALF, final=False) + frame(b"x" * 125, opcode=PING) + frame(REST, opcode=0)
    ),
    "pongs that nobody asked for": frame(b"x" * 125, opcode=PONG) * 20,
    "one byte each": b"".join(
        frame(BEAT[at : at + 1], opcode=0 if at else TEXT, final=at == len(BEAT) - 1)
        for at in range(len(BEAT))
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_frames_that_are_none(world: World, tmp_path: Path, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("D14", f"{len(ILLEGAL)} illegal WebSocket frames, {len(LEGAL)} odd ones")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    header = f"Authorization: {basic('FRAMES', PASSWORD)}"
    with keep(world, tmp_path, **settings) as fort, Witness(fort), fort.bounded_lag():
        plain = SecurityProfile.BASIC
        station = fort.add("FRAMES", "SN-FRAMES", security_profile=plain, minimum=plain)
        for what, (sent, code) in ILLEGAL.items():
            with row.attempt(), fort.visit(1) as wire:
                assert wire.ask(upgrade("/ocpp/FRAMES", header)).status == 101
                wire.send(sent)
                assert wire.close_code() == code, what
        for what, sent in LEGAL.items():
            with row.attempt(), fort.visit(1) as wire:
                assert wire.ask(upgrade("/ocpp/FRAMES", header)).status == 101
                wire.send(sent)
                wire.send(frame(json.dumps([2, "behind", "Heartbeat", {}]).encode()))
                while (got := wire.read_frame()) is not None:
                    if got[0] == 0x81 and json.loads(got[1])[:2] == [3, "behind"]:
                        break
                assert got is not None, what
        for number in range(3):  # a close with the longest reason is answered, and is the end
            with row.attempt(), fort.visit(1) as wire:
                assert wire.ask(upgrade("/ocpp/FRAMES", header)).status == 101
                wire.send(closing(4000 + number, "é".encode() * 61))
                assert wire.close_code() == 4000 + number
        until = time.monotonic() + 10
        while fort.session_of(station) is not None:
            assert time.monotonic() < until, "a session stayed behind"
            time.sleep(0.01)
