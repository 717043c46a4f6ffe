"""Idempotency-Key on POST: the same request again gets the first answer again.

A key belongs to one client and one request (method, path, query, body). What is kept holds no
secret: a repeated registration shows the station, and not its password a second time.

`within` is for acts of one transaction: act and key are committed together or not at all.
`around` is for acts that leave the database (a CALL to a station): the key is kept right after
the act, also when the act failed beyond our reach, since doing it again might do it twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from csms.api.problems import MEDIA_TYPE, KeyConflict, ParameterRefused, problem_of
from csms.api.resources import Api, ApiResources
from csms.domain.access import Principal
from csms.ports.records import IdempotentAnswer
from csms.ports.station_link import InvalidAnswer, NoAnswer, StationCallError, StationRefused
from csms.ports.store import AlreadyExists, StoreUnavailable, UnitOfWork

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
# The CALL may have left, or did: whoever repeats the request must not send it again.
_REACHED_THE_STATION: Final = (NoAnswer, InvalidAnswer, StationRefused)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a JSON body; `secrets` are in the first answer only."""

    status: HTTPStatus
    body: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        document = dict(self.body) | dict(self.secrets)
        return JSONResponse(document, self.status, dict(self.headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One POST, with or without a key."""

    api: ApiResources
    client_id: str
    key: str | None
    request_sha256: str
    being_answered: set[tuple[str, str]]

    async def within(self, act: Callable[[UnitOfWork], Awaitable[Reply]]) -> Response:
        async with self.api.store.writing() as work:
            kept = await self._kept(work)
            if kept is not None:
                return _again(kept)
            reply = await act(work)
            await self._keep(work, reply.status, reply.body)
            await work.commit()
        return reply.response()

    async def around(self, act: Callable[[], Awaitable[Reply]]) -> Response:
        if self.key is None:
            return (await act()).response()
        mine = (self.client_id, self.key)
        if mine in self.being_answered:
            raise KeyConflict("a request with this Idempotency-Key is being answered")
        self.being_answered.add(mine)
        try:
            return await self._around(act)
        finally:
            self.being_answered.discard(mine)

    async def _around(self, act: Callable[[], Awaitable[Reply]]) -> Response:
        async with self.api.store.reading() as work:
            kept = await self._kept(work)
        if kept is not None:
            return _again(kept)
        try:
            reply = await act()
        except StationCallError as error:
            if isinstance(error, _REACHED_THE_STATION):
                problem = problem_of(error)
                await self._keep_alone(problem.status, problem.document)
            raise
        await self._keep_alone(reply.status, reply.body)
        return reply.response()

    async def _keep_alone(self, status: HTTPStatus, body: Mapping[str, Any]) -> None:
        """The act is done: "503, come again" would have it done twice, so its answer goes out also
        when it cannot be kept.
        """
        try:
            async with self.api.store.writing() as work:
                await self._keep(work, status, body)
                await work.commit()
        except StoreUnavailable:
            log.error("idempotent_answer_not_kept", client=self.client_id)  # noqa: TRY400 -- the word says it

    async def _kept(self, work: UnitOfWork) -> IdempotentAnswer | None:
        if self.key is None:
            return None
        kept = await work.idempotency_keys.find(self.client_id, self.key)
        if kept is not None and kept.request_sha256 != self.request_sha256:
            detail = "this Idempotency-Key belongs to another request"
            raise KeyConflict(detail, HTTPStatus.UNPROCESSABLE_ENTITY)
        return kept

    async def _keep(self, work: UnitOfWork, status: HTTPStatus, body: Mapping[str, Any]) -> None:
        if self.key is None:
            return
        kept = IdempotentAnswer(
            request_sha256=self.request_sha256, status=int(status), body=dict(body)
        )
        try:
            await work.idempotency_keys.keep(
                self.client_id, self.key, kept, at=self.api.clock.now()
            )
        except AlreadyExists:
            raise KeyConflict("a request with this Idempotency-Key is being answered") from None


def _again(kept: IdempotentAnswer) -> Response:
    media_type = MEDIA_TYPE if kept.status >= HTTPStatus.BAD_REQUEST else None
    headers = {"Idempotency-Replayed": "true"}
    return JSONResponse(dict(kept.body), kept.status, headers, media_type=media_type)


async def _once(
    request: Request,
    api: Api,
    idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> Once:
    if idempotency_key is not None and _KEY.fullmatch(idempotency_key) is None:
        raise ParameterRefused("Idempotency-Key", "1 to 255 visible ASCII characters")
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise ParameterRefused("Idempotency-Key", "given twice")
    principal: Principal = request.state.principal
    return Once(
        api=api,
        client_id=principal.client_id,
        key=idempotency_key,
        request_sha256=await _fingerprint(request),
        being_answered=request.app.state.being_answered,
    )


async def _fingerprint(request: Request) -> str:
    """Routes without a body never read one, so a body there makes no other request."""
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(getattr(request, "_body", b""))
    return digest.hexdigest()


OncePerKey = Annotated[Once, Depends(_once)]
