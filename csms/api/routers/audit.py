"""The audit log, in its own order."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query

from csms.api.access import AuditRead, GuardedRoute
from csms.api.resources import Api
from csms.api.schemas.base import Cursor, Limit, PageAnswer
from csms.api.schemas.records import AuditEntryAnswer
from csms.domain.audit import AuditAction
from csms.ports.store import CursorInvalid

router: Final = APIRouter(prefix="/audit", tags=["audit"], route_class=GuardedRoute)
Subject = Annotated[str | None, Query(min_length=1, max_length=200)]
_INDEX: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@router.get("/entries")
async def list_audit_entries(
    _: AuditRead,
    api: Api,
    action: AuditAction | None = None,
    subject: Subject = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> PageAnswer[AuditEntryAnswer]:
    """Ascending by index; the cursor is the index of the last entry that was seen."""
    async with api.store.reading() as work:
        page = await work.audit.page(
            after_index=_index(cursor),
            limit=limit,
            action=action.value if action else None,
            subject=subject,
        )
    return PageAnswer.of(map(AuditEntryAnswer.of, page.items), page.next)


def _index(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if _INDEX.fullmatch(cursor) is None:
        raise CursorInvalid("no index")
    return int(cursor)
