"""The command line: parses, calls wiring, prints. Nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
from rich.console import Console

from csms.adapters.bootstrap import Bootstrap, Endpoints
from csms.adapters.core_dumps import forbid_core_dumps
from csms.api_client.certificate import app as certificate_app
from csms.api_client.client import app as client_app
from csms.api_client.output import plain, print_json
from csms.api_client.station import app as station_app
from csms.settings import Settings, SettingsInvalid, load_settings

app = typer.Typer(
    name="csms",
    help="An OCPP 2.0.1 Charging Station Management System with its own PKI.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
vault_app = typer.Typer(
    help="Provision and check Vault or OpenBao: mounts, keys, roles, policies.",
    no_args_is_help=True,
)
app.add_typer(station_app, name="station")
app.add_typer(client_app, name="client")
app.add_typer(certificate_app, name="certificate")
app.add_typer(vault_app, name="vault")

# Paths and Vault's answers are printed as they are, never read as markup.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; the environment wins over it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(config: Config = None) -> None:
    """Run the whole product in this process, on embedded defaults.

    Example: csms up
    """
    settings = _settings(config)
    _become_a_role()
    stop = asyncio.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signalled, stop.set)
        await _wiring().run_product(settings, ready=_announce(settings), stop=stop)

    _run(run())


@app.command()
def migrate(config: Config = None) -> None:
    """Bring the database schemas up to this version; harmless when they are.

    Example: CSMS_DATABASE_URL=postgresql+asyncpg://… csms migrate
    """
    _run(_wiring().migrate(_settings(config)))
    out.print("the database is up to date")


@app.command()
def pki(config: Config = None) -> None:
    """Run the certification authority as a process of its own, reached over mutual TLS.

    Example: csms pki --config pki.toml
    """
    settings = _settings(config)
    _become_a_role()
    stop = asyncio.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signalled, stop.set)
        await _wiring().run_pki(
            settings, ready=lambda url: out.print(f"PKI            {url}"), stop=stop
        )

    _run(run())


@app.command()
def openapi() -> None:
    """Print the OpenAPI document of the management API.

    Example: csms openapi > openapi.json
    """
    print_json(_wiring().openapi())


@vault_app.command("apply")
def vault_apply(
    config: Config = None,
    secrets_dir: Annotated[
        Path | None,
        typer.Option(help="Write each role's role id and secret id here (0600); once is enough."),
    ] = None,
    ceremony: Annotated[
        bool, typer.Option(help="Make the root and the issuing CAs as well, if there are none.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make Vault or OpenBao as it should be; what is right already is left alone.

    Uses VAULT_TOKEN, the token of an administrator of your Vault, or the provisioner's identity
    in vault.secrets_dir, which can do less: it reports what needs an administrator.

    Example: VAULT_TOKEN=… csms vault apply --secrets-dir ./secrets --ceremony
    """
    report = _run(
        _wiring().vault_apply(_settings(config), secrets_dir=secrets_dir, ceremony=ceremony)
    )
    _print_items(report, as_json=as_json)
    if any(item["outcome"] == "drifted" for item in report):
        raise typer.Exit(1)


@vault_app.command("verify")
def vault_verify(config: Config = None, as_json: AsJson = False) -> None:
    """Check mounts, keys, roles and policies against the repository; refuse over-wide ones.

    Example: csms vault verify
    """
    findings = _run(_wiring().vault_verify(_settings(config)))
    _print_items(findings, as_json=as_json)
    if findings:
        raise typer.Exit(1)
    if not as_json:
        out.print("everything is as it should be")


def _print_items(items: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        print_json(items)
        return
    for item in items:
        out.print("  ".join(plain(value) for value in item.values() if value))


def _announce(settings: Settings) -> Any:
    bootstrap = Bootstrap(settings.data_dir)

    def ready(endpoints: Endpoints) -> None:
        profiles = {"1": "ws + password", "2": "TLS + password", "3": "mutual TLS"}
        for number, meaning in profiles.items():
            url = endpoints.ocpp.get(number, "off")
            out.print(f"OCPP profile {number}   {url}   ({meaning})")
        out.print(f"API              {endpoints.api}")
        out.print(f"CSMS root        {bootstrap.root_file}")
        out.print(f"Administrator    {bootstrap.administrator_file}   (OAuth client, mode 0600)")
        out.print("Ready. Ctrl-C stops everything; the next start finds all data again.")

    return ready


def _settings(config: Path | None) -> Settings:
    try:
        return load_settings(config)
    except SettingsInvalid as error:
        _fail(str(error), code=2)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """On uvloop where it exists. One line for what users can mend, exit code 1.

    Whatever it writes is its owner's alone: databases, keys, secrets.
    """
    os.umask(0o077)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work)
    except _wiring().StartFailed as error:
        _fail(str(error), code=1)


def _wiring() -> Any:
    """Imported only by commands that run something: it brings every library of the product along,
    and `csms station list` must not wait for that.
    """
    from csms import wiring  # noqa: PLC0415  (as said)

    return wiring


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415  (there is none for Windows)
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _fail(message: str, *, code: int) -> NoReturn:
    err.print(f"csms: {plain(' '.join(message.split()))}")
    raise typer.Exit(code)


def _become_a_role() -> None:
    """What every long-running process of ours does first."""
    forbid_core_dumps()
    _configure_logging()


def _configure_logging() -> None:
    """One JSON object a line unless a person is watching; nothing below INFO."""
    # G01: values come from stations, so they are shown escaped on a terminal as well.
    renderer: Any = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(
            repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_control_characters,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries speak only when something is wrong; none of them may repeat a frame or a header.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)


def _without_control_characters(_: object, __: str, event: Any) -> Any:
    """Of exceptions: the renderers escape every other value."""
    if "exception" in event:
        event["exception"] = "\n".join(map(plain, str(event["exception"]).split("\n")))
    return event


def main() -> None:
    app()
