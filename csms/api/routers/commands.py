"""CALLs to stations as a schema-validated passthrough."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response

from csms.api.access import CommandsSend, GuardedRoute
from csms.api.idempotency import OncePerKey, Reply
from csms.api.resources import Api
from csms.api.schemas.records import CommandAnswer
from csms.ocpp.actions import Action, Kind
from csms.ocpp.redaction import redact
from csms.operations.send_command import send_command

router: Final = APIRouter(prefix="/stations", tags=["commands"], route_class=GuardedRoute)


@router.post("/{identity}/commands/{action}", response_model=CommandAnswer)
async def command(
    identity: str,
    action: str,
    body: dict[str, Any],
    principal: CommandsSend,
    api: Api,
    once: OncePerKey,
) -> Response:
    """The body is the payload of the OCPP request, as in the specification.

    Actions that can cut a station off or move load need a scope of their own besides.
    """

    async def act() -> Reply:
        answer = await send_command(
            api.store, api.link, identity, action, body, principal=principal, clock=api.clock
        )
        # Whoever asked gets the answer as it came; what is kept to repeat it holds no secret.
        kept = CommandAnswer(response=redact(Action(action), Kind.RESPONSE, answer))
        return Reply(HTTPStatus.OK, kept.model_dump(), secrets={"response": answer})

    return await once.around(act)
