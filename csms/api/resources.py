"""What the routes need, handed over once and found again by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Protocol

from fastapi import Depends, Request
from starlette.routing import BaseRoute

from csms.api.refusals import RefusalLog
from csms.domain.access import Principal
from csms.domain.password import LatePeppers
from csms.ports.bus import Bus
from csms.ports.clock import Clock, Randomness
from csms.ports.station_link import StationLink
from csms.ports.store import Store
from csms.settings import BearerPolicy
from pki.wire import PkiService


class TokenAuthority(Protocol):
    """Whose access tokens are believed; `csms.oauth` is one."""

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """Endpoints it wants to have served beside the API (token, JWKS, metadata)."""

    async def principal(self, token: str) -> Principal | StrEnum:
        """Whose token it is, or what is wrong with it, as a closed word for the audit log.

        Raises StoreUnavailable, and ConnectionError when its keys cannot be reached.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiResources:
    store: Store
    bus: Bus
    link: StationLink
    clock: Clock
    randomness: Randomness
    peppers: LatePeppers
    pki: PkiService
    tokens: TokenAuthority
    bearer: BearerPolicy
    refusals: RefusalLog


def api_resources(
    *,
    store: Store,
    bus: Bus,
    link: StationLink,
    clock: Clock,
    randomness: Randomness,
    peppers: LatePeppers,
    pki: PkiService,
    tokens: TokenAuthority,
    bearer: BearerPolicy,
) -> ApiResources:
    """The resources with the parts that are the API's own."""
    return ApiResources(
        store=store,
        bus=bus,
        link=link,
        clock=clock,
        randomness=randomness,
        peppers=peppers,
        pki=pki,
        tokens=tokens,
        bearer=bearer,
        refusals=RefusalLog(store, clock),
    )


def resources_of(request: Request) -> ApiResources:
    resources: ApiResources = request.app.state.resources
    return resources


Api = Annotated[ApiResources, Depends(resources_of)]
