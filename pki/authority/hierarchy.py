"""The hierarchy: one root, and issuing CAs that each certify for one purpose (decision 3).

    root (pathlen 1)
    ├── stations (pathlen 0, clientAuth)   the only trust anchor of the profile-3 listener
    ├── servers  (pathlen 0, serverAuth)   CSMS listeners
    └── callers  (pathlen 0, clientAuth)   roles of ours that call the PKI

`callers` is a CA of its own name that shares the servers' key: path building goes by name, so a
caller's certificate chains neither to `stations`, whose name and key are others, nor to `servers`.
The ceremony makes all of it at once; what is stored is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority.issuance import Issuer, issue, rehearse
from pki.authority.records import StoredAuthority
from pki.signing.signer import Signer
from pki.wire import CertificateKind, TrustAnchors
from pki.x509 import template
from pki.x509.lint import Linter
from pki.x509.names import subject_name
from pki.x509.template import PublicLocations

ROOT: Final = "root"
_DAY: Final = timedelta(days=1)
_BACKDATE: Final = timedelta(minutes=10)  # T13, as the leaves below
_ROOT_DAYS: Final = (365, 9125)  # a year to 25 years
_ISSUER_DAYS: Final = (30, 3650)


class IssuerName(StrEnum):
    STATIONS = "stations"
    SERVERS = "servers"
    CALLERS = "callers"


ISSUER_OF_KIND: Final[Mapping[CertificateKind, IssuerName]] = {
    CertificateKind.STATION: IssuerName.STATIONS,
    CertificateKind.SERVER: IssuerName.SERVERS,
    CertificateKind.CALLER: IssuerName.CALLERS,
}
# What an issuing CA may be for is not the ceremony file's to say: decision 3.
_PURPOSES: Final[Mapping[IssuerName, str]] = {
    IssuerName.STATIONS: "clientAuth",
    IssuerName.SERVERS: "serverAuth",
    IssuerName.CALLERS: "clientAuth",
}
_CURVES: Final = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}


class HierarchyInvalid(Exception):
    """The ceremony's file, or what is stored, is no hierarchy we can work with."""


class AuthorityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    common_name: str
    key: str
    algorithm: str
    validity_days: int


class CeremonyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """certs/ceremony.toml."""

    root: AuthorityConfig
    stations: AuthorityConfig
    servers: AuthorityConfig
    callers: AuthorityConfig

    def issuer(self, name: IssuerName) -> AuthorityConfig:
        return {
            IssuerName.STATIONS: self.stations,
            IssuerName.SERVERS: self.servers,
            IssuerName.CALLERS: self.callers,
        }[name]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The newest root, and of each issuing CA the one that signs now."""

    root: x509.Certificate
    issuers: Mapping[IssuerName, Issuer]
    anchors: TrustAnchors


def load_ceremony(toml: bytes) -> CeremonyConfig:
    """Raises HierarchyInvalid."""
    try:
        config = msgspec.toml.decode(toml, type=CeremonyConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HierarchyInvalid(f"ceremony: {error}") from error
    _check(ROOT, config.root, days=_ROOT_DAYS)
    for name in IssuerName:
        _check(name, config.issuer(name), days=_ISSUER_DAYS)
    if config.stations.key in {config.root.key, config.servers.key, config.callers.key}:
        # A key shared with them would make their leaves verify under the stations' key.
        raise HierarchyInvalid(
            f"stations.key = {config.stations.key}: a key of its own (decision 3)"
        )
    if config.root.key in {config.servers.key, config.callers.key}:
        raise HierarchyInvalid(f"root.key = {config.root.key}: a key of its own (A00.FR.603)")
    names = {ROOT: config.root.common_name} | {n: config.issuer(n).common_name for n in IssuerName}
    if len(set(names.values())) != len(names):
        raise HierarchyInvalid("common_name: every CA has a name of its own")
    return config


def _check(name: str, config: AuthorityConfig, *, days: tuple[int, int]) -> None:
    if config.algorithm not in _CURVES:
        raise HierarchyInvalid(f"{name}.algorithm = {config.algorithm}: P-256 or P-384")
    if not days[0] <= config.validity_days <= days[1]:
        raise HierarchyInvalid(
            f"{name}.validity_days = {config.validity_days}: {days[0]} to {days[1]}"
        )
    if not 1 <= len(config.common_name) <= 64:
        raise HierarchyInvalid(f"{name}.common_name: 1 to 64 characters (X.520)")


def hold_ceremony(
    config: CeremonyConfig,
    *,
    organization: str,
    root_signer: Signer,
    issuer_signers: Mapping[IssuerName, Signer],
    locations: PublicLocations,
    random_bytes: Callable[[int], bytes],
    now: datetime,
) -> list[StoredAuthority]:
    """Root and issuing CAs, linted, signed by the root, read back; blocking.

    Of the issuing keys only the public part is asked for. Raises SignerError, LintFailed,
    IssuanceBroken, HierarchyInvalid. Nothing is stored here.
    """
    not_before = now.replace(microsecond=0) - _BACKDATE
    _check_curve(ROOT, config.root, root_signer)
    subject = subject_name(organization=organization, common_name=config.root.common_name)
    builder = template.root(
        subject=subject,
        public_key=root_signer.public_key,
        serial=template.serial_from(random_bytes(template.SERIAL_OCTETS)),
        not_before=not_before,
        validity_period=config.root.validity_days * _DAY,
    )
    root = _sign(builder, root_signer)
    made = [_stored(ROOT, root, root_signer, now)]
    for name in IssuerName:
        own = config.issuer(name)
        signer = issuer_signers[name]
        _check_curve(name, own, signer)
        builder = template.issuing_authority(
            subject=subject_name(organization=organization, common_name=own.common_name),
            issuer=root,
            public_key=signer.public_key,
            serial=template.serial_from(random_bytes(template.SERIAL_OCTETS)),
            not_before=not_before,
            validity_period=own.validity_days * _DAY,
            extended_key_usage=template.CA_PURPOSES[_PURPOSES[name]],
            locations=locations,
        )
        made.append(_stored(name, _sign(builder, root_signer), signer, now))
    return made


def _check_curve(name: str, config: AuthorityConfig, signer: Signer) -> None:
    if not isinstance(signer.public_key.curve, _CURVES[config.algorithm]):
        raise HierarchyInvalid(f"{name}: key {config.key} is not {config.algorithm}")


def _sign(builder: x509.CertificateBuilder, root_signer: Signer) -> x509.Certificate:
    throwaway = ec.generate_private_key(root_signer.public_key.curve)
    return issue(rehearse(builder, root_signer.public_key, throwaway, linter=Linter()), root_signer)


def _stored(
    name: str, certificate: x509.Certificate, signer: Signer, now: datetime
) -> StoredAuthority:
    return StoredAuthority(
        name=name,
        der=certificate.public_bytes(serialization.Encoding.DER),
        key_id=signer.key_id,
        created_at=now,
    )


def read_hierarchy(stored: Sequence[StoredAuthority]) -> Hierarchy:
    """Raises HierarchyInvalid when a part is missing or does not fit under the root."""
    certificates: dict[str, list[tuple[x509.Certificate, str]]] = {}
    for authority in stored:
        certificate = x509.load_der_x509_certificate(authority.der)
        certificates.setdefault(authority.name, []).append((certificate, authority.key_id))
    missing = [name for name in (ROOT, *IssuerName) if name not in certificates]
    if missing:
        raise HierarchyInvalid(f"no {', '.join(missing)} certificate: hold the ceremony first")
    root, _ = certificates[ROOT][-1]
    return Hierarchy(
        root=root,
        issuers={name: _issuer(name, *certificates[name][-1], root=root) for name in IssuerName},
        anchors=TrustAnchors(
            root_pem=_pem(root),
            station_issuers_pem=[_pem(c) for c, _ in certificates[IssuerName.STATIONS]],
            server_issuers_pem=[_pem(c) for c, _ in certificates[IssuerName.SERVERS]],
            caller_issuers_pem=[_pem(c) for c, _ in certificates[IssuerName.CALLERS]],
        ),
    )


def _issuer(
    name: IssuerName, certificate: x509.Certificate, key_id: str, *, root: x509.Certificate
) -> Issuer:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise HierarchyInvalid(f"the {name} certificate is not issued by the root") from error
    public_key = certificate.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise HierarchyInvalid(f"the {name} certificate has no elliptic curve key")
    return Issuer(
        name=name,
        certificate=certificate,
        public_key=public_key,
        key_id=key_id,
        throwaway_key=ec.generate_private_key(public_key.curve),
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
