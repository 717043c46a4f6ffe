"""`csms certificate`: look at certificates, and revoke them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from csms.api_client.output import (
    AsJson,
    Limit,
    connect,
    example,
    plain,
    print_facts,
    print_json,
    print_table,
    room_for_columns,
    session,
)
from csms.api_client.session import segment

app: Final = typer.Typer(
    help="Certificates of Charging Stations.",
    no_args_is_help=True,
    callback=connect,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="The certificate's id, from `list`.")]
_COLUMNS: Final = ("id", "station", "status", "serial", "not_after", "first_seen_at")
_WIDE: Final = 110  # below, the serial number would fold all the rest
_NODE: Final = ("node", "closed", "at")


@app.command("list", epilog=example("csms certificate list --station CS001 --status active"))
def list_certificates(
    context: typer.Context,
    station: Annotated[str | None, typer.Option(help="Only this station's.")] = None,
    status: Annotated[str | None, typer.Option(help="Only these, such as active.")] = None,
    expires_before: Annotated[
        str | None, typer.Option(help="RFC 3339, such as 2027-01-31T00:00:00Z.")
    ] = None,
    limit: Limit = 1000,
    *,
    as_json: AsJson = False,
) -> None:
    """Certificates, newest first."""
    filters = {"station": station, "status": status, "expires_before": expires_before}
    with session(context) as api:
        certificates = list(api.items("/certificates", limit=limit, **filters))
    if as_json:
        print_json(certificates)
    else:
        narrow = room_for_columns() < _WIDE
        print_table([one for one in _COLUMNS if not (narrow and one == "serial")], certificates)


@app.command(epilog=example("csms certificate show 6f1c2d34-0000-4000-8000-000000000000"))
def show(context: typer.Context, certificate_id: Id, *, as_json: AsJson = False) -> None:
    """One certificate."""
    with session(context) as api:
        certificate = api.get(f"/certificates/{segment(certificate_id)}")
    if as_json:
        print_json(certificate)
    else:
        print_facts(certificate)


@app.command(epilog=example("csms certificate chain 6f1c2d34-0000-4000-8000-000000000000"))
def chain(context: typer.Context, certificate_id: Id) -> None:
    """The certificate and its issuing CA, PEM."""
    with session(context) as api:
        pem = api.text(f"/certificates/{segment(certificate_id)}/chain")
    for line in pem.splitlines():
        typer.echo(plain(line))


@app.command(
    epilog=example(
        "csms certificate revoke 6f1c2d34-0000-4000-8000-000000000000 --reason keyCompromise"
    )
)
def revoke(
    context: typer.Context,
    certificate_id: Id,
    reason: Annotated[str, typer.Option(help="RFC 5280 reason, such as keyCompromise.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke a certificate; the station's live session with it is cut at once."""
    with session(context) as api:
        answer = api.post(f"/certificates/{segment(certificate_id)}/revocation", {"reason": reason})
    if as_json:
        print_json(answer)
        return
    print_facts(answer["certificate"])
    if answer["nodes"]:
        print_table(_NODE, answer["nodes"])
