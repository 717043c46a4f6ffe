"""One station's configuration, its mutable state, and the file that state survives in.

Tests set and read the state directly; the handlers in `behaviour` change it by the rules. The file
holds what a station keeps over a power cycle (password, slots, variables) and is 0600, since the
password is in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from station import device_model as dm
from station.keystore import CertificateChoice, KeyStore, write_private
from station.misbehaviour import Misbehaviour
from station.network import Credentials, NetworkProfile, NetworkProfiles

_FILE: Final = "state.json"
_PROFILE_3_SLOT: Final = 2


class Registration(StrEnum):
    """What BootNotification was answered with last."""

    UNKNOWN = "Unknown"
    ACCEPTED = "Accepted"
    PENDING = "Pending"
    REJECTED = "Rejected"


class StateInvalid(Exception):
    """The state file cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StationConfig:
    """What a station leaves the factory and the installer with."""

    url: str
    identity: str
    serial_number: str
    security_profile: int = 2
    password: str | None = field(default=None, repr=False)
    profile3_url: str | None = None
    upgrade: bool = False  # move to a preset profile-3 slot once a certificate is Accepted
    vendor: str = "Example Vendor"
    model: str = "Simulator"
    firmware: str = "1.0.0"
    evses: int = 1
    connectors_per_evse: int = 1
    organization: str | None = None
    country: str | None = None
    domain_component: str | None = None  # EVerest: "CPO"
    requires_organization: bool = False  # EVerest: no O, no CSR, TriggerMessage Accepted anyway
    certificate_choice: CertificateChoice = CertificateChoice.LATEST_INSTALLED
    swallows_non_roots: bool = False  # EVerest #2109: Accepted, then never listed again
    fresh_key_per_repeat: bool = False
    self_renewal: bool = True
    deflate: bool = True
    subprotocols: tuple[str, ...] = ("ocpp2.0.1",)
    variables: Mapping[dm.Name, str] = field(default_factory=dict)
    open_timeout: float = 10.0
    data: Path | None = None


@dataclass(slots=True)
class StationState:
    """Everything about the station that changes while it lives."""

    config: StationConfig
    keystore: KeyStore
    misbehaviour: Misbehaviour
    model: dm.DeviceModel
    network: NetworkProfiles
    password: str | None = field(repr=False)
    registration: Registration = Registration.UNKNOWN
    boot_required: bool = True
    boot_reason: str = "PowerUp"
    connectors: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def credentials(self) -> Credentials:
        return Credentials(
            has_csms_root=bool(self.keystore.csms_roots),
            has_certificate=bool(self.keystore.certificates),
        )

    def refresh(self) -> None:
        """Writes into the device model what the rest of the state says."""
        put, network = self.model.put, self.network
        put(dm.SECURITY_PROFILE, str(network.current.security_profile))
        put(dm.ACTIVE_PROFILE, str(network.active))
        put(dm.NETWORK_PRIORITY, ",".join(map(str, network.priority)))
        entries = self.keystore.count_roots() + len(self.keystore.certificates)
        put(dm.CERTIFICATE_ENTRIES, str(entries))

    def save(self) -> None:
        """Keeps the state for the next start, when there is a directory to keep it in."""
        self.refresh()
        if self.config.data is None:
            return
        content = {
            "password": self.password,
            "slots": {str(number): asdict(slot) for number, slot in self.network.slots.items()},
            "priority": self.network.priority,
            "values": [[list(name), value] for name, value in self.model.values.items()],
        }
        write_private(self.config.data / _FILE, json.dumps(content).encode())


def new_state(
    config: StationConfig, *, keystore: KeyStore, misbehaviour: Misbehaviour
) -> StationState:
    """The state at power-up: from the file when there is one, else from the configuration."""
    state = StationState(
        config=config,
        keystore=keystore,
        misbehaviour=misbehaviour,
        model=dm.DeviceModel(dict(config.variables)),
        network=_factory_network(config),
        password=config.password,
        connectors={
            (evse, connector): "Available"
            for evse in range(1, config.evses + 1)
            for connector in range(1, config.connectors_per_evse + 1)
        },
    )
    state.model.put(dm.IDENTITY, config.identity)
    if config.organization:
        state.model.put(dm.ORGANIZATION_NAME, config.organization)
    if config.country:
        state.model.put(dm.COUNTRY_NAME, config.country)
    if config.data is not None and (config.data / _FILE).exists():
        _restore(state, config.data / _FILE)
    state.network.boot()
    state.refresh()
    return state


def _factory_network(config: StationConfig) -> NetworkProfiles:
    slots = {1: NetworkProfile(config.url, config.security_profile)}
    if config.profile3_url is not None:
        slots[_PROFILE_3_SLOT] = NetworkProfile(config.profile3_url, 3)
    return NetworkProfiles(slots=slots)


def _restore(state: StationState, path: Path) -> None:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        state.password = content["password"]
        state.network.slots = {
            int(number): NetworkProfile(**slot) for number, slot in content["slots"].items()
        }
        state.network.priority = tuple(content["priority"])
        state.model.values.update((dm.Name(*name), value) for name, value in content["values"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateInvalid(f"{path}: not a station's state") from error
