"""OAuth clients of the management API."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime

from csms.domain.access import ROLE_SCOPES, Principal, Role, Scope
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.operations.checks import Checks
from csms.operations.errors import Forbidden, Invalid, NotFound, Violation
from csms.ports.clock import Randomness
from csms.ports.records import OAuthClient
from csms.ports.store import UnitOfWork


async def add_client(
    work: UnitOfWork,
    *,
    name: str,
    roles: Sequence[str],
    scopes: Sequence[str],
    principal: Principal,
    now: datetime,
    randomness: Randomness,
) -> tuple[OAuthClient, str]:
    """The client and its secret, which is shown this once. Raises Invalid, Forbidden.

    Nobody hands out what they do not hold: the new client's scopes are a subset of the caller's.
    """
    granted = _granted(roles, scopes)
    for scope in sorted(granted - principal.scopes):
        raise Forbidden(scope)
    client, secret = new_client(name, roles, granted, now=now, randomness=randomness)
    await work.oauth_clients.add(client)
    await work.audit.add(_record(AuditAction.CLIENT_ADD, client, principal.actor, now))
    return client, secret


def new_client(
    name: str,
    roles: Sequence[str],
    scopes: frozenset[Scope],
    *,
    now: datetime,
    randomness: Randomness,
) -> tuple[OAuthClient, str]:
    secret = base64.urlsafe_b64encode(randomness.bytes(32)).decode().rstrip("=")
    client = OAuthClient(
        client_id=str(randomness.uuid()),
        name=name,
        scopes=scopes,
        roles=tuple(roles),
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_at=now,
    )
    return client, secret


async def remove_client(
    work: UnitOfWork, client_id: str, *, principal: Principal, now: datetime
) -> None:
    """Its tokens are refused from the next request on. Raises NotFound."""
    client = await work.oauth_clients.by_id(client_id)
    if client is None or not await work.oauth_clients.remove(client_id):
        raise NotFound("client")
    await work.audit.add(_record(AuditAction.CLIENT_REMOVE, client, principal.actor, now))


def _granted(roles: Sequence[str], scopes: Sequence[str]) -> frozenset[Scope]:
    checks = Checks()
    granted: set[Scope] = set()
    for index, name in enumerate(roles):
        role = checks.parse(f"/roles/{index}", Role, name)
        granted |= ROLE_SCOPES[role] if role else set()
    for index, name in enumerate(scopes):
        scope = checks.parse(f"/scopes/{index}", Scope, name)
        granted |= {scope} if scope else set()
    checks.done()
    if not granted:
        raise Invalid([Violation("", "name at least one role or scope")])
    return frozenset(granted)


def _record(action: AuditAction, client: OAuthClient, actor: str, now: datetime) -> AuditRecord:
    return AuditRecord(
        at=now,
        actor=actor,
        action=action,
        subject=f"client:{client.client_id}",
        outcome=Outcome.SUCCESS,
        details={"name": client.name, "scopes": " ".join(sorted(client.scopes))},
    )
