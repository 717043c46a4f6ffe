"""Switches that make a station behave as no station should, or as some real ones do.

All off by default. They are plain mutable state: a test flips one in the middle of a conversation
and back again. The client and the handlers read them at the moment they act.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields


class SwitchUnknown(ValueError):
    """No such switch, or a value it cannot take."""


@dataclass(slots=True)
class Misbehaviour:
    """What the station does wrong; each name is also the command line's, with dashes."""

    late_answer: float = 0.0  # real seconds before every answer to a CALL of the CSMS
    never_answer: bool = False
    wrong_message_id: bool = False  # answers carry an id nobody asked with
    garbage_frame: bool = False  # answers are no JSON
    silent_actions: set[str] = field(default_factory=set)  # never answer these Actions
    csr_serial: str | None = None  # CN of the CSR, instead of the station's serial number
    csr_san: str | None = None  # a dNSName requested in the CSR
    csr_ca: bool = False  # basicConstraints CA:TRUE requested in the CSR
    csr_organization: str | None = None  # O of the CSR, whatever OrganizationName says
    refuse_certificate: bool = False  # CertificateSigned is Rejected whatever it holds
    boot_serial: str | None = None  # serialNumber in BootNotification (A00.FR.405, B01.FR.12)
    drop_socket: bool = False  # leave connections without a close frame, as EVerest does

    @classmethod
    def parse(cls, switches: Iterable[str]) -> Misbehaviour:
        """From `name` or `name=value` words, as the command line takes them."""
        result = cls()
        for switch in switches:
            name, _, value = switch.partition("=")
            result.set(name.replace("-", "_"), value)
        return result

    def set(self, name: str, value: str) -> None:
        known = {item.name: getattr(self, item.name) for item in fields(self)}
        if name not in known:
            raise SwitchUnknown(f"unknown misbehaviour {name.replace('_', '-')!r}")
        current = known[name]
        if isinstance(current, bool):
            if value not in {"", "on", "off"}:
                raise SwitchUnknown(f"{name.replace('_', '-')} takes on or off")
            setattr(self, name, value != "off")
        elif isinstance(current, float):
            setattr(self, name, _seconds(name, value))
        elif isinstance(current, set):
            setattr(self, name, set(filter(None, value.split(","))))
        elif value:
            setattr(self, name, value)
        else:
            raise SwitchUnknown(f"{name.replace('_', '-')} needs a value")


def names() -> list[str]:
    """Every switch as it is spelt on the command line."""
    return [item.name.replace("_", "-") for item in fields(Misbehaviour)]


def _seconds(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise SwitchUnknown(f"{name.replace('_', '-')} needs a number of seconds") from error
