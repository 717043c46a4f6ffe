"""OAuth clients, by client id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import delete, select

from csms.domain.access import Scope
from csms.ports.records import OAuthClient
from csms.ports.store import Page
from csms.store import tables
from csms.store.pages import Listing, reader, word
from csms.store.transaction import Transaction

_C = tables.oauth_clients
_BY_CLIENT_ID: Final = Listing(name="oauth_clients", order=(_C.c.client_id,), key=(word,))


class OAuthClientRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, client: OAuthClient) -> None:
        """Raises AlreadyExists."""
        await self._transaction.add(
            _C,
            {
                "client_id": client.client_id,
                "name": client.name,
                "scopes": sorted(client.scopes),
                "roles": list(client.roles),
                "secret_sha256": client.secret_sha256,
                "created_at": client.created_at,
            },
        )

    async def by_id(self, client_id: str) -> OAuthClient | None:
        row = await self._transaction.first(select(_C).where(_C.c.client_id == client_id))
        return None if row is None else _readable(row)

    async def page(self, *, limit: int, cursor: str | None) -> Page[OAuthClient]:
        return await _BY_CLIENT_ID.page(
            self._transaction, select(_C), _readable, limit=limit, cursor=cursor
        )

    async def remove(self, client_id: str) -> bool:
        return await self._transaction.count(delete(_C).where(_C.c.client_id == client_id)) == 1


def _client_of(row: Mapping[str, Any]) -> OAuthClient:
    return OAuthClient(
        client_id=row["client_id"],
        name=row["name"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"]),
        roles=tuple(row["roles"]),
        secret_sha256=row["secret_sha256"],
        created_at=row["created_at"],
    )


_readable: Final = reader("oauth_clients", _client_of)
