"""`csms up` that cannot start, or is stopped while it does: one line, and nothing stays behind.

The real product in this process, on a data directory whose first start was complete.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from csms.adapters.bootstrap import Bootstrap, Endpoints
from csms.settings import Settings, load_settings
from csms.wiring import StartFailed, run_product
from csms.wiring import vault as vault_module

FREE: dict[str, Any] = {
    "gateway": {"profile2_port": 0, "profile3_port": 0},
    "api": {"port": 0},
    "pki": {"public_port": 0},
    "metrics": {"port": 0},
}


def children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def listening() -> set[int]:
    """Inodes of the TCP sockets that this process listens on."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    all_of_them = {int(fields[9]) for fields in lines if fields[3] == "0A"}
    mine = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = descriptor.readlink().name
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            mine.add(int(target[8:-1]))
    return all_of_them & mine


async def run(settings: Settings, when_ready: Callable[[Endpoints], None]) -> None:
    stop = asyncio.Event()

    def ready(endpoints: Endpoints) -> None:
        asyncio.get_running_loop().call_soon(stop.set)
        when_ready(endpoints)

    before = listening(), children()
    try:
        async with asyncio.timeout(60):
            await run_product(settings, ready=ready, stop=stop)
    finally:
        assert (listening(), children()) == before, "something still runs"
        assert len(asyncio.all_tasks()) == 1
        assert not Bootstrap(settings.data_dir).endpoints_file.exists()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("up") / "var"
    seen: list[Endpoints] = []
    asyncio.run(run(load_settings(data_dir=directory, **FREE), seen.append))
    assert seen, "the first start came through"
    assert directory.stat().st_mode & 0o777 == 0o700
    return directory


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def never(_: Endpoints) -> None:
    pytest.fail("it is not ready")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("pki", "public_port"),
        ("api", "port"),
        ("gateway", "profile3_port"),
        ("metrics", "port"),
    ],
)
def test_a_taken_port_is_one_line(data_dir: Path, taken: int, part: str, name: str) -> None:
    changed = FREE | {part: FREE[part] | {name: taken}}
    with pytest.raises(StartFailed) as caught:
        asyncio.run(run(load_settings(data_dir=data_dir, **changed), never))
    line = str(caught.value)
    assert "\n" not in line
    assert "in use" in line


def test_a_ca_made_without_rsa_keys_is_none_for_certification_runs(data_dir: Path) -> None:
    """The line says what to do: on the bundled OpenBao, only a first start makes CA keys."""
    changed = FREE | {"tls": {"policy": "ocpp-certification"}}
    with pytest.raises(StartFailed, match=r"no RSA hierarchy.*begin with a new CSMS_DATA_DIR"):
        asyncio.run(run(load_settings(data_dir=data_dir, **changed), never))


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.3])
def test_a_stop_during_the_start_ends_it_there(data_dir: Path, seconds: float) -> None:
    """SIGTERM while OpenBao starts, and while the roles do."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, stop.set)
        before = listening(), children()
        async with asyncio.timeout(20):
            settings = load_settings(data_dir=data_dir, **FREE)
            await run_product(settings, ready=lambda _: None, stop=stop)
        assert (listening(), children()) == before

    asyncio.run(main())


def test_endpoints_of_a_run_that_was_killed_are_withdrawn(data_dir: Path, taken: int) -> None:
    """The next start withdraws them also when it then fails."""
    stale = Bootstrap(data_dir).endpoints_file
    stale.write_text("{}")
    changed = FREE | {"pki": {"public_port": taken}}
    with pytest.raises(StartFailed):
        asyncio.run(run(load_settings(data_dir=data_dir, **changed), never))
    assert not stale.exists()


def test_one_product_at_a_time_and_the_second_leaves_the_first_alone(data_dir: Path) -> None:
    async def main() -> None:
        settings = load_settings(data_dir=data_dir, **FREE)
        second: list[str] = []
        stop, is_ready = asyncio.Event(), asyncio.Event()

        def ready(_: Endpoints) -> None:
            is_ready.set()

        async def try_again() -> None:
            await is_ready.wait()
            try:
                await run_product(settings, ready=never, stop=asyncio.Event())
            except StartFailed as error:
                second.append(str(error))
            assert Bootstrap(data_dir).endpoints_file.exists()
            stop.set()

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(try_again())
            await run_product(settings, ready=ready, stop=stop)
        assert "in use by another csms" in second[0]

    asyncio.run(main())


def test_an_openbao_that_dies_is_started_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_module, "RESTART_SECONDS", 0.05)

    async def main() -> None:
        stop, is_ready = asyncio.Event(), asyncio.Event()
        before = children()

        async def kill_it() -> None:
            await is_ready.wait()
            (old,) = set(children()) - set(before)
            os.kill(old, signal.SIGKILL)
            while not (set(children()) - set(before) - {old}):
                await asyncio.sleep(0.05)
            stop.set()

        async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
            tasks.create_task(kill_it())
            settings = load_settings(data_dir=data_dir, **FREE)
            await run_product(settings, ready=lambda _: is_ready.set(), stop=stop)
        assert children() == before

    asyncio.run(main())


def without_vault(data_dir: Path, port: int) -> Settings:
    """The same data, and an operator's Vault that is not there."""
    vault = {
        "addr": f"https://127.0.0.1:{port}",
        "ca_file": data_dir / "openbao" / "ca.pem",
        "secrets_dir": data_dir / "openbao" / "secrets",
    }
    return load_settings(data_dir=data_dir, vault=vault, **FREE)


@pytest.fixture
def nobodys() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_with_its_data_it_starts_without_vault_and_stops_again(
    data_dir: Path, nobodys: int
) -> None:
    """What still waits for Vault then is no reason to stay, nor has it written anything."""
    audit_key = Bootstrap(data_dir).audit_file.read_text()
    seen: list[Endpoints] = []
    asyncio.run(run(without_vault(data_dir, nobodys), seen.append))
    assert set(seen[0].ocpp) == {"2", "3"}
    assert Bootstrap(data_dir).audit_file.read_text() == audit_key


@pytest.mark.parametrize(
    ("lost", "said"),
    [("tls/listener.pem", "no listener certificate"), ("pki.db", "hold the ceremony first")],
)
def test_without_vault_and_without_its_data_it_says_in_one_line_what_is_missing(
    data_dir: Path, nobodys: int, lost: str, said: str
) -> None:
    kept = (data_dir / lost).rename(data_dir / "kept")
    try:
        with pytest.raises(StartFailed) as caught:
            asyncio.run(run(without_vault(data_dir, nobodys), never))
    finally:
        kept.replace(data_dir / lost)
    assert "\n" not in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["a file", "no such parent"])
def test_a_data_directory_that_cannot_be_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text("")
    directory = tmp_path / "file" if content == "a file" else tmp_path / "file" / "var"
    with pytest.raises(StartFailed, match="file"):
        asyncio.run(
            run_product(
                load_settings(data_dir=directory, **FREE), ready=never, stop=asyncio.Event()
            )
        )
