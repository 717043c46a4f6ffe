"""`csms station`: register, look at, and talk to Charging Stations."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import track

from csms.api_client.doctor import advice
from csms.api_client.output import (
    AsJson,
    Limit,
    complain,
    connect,
    example,
    print_facts,
    print_json,
    print_table,
    session,
)
from csms.api_client.secret_file import secret_file
from csms.api_client.session import ApiFailed, ApiSession, Json, segment
from csms.api_client.station_file import read_stations

app: Final = typer.Typer(
    help="Charging Stations.", no_args_is_help=True, callback=connect, rich_markup_mode=None
)
Identity = Annotated[str, typer.Argument(help="The station's identity.")]
_COLUMNS: Final = (
    "identity",
    "serial_number",
    "security_profile",
    "connected",
    "registration_status",
    "blocked",
    "groups",
    "last_seen_at",
)
_NEW: Final = ("identity", "serial_number", "security_profile", "password")
_ATTEMPT: Final = ("at", "peer", "listener", "outcome", "failing_check", "detail")
_WATCH_SECONDS: Final = 1.0
_UNFINISHED: Final = frozenset({"waiting", "running"})
_CERTIFICATE_ONLY: Final = 3


@app.command(epilog=example("csms station add CS001 --serial-number SN-0001 --profile 2"))
def add(
    context: typer.Context,
    identity: Identity,
    serial_number: Annotated[str, typer.Option(help="Becomes its certificate's common name.")],
    profile: Annotated[int, typer.Option(min=1, max=3, help="Security profile.")] = 2,
    group: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    registration_status: Annotated[
        str, typer.Option(help="How its boot is answered: Accepted, Pending, Rejected.")
    ] = "Accepted",
    password_file: Annotated[
        Path | None, typer.Option(help="Write the password to this new file (0600) instead.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Register a station. Its generated password is shown this once."""
    if password_file is not None and profile == _CERTIFICATE_ONLY:
        raise typer.BadParameter("profile 3 has no password", param_hint="--password-file")
    body = {
        "identity": identity,
        "serial_number": serial_number,
        "security_profile": profile,
        "groups": group or [],
        "registration_status": registration_status,
    }
    with session(context) as api, secret_file(password_file) as file:
        created = _created(api.post("/stations", body))
        if file is not None:
            file.write(f"{created.pop('password')}\n")
    if as_json:
        print_json(created)
    else:
        print_facts(created)


@app.command("list", epilog=example("csms station list --connected"))
def list_stations(
    context: typer.Context,
    connected: Annotated[
        bool | None, typer.Option("--connected/--offline", help="Only those.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Only this group.")] = None,
    limit: Limit = 1000,
    *,
    as_json: AsJson = False,
) -> None:
    """Registered stations, by identity."""
    wanted = None if connected is None else str(connected).lower()
    with session(context) as api:
        stations = list(api.items("/stations", limit=limit, connected=wanted, group=group))
    if as_json:
        print_json(stations)
    else:
        print_table(_COLUMNS, stations)


@app.command("import", epilog=example("csms station import stations.csv --json > passwords.json"))
def import_stations(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CSV with identity, serial_number, security_profile.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Register all stations of a file. Their generated passwords are shown this once."""
    created: list[Json] = []
    failed = 0
    try:
        with session(context) as api:
            bodies = read_stations(file)
            progress = Console(stderr=True)
            for body in track(
                bodies, "registering", console=progress, disable=not progress.is_terminal
            ):
                try:
                    created.append(_created(api.post("/stations", body)))
                except ApiFailed as error:
                    failed += 1
                    complain(f"{body['identity']}: {error}")
    except BaseException:  # Ctrl-C, too: nobody could ever see these passwords again
        if created:
            _show_created(created, as_json=as_json)
        raise
    _show_created(created, as_json=as_json)
    if failed:
        complain(f"{failed} of {len(bodies)} stations were not registered")
        raise typer.Exit(1)


@app.command(epilog=example("csms station show CS001"))
def show(context: typer.Context, identity: Identity, *, as_json: AsJson = False) -> None:
    """One station."""
    with session(context) as api:
        station = api.get(f"/stations/{segment(identity)}")
    if as_json:
        print_json(station)
    else:
        print_facts(station)


@app.command(epilog=example("csms station remove CS001"))
def remove(context: typer.Context, identity: Identity) -> None:
    """Delete a station's registration; its certificates must have been revoked."""
    with session(context) as api:
        api.delete(f"/stations/{segment(identity)}")
    typer.echo("Removed.")


@app.command(epilog=example("csms station doctor CS001"))
def doctor(
    context: typer.Context,
    identity: Identity,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many attempts.")] = 10,
    *,
    as_json: AsJson = False,
) -> None:
    """Why a station does not get in: its last attempts, with the check that failed."""
    path = f"/stations/{segment(identity)}"
    with session(context) as api:
        attempts = list(api.items(f"{path}/connection-attempts", limit=limit))
        station = _station_or_none(api, path)
    if as_json:
        print_json({"station": station, "attempts": attempts})
    else:
        _diagnose(identity, station, attempts)
    if station is None:
        raise typer.Exit(1)


@app.command(epilog=example("csms station renew CS001 --wait 60"))
def renew(
    context: typer.Context,
    identity: Identity,
    wait: Annotated[int, typer.Option(min=0, help="Watch for at most this many seconds.")] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask the station for a CSR and give it a new certificate (A02)."""
    with session(context) as api:
        operation = api.post(f"/stations/{segment(identity)}/certificates/renewal")
        until = time.monotonic() + wait
        while operation["state"] in _UNFINISHED and time.monotonic() < until:
            time.sleep(_WATCH_SECONDS)
            operation = api.get(f"/operations/{segment(operation['id'])}")
    if as_json:
        print_json(operation)
    else:
        print_facts(operation)
    unfinished = wait > 0 and operation["state"] in _UNFINISHED
    if unfinished:
        complain(f"not finished after {wait} s: the operation is {operation['state']}")
    if unfinished or operation["state"] == "failed":
        raise typer.Exit(1)


@app.command(epilog=example("""csms station command CS001 Reset '{"type": "OnIdle"}'"""))
def command(
    context: typer.Context,
    identity: Identity,
    action: Annotated[str, typer.Argument(help="OCPP action, such as GetVariables.")],
    payload: Annotated[str, typer.Argument(help="JSON of the request; - reads it from stdin.")],
) -> None:
    """Send a CALL and print the station's answer as JSON."""
    body = _json_object(sys.stdin.read() if payload == "-" else payload)
    path = f"/stations/{segment(identity)}/commands/{segment(action)}"
    with session(context) as api:
        print_json(api.post(path, body)["response"])


@app.command(epilog=example("csms station disconnect CS001"))
def disconnect(context: typer.Context, identity: Identity, *, as_json: AsJson = False) -> None:
    """Close the station's live session; it may come back at once."""
    with session(context) as api:
        answer = api.post(f"/stations/{segment(identity)}/disconnect")
    if as_json:
        print_json(answer)
    else:
        typer.echo("Disconnected." if answer["disconnected"] else "It was not connected.")


@app.command(epilog=example("csms station password CS001"))
def password(context: typer.Context, identity: Identity, *, as_json: AsJson = False) -> None:
    """Give the station a new generated password (A01). Nobody gets to see it."""
    with session(context) as api:
        answer = api.post(f"/stations/{segment(identity)}/password")
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"The station answered {answer['status']}.")
    if answer["status"] == "Rejected":
        raise typer.Exit(1)


def _created(answer: Json) -> Json:
    return {name: answer[name] for name in _NEW if answer.get(name) is not None}


def _show_created(created: list[Json], *, as_json: bool) -> None:
    if as_json:
        print_json(created)
    else:
        print_table(_NEW, created)


def _station_or_none(api: ApiSession, path: str) -> Json | None:
    try:
        return api.get(path)
    except ApiFailed as error:
        if "no such station" in str(error):
            return None
        raise


def _diagnose(identity: str, station: Json | None, attempts: list[Json]) -> None:
    typer.echo(_standing(identity, station))
    if not attempts:
        typer.echo("No attempt to connect has been seen: check the station's URL and the network.")
        return
    print_table(_ATTEMPT, attempts)
    minimum = station["minimum_security_profile"] if station else None
    if advised := advice(attempts[0]["failing_check"], minimum_profile=minimum):
        typer.echo(f"Last refusal: {advised}.")


def _standing(identity: str, station: Json | None) -> str:
    if station is None:
        return f"{identity} is not registered."
    connected = f"connected to {station['node']}" if station["connected"] else "not connected"
    blocked = ", blocked" if station["blocked"] else ""
    return (
        f"{identity} is registered for profile {station['security_profile']}, {connected}{blocked}."
    )


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise typer.BadParameter("not JSON", param_hint="PAYLOAD") from None
    if not isinstance(value, dict):
        raise typer.BadParameter("not a JSON object", param_hint="PAYLOAD")
    return value
