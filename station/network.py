"""Network connection profiles: the slots a station may connect by, and who may change them.

`NetworkProfiles` holds the slots, `set_slot` and `set_priority` are the rules of SetNetworkProfile
(B09) and of NetworkConfigurationPriority (A05). Which certificates exist is told to them; opening
connections is left to the client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from station.device_model import SLOTS


class SlotRefusal(StrEnum):
    """reasonCode of a Rejected SetNetworkProfile (B09, errata)."""

    INVALID_CONFIGURATION = "InvalidNetworkConf"
    NO_DOWNGRADE = "NoSecurityDowngrade"
    INVALID_SLOT = "InvalidConfSlot"


class NetworkProfileRefused(Exception):
    """A slot or a priority the station does not take."""

    def __init__(self, reason: SlotRefusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """Where to connect and by which security profile; the identity is appended to the URL."""

    url: str
    security_profile: int

    @property
    def fits(self) -> bool:
        """Ws goes with profile 1, wss with profiles 2 and 3, and nothing else with any."""
        scheme = "ws://" if self.security_profile == 1 else "wss://"
        return self.security_profile in {1, 2, 3} and self.url.startswith(scheme)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the rules need to know of the key store."""

    has_csms_root: bool
    has_certificate: bool


@dataclass(slots=True)
class NetworkProfiles:
    """The slots, their order, and the one in use.

    `plan` is the order read at the last boot: a changed priority works from the next boot on
    (A05.FR.05), until then the station keeps to its plan.
    """

    slots: dict[int, NetworkProfile] = field(default_factory=dict)
    priority: tuple[int, ...] = (1,)
    plan: tuple[int, ...] = (1,)
    active: int = 1

    @property
    def current(self) -> NetworkProfile:
        return self.slots[self.active]

    def boot(self) -> None:
        self.plan = tuple(slot for slot in self.priority if slot in self.slots) or self.plan
        self.active = self.plan[0]

    def advance(self) -> None:
        """Try the next slot of the plan (B10); after the last comes the first again."""
        place = self.plan.index(self.active)
        self.active = self.plan[(place + 1) % len(self.plan)]

    def connected(self) -> bool:
        """A connection stands: slots below its profile are dropped (A05.FR.06)."""
        lower = {n for n, p in self.slots.items() if p.security_profile < self._profile}
        for slot in lower:
            del self.slots[slot]
        self.priority = tuple(slot for slot in self.priority if slot not in lower)
        if self.active not in self.priority:
            self.priority = (self.active, *self.priority)
        self.plan = tuple(slot for slot in self.plan if slot not in lower)
        return bool(lower)

    @property
    def _profile(self) -> int:
        return self.current.security_profile

    def set_slot(self, request: dict[str, Any], *, credentials: Credentials) -> None:
        """SetNetworkProfile, or `NetworkProfileRefused`."""
        slot, data = request["configurationSlot"], request["connectionData"]
        profile = NetworkProfile(str(data["ocppCsmsUrl"]), int(data["securityProfile"]))
        # A slot in use or in the priority list cannot be edited under the station's feet.
        if slot not in SLOTS or slot == self.active or slot in self.priority:
            raise NetworkProfileRefused(SlotRefusal.INVALID_SLOT)
        if not profile.fits or data.get("ocppTransport", "JSON") != "JSON":
            raise NetworkProfileRefused(SlotRefusal.INVALID_CONFIGURATION)
        self._check(profile, credentials)
        self.slots[slot] = profile

    def set_priority(self, value: str, *, credentials: Credentials) -> None:
        """SetVariables(NetworkConfigurationPriority), or `NetworkProfileRefused`."""
        words = [word.strip() for word in value.split(",")]
        slots = tuple(int(word) for word in words if word.isascii() and word.isdecimal())
        if len(slots) != len(words) or len(set(slots)) != len(slots):
            raise NetworkProfileRefused(SlotRefusal.INVALID_CONFIGURATION)
        for slot in slots:
            if slot not in self.slots:
                raise NetworkProfileRefused(SlotRefusal.INVALID_SLOT)
            self._check(self.slots[slot], credentials)
        self.priority = slots

    def _check(self, profile: NetworkProfile, credentials: Credentials) -> None:
        if profile.security_profile < self._profile:
            raise NetworkProfileRefused(SlotRefusal.NO_DOWNGRADE)
        # A05.FR.02: profile 2 and 3 need a root to check the CSMS by.
        if profile.security_profile >= 2 and not credentials.has_csms_root:
            raise NetworkProfileRefused(SlotRefusal.INVALID_CONFIGURATION)
        # A05.FR.03: profile 3 needs a certificate to show.
        if profile.security_profile == 3 and not credentials.has_certificate:
            raise NetworkProfileRefused(SlotRefusal.INVALID_CONFIGURATION)
