"""`station run` and `station fleet`: simulated Charging Stations from the command line.

Prints one readable line per thing that happens. Exit codes: 0 reached or stopped, 1 not reached or
unusable files, 2 usage. No stack trace and no password ever comes out.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from cryptography import x509
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from station import device_model as dm
from station.client import ChargingStation
from station.effects import Milestone
from station.fleet import (
    Credential,
    Fleet,
    FleetConfig,
    FleetInvalid,
    Scenario,
    by_pattern,
    from_file,
)
from station.history import History
from station.keystore import CertificateChoice, KeyStoreInvalid
from station.misbehaviour import Misbehaviour, SwitchUnknown, names
from station.state import StateInvalid, StationConfig

app = typer.Typer(
    name="station",
    help="Simulated OCPP 2.0.1 Charging Stations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_out: Final = Console(highlight=False, soft_wrap=True)
_err: Final = Console(stderr=True, highlight=False, soft_wrap=True)

_WORDS: Final = {
    Milestone.CONNECTED: "connected on profile {profile}",
    Milestone.DISCONNECTED: "disconnected (close code {code})",
    Milestone.REFUSED: "refused: {reason}",
    Milestone.BOOT_ACCEPTED: "Boot Accepted, heartbeat every {interval} s",
    Milestone.BOOT_PENDING: "Boot Pending, again in {interval} s",
    Milestone.BOOT_REJECTED: "Boot Rejected, again in {interval} s",
    Milestone.HEARTBEAT: "heartbeat answered",
    Milestone.CSR_SENT: "CSR sent, Accepted",
    Milestone.CSR_REJECTED: "CSR refused: {reason}",
    Milestone.CERTIFICATE_INSTALLED: "certificate received, serial {serial}",
    Milestone.CERTIFICATE_REJECTED: "certificate refused: {reason}",
    Milestone.PASSWORD_CHANGED: "password changed by the CSMS",
    Milestone.RESET: "reset ({type})",
    Milestone.ROOT_INSTALLED: "root installed ({type})",
}

UrlOption = Annotated[
    str, typer.Option(help="CSMS endpoint without the identity, such as wss://HOST:9002/ocpp.")
]
CaOption = Annotated[Path | None, typer.Option(help="PEM file with the CSMS root certificate.")]
ProfileOption = Annotated[int, typer.Option(min=1, max=3, help="Security profile to begin with.")]
MisbehaveOption = Annotated[
    list[str] | None,
    typer.Option(help=f"Switch, or switch=value; repeatable: {', '.join(names())}."),
]
HistoryOption = Annotated[
    Path | None, typer.Option(help="JSON Lines file of what was sent, acknowledged and applied.")
]
Profile3Option = Annotated[
    str | None, typer.Option(help="Endpoint preset in slot 2 for security profile 3.")
]
UpgradeOption = Annotated[
    bool, typer.Option("--upgrade", help="Move to slot 2 by itself once it has a certificate.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(min=0.1, help="Stop after so many seconds: exit code 1 when not there."),
]


@app.command()
def run(
    *,
    url: UrlOption,
    identity: Annotated[str, typer.Option(help="Identity in the URL.")],
    serial: Annotated[str | None, typer.Option(help="Serial number; default: identity.")] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="STATION_PASSWORD",
            show_envvar=True,
            help="Visible to others in the process list: prefer --password-file or the variable.",
        ),
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="First line is the password.")] = None,
    ca: CaOption = None,
    profile: ProfileOption = 2,
    data: Annotated[Path | None, typer.Option(help="Directory that keeps keys and state.")] = None,
    profile3_url: Profile3Option = None,
    upgrade: UpgradeOption = False,
    organization: Annotated[str | None, typer.Option(help="O of the CSR.")] = None,
    enrol: Annotated[
        bool, typer.Option("--enrol", help="Ask for a certificate without being triggered.")
    ] = False,
    choice: Annotated[
        CertificateChoice, typer.Option(help="Which of several certificates to show.")
    ] = CertificateChoice.LATEST_INSTALLED,
    misbehave: MisbehaveOption = None,
    history: HistoryOption = None,
    until: Annotated[
        Milestone | None, typer.Option(help="Exit with 0 as soon as this has happened.")
    ] = None,
    timeout: TimeoutOption = None,
) -> None:
    """Run one Charging Station.

    Example: station run --url wss://localhost:9002/ocpp --identity CS001 --serial SN001
    --password-file cs001.password --ca var/bootstrap/csms-root.pem --data ./cs001
    """
    _warn_of_argv(password)
    config = StationConfig(
        url=url,
        identity=identity,
        serial_number=serial or identity,
        security_profile=profile,
        password=_password(password, password_file),
        profile3_url=profile3_url,
        upgrade=upgrade,
        organization=organization,
        certificate_choice=choice,
        data=_directory(data),
    )
    roots = _roots(ca)
    with ExitStack() as stack:
        record = _history(history, stack)
        try:
            station = ChargingStation(
                config,
                csms_roots=roots,
                misbehaviour=Misbehaviour.parse(misbehave or ()),
                history=record,
            )
        except SwitchUnknown as error:
            _usage(str(error))
        except (KeyStoreInvalid, StateInvalid, OSError) as error:
            _fail(str(error))
        if not station.state.network.current.fits:
            _usage(f"profile {profile} does not go with {url}: ws for 1, wss for 2 and 3")
        station.on_milestone.append(_Printer())
        if enrol:
            station.request_certificate()
        _finish(_run_one(station, until, timeout))


@app.command()
def fleet(
    *,
    url: UrlOption,
    count: Annotated[int, typer.Option(min=1, help="How many stations.")] = 10,
    identity: Annotated[str, typer.Option(help="Pattern of the identities.")] = "CS{n:05d}",
    serial: Annotated[str, typer.Option(help="Pattern of the serial numbers.")] = "SN{n:05d}",
    credentials: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON Lines: identity, serial_number, password per station."),
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="One password for all.")] = None,
    ca: CaOption = None,
    profile: ProfileOption = 2,
    profile3_url: Profile3Option = None,
    upgrade: UpgradeOption = False,
    scenario: Annotated[Scenario, typer.Option(help="How far each goes.")] = Scenario.BOOT,
    rate: Annotated[float, typer.Option(min=0.1, help="Connections per second.")] = 100.0,
    deflate: Annotated[str, typer.Option(help="on, off or half of the stations.")] = "half",
    ping_interval: Annotated[int, typer.Option(min=0, help="Seconds; 0 is off.")] = 30,
    seed: Annotated[int, typer.Option(help="Same seed, same jitter.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Directory with one per station.")] = None,
    misbehave: MisbehaveOption = None,
    history: HistoryOption = None,
    timeout: TimeoutOption = None,
    stay: Annotated[bool, typer.Option("--stay", help="Stay connected until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run many Charging Stations in this process.

    Example: station fleet --count 1000 --url wss://localhost:9002/ocpp
    --credentials stations.csv --ca var/bootstrap/csms-root.pem --scenario boot --stay
    """
    if deflate not in {"on", "off", "half"}:
        _usage("--deflate takes on, off or half")
    pattern = StationConfig(
        url=url,
        identity="",
        serial_number="",
        security_profile=profile,
        profile3_url=profile3_url,
        upgrade=upgrade,
        variables={dm.PING_INTERVAL: str(ping_interval)},
    )
    roots = tuple(_roots(ca))
    with ExitStack() as stack:
        record = _history(history, stack)
        try:
            Misbehaviour.parse(misbehave or ())
            made = Fleet(
                FleetConfig(
                    station=pattern,
                    count=count,
                    credentials=_credentials(credentials, identity, serial, password_file, count),
                    csms_roots=roots,
                    scenario=scenario,
                    connect_rate=rate,
                    deflate=deflate,
                    seed=seed,
                    data=_directory(data),
                    misbehaviour=lambda _index: Misbehaviour.parse(misbehave or ()),
                ),
                history=record,
            )
        except SwitchUnknown as error:
            _usage(str(error))
        except (FleetInvalid, KeyStoreInvalid, StateInvalid, OSError) as error:
            _fail(str(error))
        stay = stay or scenario is Scenario.IDLE
        _finish(_run_fleet(made, timeout=timeout, stay=stay, as_json=as_json))


def main() -> None:
    """Entry point of the `station` command."""
    app()


# What the two commands do


@dataclass(slots=True)
class _Printer:
    """Says in a line what has happened to one station."""

    connected_before: bool = False

    def __call__(
        self, station: ChargingStation, milestone: Milestone, facts: dict[str, str]
    ) -> None:
        words = _WORDS.get(milestone)
        if words is None:
            return
        text = words.format_map(facts)
        if milestone is Milestone.CONNECTED:
            text = f"re{text}" if self.connected_before else text
            self.connected_before = True
            if "certificate" in facts:
                text += f" with certificate {facts['certificate']}"
        _out.print(f"{station.config.identity}: {text}", markup=False)


async def _run_one(
    station: ChargingStation,
    until: Milestone | None,
    timeout: float | None,  # noqa: ASYNC109
) -> None:
    async with station.running():
        if until is None:
            await _forever(timeout)
            if not station.connected:
                _fail(f"not connected after {timeout:g} s{_why(station)}")
            return
        try:
            # A century is for ever enough, and keeps one code path.
            await station.wait_for(until, timeout=timeout or 3.2e9)
        except TimeoutError:
            _fail(f"{until.value} not reached within {timeout:g} s{_why(station)}")


def _why(station: ChargingStation) -> str:
    last = station.last_refusal
    return f"; last refusal: {last.reason}" if last is not None else ""


async def _run_fleet(
    made: Fleet,
    *,
    timeout: float | None,  # noqa: ASYNC109 - the option, raised as an exit code
    stay: bool,
    as_json: bool,
) -> None:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_err,
        disable=not _err.is_terminal,
    )
    task = progress.add_task(made.config.scenario.value, total=len(made.stations))
    made.on_milestone.append(lambda *_: progress.update(task, completed=len(made.report.done)))
    reached = True
    try:
        with progress:
            async with made.running():
                try:
                    async with asyncio.timeout(timeout):
                        await made.finished()
                except TimeoutError:
                    reached = False
                if stay and reached:
                    await _until_stopped()
    finally:
        # Ctrl-C ends a fleet that stays: its report is wanted all the same.
        _print_report(made, as_json=as_json)
    if not reached:
        missing = len(made.stations) - len(made.report.done)
        _fail(f"{missing} of {len(made.stations)} stations did not finish in {timeout:g} s")


def _print_report(made: Fleet, *, as_json: bool) -> None:
    report = made.report.as_json()
    if as_json:
        _out.print(json.dumps(report), markup=False)
        return
    _out.print(f"{report['done']} of {len(made.stations)} stations: {made.config.scenario.value}")
    for kind in ("milestones", "refusals"):
        for name, number in report[kind].items():
            _out.print(f"  {name}: {number}", markup=False)


async def _forever(timeout: float | None) -> None:  # noqa: ASYNC109 - the option
    try:
        async with asyncio.timeout(timeout):
            await _until_stopped()
    except TimeoutError:
        return


async def _until_stopped() -> None:
    await asyncio.Event().wait()


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Runs to the end; Ctrl-C and SIGTERM end it as quietly as success."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_stoppable(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _err.print("stopped")


async def _stoppable(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM ends the work even where a script's shell made SIGINT ignored."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work


def _loop_factory() -> Any:
    """Uvloop where it is: half the memory per idle TLS connection."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


# Options into values


def _password(password: str | None, file: Path | None) -> str | None:
    if password is not None and file is not None:
        _usage("give --password or --password-file, not both")
    if file is None:
        return password
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        _fail(f"{file}: cannot be read")
    if not lines or not lines[0]:
        _fail(f"{file}: holds no password")
    return lines[0]


def _warn_of_argv(password: str | None) -> None:
    if password is not None and any(
        word.startswith("--password=") or word == "--password" for word in sys.argv
    ):
        _err.print("warning: --password is visible in the process list; use --password-file")


def _roots(ca: Path | None) -> list[x509.Certificate]:
    if ca is None:
        return []
    try:
        return x509.load_pem_x509_certificates(ca.read_bytes())
    except (OSError, ValueError):
        _fail(f"{ca}: no PEM certificate can be read from it")


def _directory(path: Path | None) -> Path | None:
    if path is not None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            _fail(f"{path}: {error.strerror}")
    return path


def _history(path: Path | None, stack: ExitStack) -> History:
    if path is None:
        return History()
    try:
        return History(sink=stack.enter_context(path.open("a", encoding="utf-8")), payloads=True)
    except OSError as error:
        _fail(f"{path}: {error.strerror}")


def _credentials(
    file: Path | None, identity: str, serial: str, password_file: Path | None, count: int
) -> Any:
    if file is None:
        return by_pattern(
            identity=identity,
            serial_number=serial,
            password=_password(None, password_file),
        )
    rows: list[Credential] = from_file(file)
    if len(rows) < count:
        raise FleetInvalid(f"{file}: {len(rows)} stations, --count asks for {count}")
    return rows.__getitem__


def _usage(text: str) -> NoReturn:
    _err.print(f"error: {text}", markup=False)
    raise typer.Exit(2)


def _fail(text: str) -> NoReturn:
    _err.print(f"error: {text}", markup=False)
    raise typer.Exit(1)
