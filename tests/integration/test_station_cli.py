"""`station run` and `station fleet` as processes: lines, exit codes, and no secrets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.station.csms_double import CSMS, boot, until

PASSWORD = "correct-horse-battery"


@dataclass
class Ended:
    code: int | None
    out: str
    err: str


async def started(*words: str, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    code = "from station.cli import main; main()"
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200", **(env or {})},
    )


async def station(*words: str, env: dict[str, str] | None = None) -> Ended:
    process = await started(*words, env=env)
    out, err = await process.communicate()
    ended = Ended(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ended.err
    assert PASSWORD not in ended.out + ended.err
    return ended


def talk(tmp_path: Path, scene: Callable[[CSMS, list[str]], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), CSMS(tmp_path).listening() as csms:
            csms.passwords["CS001"] = PASSWORD
            (ca := tmp_path / "root.pem").write_text(csms.root.pem)
            (secret := tmp_path / "password").write_text(f"{PASSWORD}\n")
            words = ["run", "--url", csms.url(2), "--identity", "CS001", "--serial", "SN001"]
            words += ["--ca", str(ca), "--password-file", str(secret)]
            await scene(csms, words)

    asyncio.run(main())


def enrolling(csms: CSMS) -> None:
    """Sends the certificate as soon as the CSR has been answered."""
    tasks: list[asyncio.Task[Any]] = []

    def sign(payload: dict[str, Any]) -> dict[str, Any]:
        request = {"certificateChain": csms.issue(payload["csr"])}
        # The loop keeps only weak references to tasks.
        tasks.append(asyncio.get_running_loop().create_task(later(request)))
        return {"status": "Accepted"}

    async def later(request: dict[str, Any]) -> None:
        await asyncio.sleep(0.05)
        await csms.call("CertificateSigned", request)

    csms.answers["SignCertificate"] = sign


def test_run_until_enrolled_tells_the_story_and_a_restart_goes_on(tmp_path: Path) -> None:
    async def scene(csms: CSMS, words: list[str]) -> None:
        enrolling(csms)
        data, record = tmp_path / "data", tmp_path / "history.jsonl"
        words += ["--data", str(data), "--until", "enrolled", "--timeout", "20"]
        upgrade = ["--profile3-url", csms.url(3), "--upgrade", "--enrol"]
        ended = await station(*words, *upgrade, "--history", str(record))
        assert ended.code == 0, ended.err
        story = [
            "connected on profile 2",
            "Boot Accepted",
            "CSR sent",
            "certificate received, serial",
            "reconnected on profile 3",
        ]
        places = [ended.out.index(words) for words in story]
        assert places == sorted(places)
        events = [json.loads(line)["event"] for line in record.read_text().splitlines()]
        assert {"sent", "acked", "applied", "connected"} <= set(events)
        assert PASSWORD not in record.read_text()
        again = await station(*words)
        assert again.code == 0, again.err
        assert "connected on profile 3 with certificate" in again.out
        assert "profile 2" not in again.out

    talk(tmp_path, scene)


def test_refused_station_ends_with_one_and_one_line(tmp_path: Path) -> None:
    async def scene(csms: CSMS, words: list[str]) -> None:
        csms.passwords["CS001"] = "something-else-1"
        ended = await station(*words, "--until", "boot_accepted", "--timeout", "1")
        assert ended.code == 1
        assert ended.err.splitlines() == [
            "error: boot_accepted not reached within 1 s; last refusal: HTTP 401"
        ]
        waited = await station(*words, "--timeout", "1")
        assert waited.code == 1
        assert waited.err.splitlines() == ["error: not connected after 1 s; last refusal: HTTP 401"]

    talk(tmp_path, scene)


def test_password_in_argv_works_with_a_warning_and_the_variable_without(tmp_path: Path) -> None:
    async def scene(csms: CSMS, words: list[str]) -> None:
        words = [*words[:-2], "--until", "boot_accepted", "--timeout", "10"]
        by_argv = await station(*words, "--password", PASSWORD)
        assert (by_argv.code, len(by_argv.err.splitlines())) == (0, 1)
        assert "visible in the process list" in by_argv.err
        by_variable = await station(*words, env={"STATION_PASSWORD": PASSWORD})
        assert (by_variable.code, by_variable.err) == (0, "")

    talk(tmp_path, scene)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run"], 2),
        (["run", "--url", "wss://localhost:1/ocpp", "--identity", "a", "--profile", "4"], 2),
        (["run", "--url", "ws://localhost:1/ocpp", "--identity", "a"], 2),
        (["run", "--url", "wss://localhost:1/", "--identity", "a", "--misbehave", "explode"], 2),
        (["run", "--url", "wss://localhost:1/", "--identity", "a", "--ca", "/nowhere.pem"], 1),
        (["fleet", "--url", "wss://localhost:1/", "--identity", "CS{x}"], 1),
        (["fleet", "--url", "wss://localhost:1/", "--credentials", "/nowhere.csv"], 1),
        (["fleet", "--url", "wss://localhost:1/", "--deflate", "some"], 2),
    ],
)
def test_wrong_use_is_two_and_unusable_files_are_one(words: list[str], code: int) -> None:
    ended = asyncio.run(station(*words))
    assert ended.code == code, ended.err
    if words != ["run"] and "4" not in words:
        assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_a_running_station_cleanly(tmp_path: Path, kind: signal.Signals) -> None:
    async def scene(csms: CSMS, words: list[str]) -> None:
        process = await started(*words)
        await until(lambda: csms.received["SecurityEventNotification"] != [])
        process.send_signal(kind)
        _, err = await process.communicate()
        assert (process.returncode, err.decode()) == (0, "stopped\n")
        await csms.connections[0].wait_closed()
        assert csms.connections[0].close_code == 1000

    talk(tmp_path, scene)


def test_sigterm_stops_a_station_whose_shell_ignores_sigint(tmp_path: Path) -> None:
    """A shell without job control starts its background jobs so."""

    async def scene(csms: CSMS, words: list[str]) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = await started(*words)
        finally:
            signal.signal(signal.SIGINT, before)
        await until(lambda: csms.received["SecurityEventNotification"] != [])
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
        assert (process.returncode, err.decode()) == (0, "stopped\n")

    talk(tmp_path, scene)


def test_fleet_boots_from_a_credentials_file_and_reports_as_json(tmp_path: Path) -> None:
    async def scene(csms: CSMS, words: list[str]) -> None:
        csms.answers["BootNotification"] = lambda _: boot("Accepted")
        rows = ["identity,serial_number,password"]
        for number in range(8):
            csms.passwords[f"F{number}"] = f"fleet-password-{number:04d}"
            rows.append(f"F{number},S{number},fleet-password-{number:04d}")
        (file := tmp_path / "stations.csv").write_text("\n".join(rows))
        fleet = ["fleet", *words[1:3], "--ca", str(tmp_path / "root.pem"), "--count", "8"]
        fleet += ["--credentials", str(file), "--timeout", "20", "--json"]
        ended = await station(*fleet)
        assert ended.code == 0, ended.err
        report = json.loads(ended.out)
        assert (report["done"], report["refusals"]) == (8, {})
        serials = {
            item["chargingStation"]["serialNumber"] for item in csms.received["BootNotification"]
        }
        assert serials == {f"S{number}" for number in range(8)}
        assert sum("deflate" in item for item in csms.extensions) == 4, "half of them"
        csms.passwords["F3"] = "changed-in-between"
        refused = await station(*fleet[:-3], "--timeout", "1.5", "--json")
        assert refused.code == 1
        assert json.loads(refused.out)["refusals"]["HTTP 401"] >= 1
        assert "1 of 8 stations did not finish" in refused.err

    talk(tmp_path, scene)
