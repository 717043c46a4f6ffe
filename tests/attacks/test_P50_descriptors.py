"""P50: the process's file descriptors run out."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from csms.gateway.descriptors import RESERVED
from tests.attacks.hostile import HostileStation, basic, upgrade
from tests.attacks.outpost import Outpost, outpost
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import BOOT, PASSWORD

LIMIT = 256
HONEST = "127.0.3.1"


def request(identity: str) -> bytes:
    return upgrade(f"/ocpp/{identity}", f"Authorization: {basic(identity, PASSWORD)}")


def strangers(fort: Outpost, count: int) -> list[HostileStation]:
    return [
        fort.visit(2, context=None, source=f"127.0.4.{number % 4 + 1}") for number in range(count)
    ]


def is_answered(wire: HostileStation) -> bool:
    """Its commands are handled, in a transaction each."""
    return bool(wire.call("BootNotification", BOOT)[2]["status"] == "Accepted")


def test_strangers_do_not_get_the_last_descriptors(tmp_path: Path, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("P50", f"more strangers than descriptors ({LIMIT})")
    with outpost(tmp_path, descriptors=LIMIT, handshake_timeout_seconds=30.0) as fort:
        fort.add("cs001", "witness")
        with fort.connected("witness", source=HONEST) as witness, row.attempt():
            before = fort.descriptors()
            peers = strangers(fort, LIMIT + 100)
            try:
                took = [fort.seconds_to_connect("cs001", source=HONEST) for _ in range(5)]
                assert is_answered(witness)
                assert fort.descriptors() <= LIMIT - RESERVED + 8
                spent = fort.processor_seconds()
                time.sleep(1)  # a second of doing nothing: what is measured
                spent = fort.processor_seconds() - spent
                assert spent < 0.5, "a busy loop"
            finally:
                for peer in peers:
                    peer.close()
            fort.quiet()
            back_to(fort, before)
            assert is_answered(witness)
        assert fort.reasons()["busy"] >= 100
    row.measure(f"honest connect max {max(took):.2f} s; idle {spent * 100:.0f} % of a core")


def back_to(fort: Outpost, descriptors: int) -> None:
    until = time.monotonic() + 5
    while fort.descriptors() > descriptors:
        assert time.monotonic() < until, (fort.descriptors(), descriptors)
        time.sleep(0.05)


def test_without_descriptors_accepting_pauses_and_sessions_go_on(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Used up by somebody else in the process; the gateway runs out of them at the accept, and in
    the middle of an admission.
    """
    row = scoreboard.row("P50", "no descriptor for the accept, or for what comes after it")
    with outpost(tmp_path, descriptors=LIMIT) as fort:
        fort.add("cs001", "witness", *(f"half{number}" for number in range(4)))
        with fort.connected("witness", source=HONEST) as witness:
            before = fort.descriptors()
            for left in (0, 1, 3):
                with row.attempt():
                    half_way = [fort.visit(2, source=HONEST) for _ in range(4)]
                    fort.occupy(leave=left)
                    statuses = [
                        wire.ask(request(f"half{number}")).status
                        for number, wire in enumerate(half_way)
                    ]
                    assert set(statuses) <= {101, 503}, statuses
                    assert is_answered(witness)
                    pending = strangers(fort, 20)
                    spent = fort.processor_seconds()
                    time.sleep(0.5)  # as above
                    spent = fort.processor_seconds() - spent
                    assert spent < 0.25, "a busy loop"
                    assert outcome(fort) == 0
                    for wire in (*pending, *half_way):
                        wire.close()
                    fort.release()
                    until = time.monotonic() + 10
                    while outcome(fort) != 101:  # 503 for two seconds after the database was away
                        assert time.monotonic() < until
                    assert is_answered(witness)
                row.measure(f"{left} left: {statuses}")
            fort.quiet()
            back_to(fort, before)
    row.measure(f"pausing {spent * 200:.0f} % of a core")


def outcome(fort: Outpost) -> int:
    """The answer's status; 0 when there is none."""
    with contextlib.suppress(OSError), fort.visit(2, source=HONEST, seconds=0.7) as wire:
        return wire.ask(request("cs001")).status
    return 0
