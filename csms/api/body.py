"""Request bodies: small, `application/json`, one JSON value without surprises."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request

from csms.api.problems import BodyRefused
from csms.ocpp.strict_json import JsonRefused, loads

MAXIMUM_BODY: Final = 256 << 10  # F10
# A CALL must fit into one OCPP-J message (gateway.max_message_bytes).
MAXIMUM_COMMAND: Final = 64 << 10
_COMMANDS: Final = "/commands/"


class JsonRequest(Request):
    """A request whose body has been read and parsed, once, by our parser."""

    async def json(self) -> Any:
        return self.scope["csms.json"]


async def read_body(request: Request) -> JsonRequest:
    """Raises BodyRefused."""
    body = await _bounded(request)
    if not body:
        raise BodyRefused("a JSON body is needed", HTTPStatus.UNPROCESSABLE_ENTITY)
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "application/json" or not _is_utf8(parameters):
        raise BodyRefused("application/json is needed", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        request.scope["csms.json"] = loads(body)
    except JsonRefused as error:
        detail = f"the body is refused: {error.flaw.value.replace('_', ' ')}"
        raise BodyRefused(detail, HTTPStatus.BAD_REQUEST) from error
    parsed = JsonRequest(request.scope, request.receive)
    parsed._body = body  # noqa: SLF001 -- where Request.body() keeps what was read
    return parsed


async def _bounded(request: Request) -> bytes:
    limit = MAXIMUM_COMMAND if _COMMANDS in request.url.path else MAXIMUM_BODY
    too_large = BodyRefused(
        f"the body is larger than {limit >> 10} KiB", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _is_utf8(parameters: str) -> bool:
    name, _, value = parameters.strip().partition("=")
    return not name or (name.lower() == "charset" and value.strip('"').lower() == "utf-8")
