"""Names that may stand in a certificate: serial numbers, organizations, host names.

A00.FR.511 makes a station's unique serial number its common name and forbids that it looks like
a URL or an address; A00.FR.510 makes a listener's FQDN its common name and forbids wildcards.
Every name is checked here before it can reach a template; nothing is repaired, only refused.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NewType

from cryptography import x509
from cryptography.x509.oid import NameOID

SerialNumber = NewType("SerialNumber", str)
Organization = NewType("Organization", str)
HostName = NewType("HostName", str)

# BootNotification.chargingStation.serialNumber ends at 25 characters. No dot and no colon: host
# names of several labels, URLs and IPv4/IPv6 literals cannot be written with this alphabet.
_SERIAL_NUMBER: Final = re.compile(r"[A-Za-z0-9_-]{1,25}", re.ASCII)
# What the alphabet leaves over: the name everybody resolves, IDNA A-labels, and the hexadecimal
# form that inet_aton reads as an IPv4 address. Plain digits stay: most makers number that way.
_ADDRESS_SHAPED: Final = re.compile(r"localhost|xn--.*|0x[0-9a-f]{1,8}", re.ASCII | re.IGNORECASE)
# X.520 ub-organization-name; printable ASCII keeps O comparable byte by byte.
_ORGANIZATION: Final = re.compile(r"[ -~]{1,64}", re.ASCII)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_MAX_COMMON_NAME: Final = 64  # X.520 ub-common-name
_CALLER_ROLE: Final = re.compile(r"[a-z]{1,32}", re.ASCII)


class NameInvalid(ValueError):
    """The text may not stand in a certificate; the message names the rule."""


def parse_serial_number(text: str) -> SerialNumber:
    """Raises NameInvalid for what A00.FR.511 does not let be a common name."""
    if _SERIAL_NUMBER.fullmatch(text) is None:
        raise NameInvalid("a serial number has 1 to 25 of A-Z a-z 0-9 _ - (A00.FR.511)")
    if _ADDRESS_SHAPED.fullmatch(text) is not None:
        raise NameInvalid("a serial number must not be shaped like a host or address (A00.FR.511)")
    return SerialNumber(text)


def parse_organization(text: str) -> Organization:
    """Raises NameInvalid for what cannot be O (A00.FR.509)."""
    if _ORGANIZATION.fullmatch(text) is None or text != text.strip():
        raise NameInvalid("an organization has 1 to 64 printable ASCII characters (X.520)")
    return Organization(text)


def parse_host_name(text: str) -> HostName:
    """A listener's name (A00.FR.510): no wildcard, no address, at most 64 characters as CN."""
    if len(text) > _MAX_COMMON_NAME or _HOST_NAME.fullmatch(text) is None:
        raise NameInvalid("a host name has at most 64 characters, and no wildcard (A00.FR.510)")
    try:
        ip_address(text)
    except ValueError:
        return HostName(text.lower())
    raise NameInvalid("an IP address is not a host name (A00.FR.510)")


def parse_ip_address(text: str) -> IPv4Address | IPv6Address:
    """Raises NameInvalid; scoped IPv6 literals have no DER form and are refused too."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise NameInvalid("not an IP address") from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise NameInvalid("an IP address in a certificate has no scope")
    return address


def parse_caller_role(text: str) -> str:
    """The common name of a role of ours that calls the PKI: gateway, api, worker, files."""
    if _CALLER_ROLE.fullmatch(text) is None:
        raise NameInvalid("a caller role has 1 to 32 lower-case letters")
    return text


def subject_name(*, organization: str, common_name: str) -> x509.Name:
    """O, then CN; the only two RDNs that our subjects carry (decision 1)."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def single_attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    """The one value of that attribute, or None. Raises NameInvalid when it stands there twice:
    two readers would then see two different names.
    """
    values = name.get_attributes_for_oid(oid)
    if not values:
        return None
    if len(values) > 1:
        raise NameInvalid("a name attribute stands in the subject more than once")
    value = values[0].value
    if not isinstance(value, str):
        raise NameInvalid("a name attribute is no text")
    return value
