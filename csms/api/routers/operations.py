"""Operations: what a job that somebody asked for has come to."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from fastapi import APIRouter

from csms.api.access import AsTheAct, GuardedRoute, permit
from csms.api.resources import Api
from csms.api.routers.station_names import station_names
from csms.api.schemas.records import OperationAnswer
from csms.operations.errors import NotFound

router: Final = APIRouter(tags=["operations"], route_class=GuardedRoute)


@router.get("/operations/{operation_id}")
async def show_operation(operation_id: UUID, principal: AsTheAct, api: Api) -> OperationAnswer:
    """Whoever may ask for the act may watch it."""
    async with api.store.reading() as work:
        operation = await work.operations.by_id(operation_id)
        if operation is None:
            raise NotFound("operation")
        permit(principal, operation.scope, api.bearer)
        names = await station_names(work, [operation.station_id])
    return OperationAnswer.of(operation, names[operation.station_id])
