"""How often a station's session may be replaced before it is an alarm (attack A02).

The newest authenticated connection wins, so two holders of one credential throw each other out for
as long as both try. Nobody can be told which is the station: the alarm asks a person, and nobody
is locked out by it, since whoever holds the credential could then lock out the other (decision 25).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

WINDOW_SECONDS: Final = 600.0
# A station behind a bad line comes back to its own half-open socket. It waits longer each time
# (RetryBackOffWaitMinimum, doubling): ten in ten minutes is what the eagerest of them reaches.
MOST_IN_WINDOW: Final = 10
# Each takes a valid credential, so there are no more than stations; this bounds a fleet's storm.
MOST_STATIONS: Final = 20_000


@dataclass(slots=True)
class _History:
    at: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_IN_WINDOW + 1))
    alarmed_at: float | None = None


class Takeovers:
    """The replaced sessions of the last ten minutes, as this node saw them."""

    def __init__(self) -> None:
        self._histories: OrderedDict[UUID, _History] = OrderedDict()

    def __len__(self) -> int:
        return len(self._histories)

    def replaced(self, station_id: UUID, *, now: float) -> bool:
        """Note one; whether it is the one to raise the alarm, which is one in a window.

        `now`: seconds of a clock that never steps.
        """
        self._forget(now)
        history = self._histories.setdefault(station_id, _History())
        self._histories.move_to_end(station_id)
        history.at.append(now)
        if len(history.at) <= MOST_IN_WINDOW or now - history.at[0] >= WINDOW_SECONDS:
            return False
        if history.alarmed_at is not None and now - history.alarmed_at < WINDOW_SECONDS:
            return False
        history.alarmed_at = now
        return True

    def _forget(self, now: float) -> None:
        """Whoever was quiet for a window, and beyond the bound whoever was quiet longest."""
        while self._histories:
            station_id, oldest = next(iter(self._histories.items()))
            if now - oldest.at[-1] < WINDOW_SECONDS and len(self._histories) < MOST_STATIONS:
                return
            del self._histories[station_id]
