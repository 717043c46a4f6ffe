"""Certificate profiles: what policies/certificate-profiles.toml says, checked once.

`ProfileConfig` is the file; `Profile` is what the CA works with, and only `load_profiles` makes
one. An unknown key, a missing profile or a value weaker than the cited rule raises ProfileInvalid,
and the process that asked does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.wire import CertificateKind
from pki.x509.keys import KeyPolicy, type_of_curve


class ProfileInvalid(ValueError):
    """One line: which key, what value, which rule."""


class KeyPolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    curves: list[str]
    rsa_bits_min: int
    rsa_bits_max: int
    rsa_2048_until: date | None = None


class ProfileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    validity_hours: int
    backdate_minutes: int
    extended_key_usage: list[str]


class ProfilesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_policy: KeyPolicyConfig
    station: ProfileConfig
    server: ProfileConfig
    caller: ProfileConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a leaf of one kind looks like; the template adds the names and the key."""

    kind: CertificateKind
    validity_period: timedelta
    backdate_period: timedelta
    extended_key_usage: tuple[x509.ObjectIdentifier, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    key_policy: KeyPolicy
    by_kind: Mapping[CertificateKind, Profile]


_EXTENDED_KEY_USAGE: Final = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
}
_DAY: Final = timedelta(days=1)

# Longest lives. Station: 398 days, the CA/Browser Forum's old ceiling, as a yardstick. Listeners
# and callers are revoked by expiring: less than 24 h from notBefore to notAfter (A00.FR.701).
_LONGEST: Final = {CertificateKind.STATION: 398 * _DAY}
# T13: stations with slow clocks must find the certificate valid; more than an hour serves nobody.
_BACKDATE_MAX: Final = timedelta(hours=1)
# Which extended key usages a kind may carry. Station: none (A00.FR.514) or clientAuth (T3), never
# serverAuth, or a stolen station key could pose as the CSMS.
_ALLOWED_USAGES: Final = {
    CertificateKind.STATION: ((), ("clientAuth",)),
    CertificateKind.SERVER: (("serverAuth",),),
    CertificateKind.CALLER: (("clientAuth",),),
}
_RSA_FLOOR, _RSA_CEILING = 3072, 4096  # T12, C04


def load_profiles(toml: bytes) -> Profiles:
    """Raises ProfileInvalid; every check cites the rule it holds."""
    try:
        config = msgspec.toml.decode(toml, type=ProfilesConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProfileInvalid(f"certificate profiles: {error}") from error
    return Profiles(
        key_policy=_key_policy(config.key_policy),
        by_kind={
            CertificateKind.STATION: _profile(CertificateKind.STATION, config.station),
            CertificateKind.SERVER: _profile(CertificateKind.SERVER, config.server),
            CertificateKind.CALLER: _profile(CertificateKind.CALLER, config.caller),
        },
    )


def _key_policy(config: KeyPolicyConfig) -> KeyPolicy:
    unknown = [name for name in config.curves if name not in type_of_curve]
    if unknown or not config.curves:
        raise ProfileInvalid(f"key_policy.curves = {config.curves}: only P-256, P-384 (A00.FR.504)")
    if not _RSA_FLOOR <= config.rsa_bits_min <= config.rsa_bits_max <= _RSA_CEILING:
        raise ProfileInvalid(
            f"key_policy.rsa_bits = {config.rsa_bits_min}..{config.rsa_bits_max}: "
            f"within {_RSA_FLOOR}..{_RSA_CEILING} (A00.FR.502, A00.FR.504)"
        )
    return KeyPolicy(
        curves=frozenset(config.curves),
        rsa_bits_min=config.rsa_bits_min,
        rsa_bits_max=config.rsa_bits_max,
        rsa_2048_until=config.rsa_2048_until,
    )


def _profile(kind: CertificateKind, config: ProfileConfig) -> Profile:
    validity = timedelta(hours=config.validity_hours)
    backdate = timedelta(minutes=config.backdate_minutes)
    if not timedelta(0) <= backdate <= _BACKDATE_MAX:
        raise ProfileInvalid(f"{kind}.backdate_minutes = {config.backdate_minutes}: 0..60 (T13)")
    if validity < timedelta(hours=1):
        raise ProfileInvalid(f"{kind}.validity_hours = {config.validity_hours}: at least 1")
    longest = _LONGEST.get(kind)
    if longest is not None and validity > longest:
        raise ProfileInvalid(f"{kind}.validity_hours = {config.validity_hours}: at most 398 days")
    if longest is None and validity + backdate >= _DAY:
        raise ProfileInvalid(
            f"{kind}.validity_hours = {config.validity_hours}: with the backdating less than 24 h "
            "(A00.FR.701)"
        )
    if tuple(config.extended_key_usage) not in _ALLOWED_USAGES[kind]:
        raise ProfileInvalid(
            f"{kind}.extended_key_usage = {config.extended_key_usage}: "
            "not a set this kind may carry (A00.FR.512, A00.FR.514)"
        )
    return Profile(
        kind=kind,
        validity_period=validity,
        backdate_period=backdate,
        extended_key_usage=tuple(_EXTENDED_KEY_USAGE[u] for u in config.extended_key_usage),
    )
