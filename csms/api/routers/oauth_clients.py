"""OAuth clients of this API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from csms.api.access import ClientsManage, GuardedRoute
from csms.api.idempotency import OncePerKey, Reply
from csms.api.resources import Api
from csms.api.schemas.base import Cursor, Limit, PageAnswer
from csms.api.schemas.records import ClientAnswer, NewClientAnswer, NewClientBody
from csms.operations.oauth_clients import add_client, remove_client
from csms.ports.store import UnitOfWork

router: Final = APIRouter(prefix="/oauth-clients", tags=["clients"], route_class=GuardedRoute)


@router.get("")
async def list_clients(
    _: ClientsManage, api: Api, limit: Limit = 50, cursor: Cursor = None
) -> PageAnswer[ClientAnswer]:
    async with api.store.reading() as work:
        page = await work.oauth_clients.page(limit=limit, cursor=cursor)
    return PageAnswer.of(map(ClientAnswer.of, page.items), page.next)


@router.post("", status_code=HTTPStatus.CREATED, response_model=NewClientAnswer)
async def add(
    body: NewClientBody, principal: ClientsManage, api: Api, once: OncePerKey
) -> Response:
    async def act(work: UnitOfWork) -> Reply:
        client, secret = await add_client(
            work,
            name=body.name,
            roles=body.roles,
            scopes=body.scopes,
            principal=principal,
            now=api.clock.now(),
            randomness=api.randomness,
        )
        return Reply(
            HTTPStatus.CREATED,
            ClientAnswer.of(client).model_dump(mode="json"),
            secrets={"client_secret": secret},
        )

    return await once.within(act)


@router.delete("/{client_id}", status_code=HTTPStatus.NO_CONTENT)
async def remove(client_id: str, principal: ClientsManage, api: Api) -> None:
    """Its tokens are refused from the next request on."""
    async with api.store.writing() as work:
        await remove_client(work, client_id, principal=principal, now=api.clock.now())
        await work.commit()
