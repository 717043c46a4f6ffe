"""CPU and memory are those of the process asked about; a side that fails is an error, no zero."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

import pytest

from bench.load import deflated, masked
from bench.measuring import (
    CPU_TICK,
    MeasurementFailed,
    cpu_seconds,
    pinned,
    rss_kib,
    spoken,
    spread,
    wait_for,
)


def test_busy_time_counts_and_sleep_does_not() -> None:
    before = cpu_seconds(os.getpid())
    time.sleep(0.2)
    slept = cpu_seconds(os.getpid()) - before
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    busy = cpu_seconds(os.getpid()) - before - slept
    assert slept <= 5 * CPU_TICK
    assert busy >= 0.2 - 2 * CPU_TICK


def test_memory_that_is_touched_shows() -> None:
    before = rss_kib(os.getpid())
    held = bytearray(os.urandom(1 << 20)) * 32
    assert rss_kib(os.getpid()) - before > 24 * 1024
    assert len(held) == 32 << 20


def test_spread_is_from_least_to_most_as_a_part_of_the_median() -> None:
    assert spread([8.0, 10.0, 12.0]) == pytest.approx(0.4)
    assert spread([]) is None


def test_pinning_is_left_out_where_there_is_no_core_to_choose() -> None:
    assert pinned(None, ["true"]) == ["true"]
    assert pinned(1, ["true"]) == ["taskset", "-c", "1", "true"]


def test_waiting_ends_with_the_value_or_with_an_error() -> None:
    assert wait_for(lambda: 7, seconds=1, what="seven") == 7
    with pytest.raises(MeasurementFailed, match="never"):
        wait_for(lambda: None, seconds=0.05, what="never")


def test_a_process_that_does_not_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(MeasurementFailed, match=r"No module named bench\.no_such_module"),
        spoken("bench.no_such_module", core=None, log=tmp_path / "log"),
    ):
        pass


def test_a_failed_command_is_an_error_and_the_process_goes_on(tmp_path: Path) -> None:
    with spoken("tests.unit.bench.adding_process", core=None, log=tmp_path / "log") as process:
        assert process.greeting == {"ready": True}
        assert process.ask("add", a=1, b=2) == {"sum": 3}
        with pytest.raises(MeasurementFailed, match="TypeError"):
            process.ask("add", a=1, b=None)
        assert process.ask("add", a=2, b=2) == {"sum": 4}
    assert process.process.returncode == 0


def test_frames_of_the_load_are_what_websockets_reads() -> None:
    """Zero masks, and deflate without context as RFC 7692 has it."""
    assert masked(b"ab") == b"\x81\x82\x00\x00\x00\x00ab"
    assert masked(b"x" * 200)[:8] == b"\x81\xfe\x00\xc8\x00\x00\x00\x00"
    assert masked(b"ab", compressed=True)[0] == 0xC1
    inflater = zlib.decompressobj(-11)
    for text in (b"first", b"first and second"):
        assert inflater.decompress(deflated(text) + b"\x00\x00\xff\xff") == text
