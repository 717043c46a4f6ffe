"""`csms client`: OAuth clients of the management API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Annotated, Final

import typer

from csms.api_client.output import (
    AsJson,
    Limit,
    connect,
    example,
    print_facts,
    print_json,
    print_table,
    session,
)
from csms.api_client.secret_file import secret_file
from csms.api_client.session import Json, segment

app: Final = typer.Typer(
    help="OAuth clients.", no_args_is_help=True, callback=connect, rich_markup_mode=None
)
_COLUMNS: Final = ("client_id", "name", "roles", "scopes", "created_at")


@app.command(epilog=example("csms client add dashboards --role auditor --output client.json"))
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="For people.")],
    role: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write id and secret to this new file (0600) instead.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Register a client. Its secret is shown this once."""
    with session(context) as api, secret_file(output) as file:
        body = {"name": name, "roles": role or [], "scopes": scope or []}
        client = api.post("/oauth-clients", body)
        if file is not None:
            _write(file, client, api.token_endpoint)
            client = {key: value for key, value in client.items() if key != "client_secret"}
    if as_json:
        print_json(client)
    else:
        print_facts(client)


@app.command("list", epilog=example("csms client list --json"))
def list_clients(context: typer.Context, limit: Limit = 1000, *, as_json: AsJson = False) -> None:
    """Registered clients."""
    with session(context) as api:
        clients = list(api.items("/oauth-clients", limit=limit))
    if as_json:
        print_json(clients)
    else:
        print_table(_COLUMNS, clients)


@app.command(epilog=example("csms client remove 6f1c2d34-0000-4000-8000-000000000000"))
def remove(
    context: typer.Context, client_id: Annotated[str, typer.Argument(help="From `list`.")]
) -> None:
    """Remove a client; its tokens are refused from now on."""
    with session(context) as api:
        api.delete(f"/oauth-clients/{segment(client_id)}")
    typer.echo("Removed.")


def _write(file: IO[str], client: Json, token_endpoint: str) -> None:
    content = {
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "token_endpoint": token_endpoint,
    }
    json.dump(content, file, indent=2)
