"""CALLs to stations over the bus: whichever gateway holds the socket answers.

The request names the action, the payload and how long the caller will wait, so that the gateway
does not send what nobody waits for any more; and the session's epoch where it is meant for that one
alone. The reply is `{"payload": …}` or `{"error": {"kind", "code", "description"}}`; both ends of
this small language are this module and `csms.gateway.calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

from csms.ocpp.actions import Action
from csms.ports.bus import Bus, BusTimeout, Json, NoResponders, station_subject
from csms.ports.station_link import (
    InvalidAnswer,
    NoAnswer,
    NotAllowedNow,
    NotConnected,
    QueueFull,
    StationCallError,
    StationRefused,
)

# The gateway gives up first, so that its reason arrives rather than a bare timeout of the bus.
_MARGIN_SECONDS: Final = 2.0
_KINDS: Final[Mapping[str, Callable[[str], StationCallError]]] = MappingProxyType(
    {
        "not_connected": NotConnected,
        "not_allowed_now": NotAllowedNow,
        "queue_full": QueueFull,
        "no_answer": NoAnswer,
        "invalid_answer": InvalidAnswer,
    }
)


class BusStationLink:
    """Implements `csms.ports.station_link.StationLink`."""

    def __init__(self, bus: Bus, timeout: float) -> None:
        self._bus = bus
        self._timeout = timeout

    async def call(
        self, station_id: UUID, action: Action, payload: Json, *, epoch: int | None = None
    ) -> Json:
        message: Json = {
            "action": action.value,
            "payload": payload,
            "timeout_seconds": self._timeout,
        }
        if epoch is not None:
            message["epoch"] = epoch
        reply = await self._request(station_id, message)
        answer = reply.get("payload")
        if isinstance(answer, dict):
            return answer
        raise _as_error(reply.get("error"))

    async def disconnect(self, station_id: UUID, *, reason: str) -> bool:
        try:
            reply = await self._request(station_id, {"disconnect": reason})
        except NotConnected:
            return False
        return reply.get("closed") is True

    async def _request(self, station_id: UUID, message: Json) -> Json:
        try:
            return await self._bus.request(
                station_subject(station_id), message, timeout=self._timeout + _MARGIN_SECONDS
            )
        except NoResponders as error:
            raise NotConnected("no node holds the station") from error
        except BusTimeout as error:
            raise NoAnswer("the node that holds the station did not answer") from error


def _as_error(error: object) -> Exception:
    """The gateway's word as our exception; a word we do not know says nothing about the station."""
    if not isinstance(error, dict):
        return NoAnswer("the gateway's reply was no reply")
    kind, description = str(error.get("kind")), str(error.get("description") or "")
    if kind == "station_error":
        return StationRefused(str(error.get("code") or "GenericError"), description)
    if kind == "invalid_payload":
        return ValueError(description)
    return _KINDS.get(kind, NoAnswer)(description or kind)
