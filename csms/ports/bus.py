"""The bus: wake-ups and requests; truth is in the database (decision 12).

Messages are JSON objects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

Json = dict[str, Any]
Handler = Callable[[Json], Awaitable[Json]]


class BusError(Exception):
    """Base of what the bus raises.

    BusError
    ├── NoResponders  nobody answers to that subject: known at once, not by a timeout
    └── BusTimeout    somebody should have answered, and did not in time
    """


class NoResponders(BusError):
    pass


class BusTimeout(BusError):
    pass


class Subscription(Protocol):
    async def close(self) -> None: ...


class Bus(Protocol):
    """Wake-ups and requests; truth is in the database (decision 12). Messages are JSON objects."""

    async def respond(self, subject: str, handler: Handler) -> Subscription:
        """Answer requests on this subject; the newest responder replaces an older one."""

    async def request(self, subject: str, message: Json, *, timeout: float) -> Json:  # noqa: ASYNC109 -- the adapters' brokers take it as a parameter
        """Raises NoResponders or BusTimeout."""

    async def subscribe(self, topic: str, handler: Handler) -> Subscription: ...

    async def publish(self, topic: str, message: Json) -> None: ...

    async def survey(self, topic: str, message: Json, *, timeout: float) -> Sequence[Json]:  # noqa: ASYNC109 -- as above
        """The replies of all subscribers that answered in time."""


# Outbox topic and hint: {"station_id", "certificate_id" or null, "reason"}, and to spare newer or
# better sessions "before_epoch" or "below_profile". All that is named must fit the session.
SESSIONS_CLOSE: Final = "sessions.close"
JOBS_WAKE: Final = "jobs.wake"  # bus hint: there may be due jobs


def station_subject(station_id: UUID) -> str:
    return f"station.{station_id}"
