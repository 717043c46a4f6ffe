"""P25: nothing that was stored can break reading. Every list of the API, page by page."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from csms.domain.access import Scope
from tests.fixtures.api_room import ApiRoom, play

LISTS = (
    "/stations",
    "/security-events",
    "/audit/entries",
    "/certificates",
    "/certificate-requests",
    "/oauth-clients",
)
PAGE = 200


def read_everything(url: str) -> dict[str, list[dict[str, Any]]]:
    """Path -> everything under it. Each page is a 200, and strict JSON."""
    found: dict[str, list[dict[str, Any]]] = {}

    async def scene(room: ApiRoom) -> None:
        token = await room.token(*Scope)
        for path in LISTS:
            found[path] = await pages(room, token, path)
        for station in found["/stations"]:
            path = f"/stations/{station['identity']}"
            answer = await room.call("GET", path, token=token)
            assert answer.status_code == 200, (path, answer.text[:500])
            found[path] = [answer.json()]
            path += "/connection-attempts"
            found[path] = await pages(room, token, path)

    asyncio.run(play(url, scene))
    return found


async def pages(room: ApiRoom, token: str, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": PAGE}
    while True:
        answer = await room.call("GET", path, token=token, params=query)
        assert answer.status_code == 200, (path, query, answer.text[:500])
        page = json.loads(answer.content, parse_constant=lambda word: 1 / 0)
        items += page["items"]
        if (cursor := page.get("next")) is None:
            return items
        query["cursor"] = cursor
