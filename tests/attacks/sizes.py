"""How much of each attack is tried: in `make test`, and in `make attack`.

The one place for it. `make test` has eight minutes for all of `tests/attacks`; `make attack`, which
runs them in two processes, has thirty. A test takes its numbers from `SIZES` and has none of its
own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

FULL_BY: Final = "CSMS_TEST_ATTACK"  # =full


def _size(ordinary: Any, full: Any) -> Any:
    return ordinary if os.environ.get(FULL_BY) != "full" else full


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts, and seconds where the name says so. First the ordinary size, then the full one."""

    # Admission
    loops: tuple[str, ...] = _size(("uvloop",), ("asyncio", "uvloop"))  # P33, P34, P36
    identity_probes: int = _size(200, 2_000)  # A06
    slowed_probes: int = _size(60, 200)  # A06, of each kind

    # TLS and certificates
    changed_octets: int = _size(50, 1_000)  # B08, one of a certificate's at most
    key_updates: int = _size(100, 1000)  # B12
    junk_hellos: int = _size(20, 300)  # B12
    # Protocols, renegotiation, compression, tickets; then every vulnerability it knows of.
    testssl_checks: tuple[str, ...] = _size(("-p", "-R", "-C", "-T"), ("-p", "-U"))  # B12
    testssl_listeners: int = _size(1, 3)  # B12
    rotation_seconds: float = _size(30.0, 300.0)  # P26
    rotation_stations: int = _size(100, 1000)  # P26

    # Sessions
    interleavings: int = _size(400, 10_000)  # A03
    swaps: int = _size(15, 150)  # A02, on each profile
    socket_steps: int = _size(150, 3_000)  # A03
    headers_at_once: int = _size(10, 1)  # A15
    revocations_at_once: int = _size(20, 100)  # B04

    # Certificate requests
    odd_requests: int = _size(150, 2_000)  # C02, C05
    flood: int = _size(500, 10_000)  # C07, requests of one station
    honest: int = _size(20, 200)  # C07, stations beside it
    flooders: int = _size(12, 40)  # C07, stations that flood at once
    silent: int = _size(20, 40)  # C07, stations that answer nothing
    serials: int = _size(50_000, 1_000_000)  # C14

    # Vault
    vault_stations: int = _size(16, 100)  # P03, P04, P05: so many CSRs wait
    vault_sealed_seconds: float = _size(10, 60)  # P03
    vault_frozen_seconds: float = _size(10, 60)  # P04
    vault_refusing_seconds: float = _size(4, 60)  # P05

    # Frames
    judged_frames: int = _size(8_000, 60_000)  # D01
    literal_stride: int = _size(8, 2)  # D02: every so-many-th literal in each field
    stored_stride: int = _size(4, 1)  # D02: the same, through a gateway into two databases
    wire_frames: int = _size(3_000, 50_000)  # P24
    bombs: int = _size(60, 1_000)  # P23
    corpus_valid: int = _size(6, 30)  # D02: messages of each of the 128 schemas
    corpus_mutants: int = _size(100, 600)  # D02: broken in one place, of each
    flood_messages: int = _size(1_000, 3_000)  # D09: of each flooder, more than it may say
    flood_seconds: float = _size(4.0, 20.0)  # D09

    # Resources
    guesses: int = _size(500, 5_000)  # P38
    guessing_sources: int = _size(10, 50)  # P38
    slow_sockets: int = _size(100, 2_000)  # P22, of each layer
    slow_seconds: float = _size(2.0, 5.0)  # P22, handshake_timeout_seconds
    slow_assembly_seconds: float = _size(2.0, 10.0)  # P22, message_assembly_seconds
    pings: int = _size(5_000, 100_000)  # D14
    unread_calls: int = _size(1_000, 2_000)  # D12, times twenty
    verifications: int = _size(10_000, 100_000)  # A10
    storm_sources: int = _size(10, 50)  # P14
    storm_stations: int = _size(15, 60)  # P14
    storm_reconnects: int = _size(2, 3)  # P14, of each
    silent_sockets: int = _size(500, 5_000)  # D11

    # Crashes
    rotating_stations: int = _size(8, 60)  # P01, P02
    crash_latest_pass: int = _size(1, 20)  # P01: each fault point at one of so many passes
    crashes_at_any_time: int = _size(3, 30)  # P01: kill -9 every 1 to 3 s
    lost_answers_seconds: float = _size(5, 30)  # P02


SIZES: Final = Sizes()
IS_FULL: Final = os.environ.get(FULL_BY) == "full"
