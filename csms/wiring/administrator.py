"""The first administrator: the one OAuth client that nobody else could make.

It is made while nobody else can manage clients. Once an operator has a client for that, a bootstrap
administrator that was removed stays removed (SECURITY.md says to remove it).
"""

from __future__ import annotations

from typing import Final

import structlog

from csms.adapters.bootstrap import Bootstrap
from csms.domain.access import Role, Scope
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.operations.oauth_clients import new_client
from csms.ports.clock import Clock, Randomness
from csms.ports.store import Store, UnitOfWork

ADMINISTRATOR: Final = "bootstrap administrator"
_PAGE: Final = 200
log = structlog.get_logger()


async def first_administrator(
    store: Store,
    bootstrap: Bootstrap,
    *,
    token_endpoint: str,
    clock: Clock,
    randomness: Randomness,
) -> None:
    """Its file is written before its row is committed: a crash in between leaves a file that the
    next start replaces, never a client nobody knows.
    """
    known = bootstrap.administrator()
    async with store.writing() as work:
        if known is not None and await work.oauth_clients.by_id(known) is not None:
            bootstrap.keep_administrator(token_endpoint=token_endpoint)
            return
        if await _somebody_else_manages(work):
            log.info("bootstrap_administrator_stays_removed")
            return
        now = clock.now()
        client, secret = new_client(
            ADMINISTRATOR, [Role.ADMINISTRATOR], frozenset(Scope), now=now, randomness=randomness
        )
        await work.oauth_clients.add(client)
        await work.audit.add(
            AuditRecord(
                at=now,
                actor="role:bootstrap",
                action=AuditAction.CLIENT_ADD,
                subject=f"client:{client.client_id}",
                outcome=Outcome.SUCCESS,
                details={"name": client.name},
            )
        )
        bootstrap.write_administrator(client.client_id, secret, token_endpoint=token_endpoint)
        await work.commit()


async def _somebody_else_manages(work: UnitOfWork) -> bool:
    cursor: str | None = None
    while True:
        page = await work.oauth_clients.page(limit=_PAGE, cursor=cursor)
        for client in page.items:
            if client.name != ADMINISTRATOR and Scope.CLIENTS_MANAGE in client.scopes:
                return True
        cursor = page.next
        if cursor is None:
            return False
