"""Calls to Charging Stations, wherever they are connected."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from csms.ocpp.actions import Action
from csms.ports.bus import Json


class StationCallError(Exception):
    """Base of what a CALL to a station can end in.

    StationCallError
    ├── NotConnected      no node holds the station
    ├── NotAllowedNow     the station's state forbids it (B03.FR.03)
    ├── QueueFull         too many CALLs wait for this station
    ├── NoAnswer          sent, and no answer in time or before the connection ended
    ├── InvalidAnswer     the answer breaks the schema of the action
    └── StationRefused    the station answered CALLERROR
    """


class NotConnected(StationCallError):
    pass


class NotAllowedNow(StationCallError):
    pass


class QueueFull(StationCallError):
    pass


class NoAnswer(StationCallError):
    pass


class InvalidAnswer(StationCallError):
    pass


class StationRefused(StationCallError):
    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


class StationLink(Protocol):
    async def call(
        self, station_id: UUID, action: Action, payload: Json, *, epoch: int | None = None
    ) -> Json:
        """Send a CALL to whichever node holds the station and return the CALLRESULT's payload.

        With an epoch it goes to that very session or to none (A02, E05): a connection that took
        the station's place since, or lost it, never sees it. `payload` must be valid by the
        schema. Raises StationCallError.
        """

    async def disconnect(self, station_id: UUID, *, reason: str) -> bool:
        """Close the live session (1008); False when there is none."""
