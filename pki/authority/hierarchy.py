"""The hierarchy: roots, and issuing CAs that each certify for one purpose (decision 3).

    root (pathlen 1)
    ├── stations (pathlen 0, clientAuth)   the only trust anchor of the profile-3 listener
    ├── servers  (pathlen 0, serverAuth)   CSMS listeners
    └── callers  (pathlen 0, clientAuth)   roles of ours that call the PKI
    root-rsa (pathlen 1)                   for certification runs alone (tension T2)
    └── servers-rsa (pathlen 0, serverAuth)   CSMS listeners, for stations that verify RSA only

`callers` is a CA of its own name that shares the servers' key: path building goes by name, so a
caller's certificate chains neither to `stations`, whose name and key are others, nor to `servers`.
A ceremony makes all under one root at once; what is stored is kept. The RSA pair is made, read and
trusted only where it is asked for: a root that nobody needs is one more that may sign.
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
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.authority.issuance import Issuer, issue, rehearse, throwaway_key
from pki.authority.records import StoredAuthority
from pki.signing.signer import Signer, SigningKey
from pki.wire import CertificateKind, TrustAnchors
from pki.x509 import template
from pki.x509.keys import PublicKey
from pki.x509.lint import Linter
from pki.x509.names import subject_name
from pki.x509.template import PublicLocations

ROOT: Final = "root"
ROOT_RSA: Final = "root-rsa"
_DAY: Final = timedelta(days=1)
_BACKDATE: Final = timedelta(minutes=10)  # T13, as the leaves below
_ROOT_DAYS: Final = (365, 9125)  # a year to 25 years
_ISSUER_DAYS: Final = (30, 3650)


class IssuerName(StrEnum):
    STATIONS = "stations"
    SERVERS = "servers"
    CALLERS = "callers"
    SERVERS_RSA = "servers-rsa"


# By the root they stand under.
ISSUERS: Final = (IssuerName.STATIONS, IssuerName.SERVERS, IssuerName.CALLERS)
ISSUERS_RSA: Final = (IssuerName.SERVERS_RSA,)
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
    IssuerName.SERVERS_RSA: "serverAuth",
}
_CURVES: Final = {"P-256": "secp256r1", "P-384": "secp384r1"}
# A00.FR.502, 504; 4096 bits would cost the first start a second for each key.
_RSA_BITS: Final = {"RSA-3072": 3072}
_RSA_NAMES: Final = frozenset({ROOT_RSA, *ISSUERS_RSA})


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
    root_rsa: AuthorityConfig
    servers_rsa: AuthorityConfig

    def issuer(self, name: IssuerName) -> AuthorityConfig:
        return {
            IssuerName.STATIONS: self.stations,
            IssuerName.SERVERS: self.servers,
            IssuerName.CALLERS: self.callers,
            IssuerName.SERVERS_RSA: self.servers_rsa,
        }[name]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The newest root, and of each issuing CA the one that signs now; `servers-rsa` only where it
    was asked for.
    """

    root: x509.Certificate
    issuers: Mapping[IssuerName, Issuer]
    anchors: TrustAnchors

    def issuer_for(self, kind: CertificateKind, public_key: PublicKey) -> Issuer:
        """A listener's RSA key is certified under the RSA root: its peer may know nothing else."""
        is_rsa = isinstance(public_key, rsa.RSAPublicKey)
        if kind is CertificateKind.SERVER and is_rsa and IssuerName.SERVERS_RSA in self.issuers:
            return self.issuers[IssuerName.SERVERS_RSA]
        return self.issuers[ISSUER_OF_KIND[kind]]


def load_ceremony(toml: bytes) -> CeremonyConfig:
    """Raises HierarchyInvalid."""
    try:
        config = msgspec.toml.decode(toml, type=CeremonyConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HierarchyInvalid(f"ceremony: {error}") from error
    _check(ROOT, config.root, days=_ROOT_DAYS)
    _check(ROOT_RSA, config.root_rsa, days=_ROOT_DAYS)
    for name in IssuerName:
        _check(name, config.issuer(name), days=_ISSUER_DAYS)
    if config.stations.key in {config.root.key, config.servers.key, config.callers.key}:
        # A key shared with them would make their leaves verify under the stations' key.
        raise HierarchyInvalid(
            f"stations.key = {config.stations.key}: a key of its own (decision 3)"
        )
    if config.root.key in {config.servers.key, config.callers.key}:
        raise HierarchyInvalid(f"root.key = {config.root.key}: a key of its own (A00.FR.603)")
    if config.root_rsa.key == config.servers_rsa.key:
        raise HierarchyInvalid(f"root_rsa.key = {config.root_rsa.key}: a key of its own")
    names = [config.root.common_name, config.root_rsa.common_name]
    names += [config.issuer(name).common_name for name in IssuerName]
    if len(set(names)) != len(names):
        raise HierarchyInvalid("common_name: every CA has a name of its own")
    return config


def _check(name: str, config: AuthorityConfig, *, days: tuple[int, int]) -> None:
    allowed = _RSA_BITS if name in _RSA_NAMES else _CURVES
    if config.algorithm not in allowed:
        raise HierarchyInvalid(f"{name}.algorithm = {config.algorithm}: {' or '.join(allowed)}")
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
    making = _Making(organization, locations, random_bytes, now)
    made = making.root(ROOT, config.root, root_signer)
    return [made.stored] + [
        making.issuer(name, config.issuer(name), issuer_signers[name], under=made)
        for name in ISSUERS
    ]


def hold_rsa_ceremony(
    config: CeremonyConfig,
    *,
    organization: str,
    root_signer: Signer,
    servers_signer: Signer,
    locations: PublicLocations,
    random_bytes: Callable[[int], bytes],
    now: datetime,
) -> list[StoredAuthority]:
    """The RSA root and its issuing CA for servers; else as `hold_ceremony`."""
    making = _Making(organization, locations, random_bytes, now)
    made = making.root(ROOT_RSA, config.root_rsa, root_signer)
    servers = IssuerName.SERVERS_RSA
    return [made.stored, making.issuer(servers, config.servers_rsa, servers_signer, under=made)]


@dataclass(frozen=True, slots=True)
class _MadeRoot:
    name: str
    certificate: x509.Certificate
    signer: Signer
    stored: StoredAuthority


@dataclass(frozen=True, slots=True)
class _Making:
    """What all certificates of one ceremony have in common."""

    organization: str
    locations: PublicLocations
    random_bytes: Callable[[int], bytes]
    now: datetime

    @property
    def _not_before(self) -> datetime:
        return self.now.replace(microsecond=0) - _BACKDATE

    def _serial(self) -> template.Serial:
        return template.serial_from(self.random_bytes(template.SERIAL_OCTETS))

    def root(self, name: str, config: AuthorityConfig, signer: Signer) -> _MadeRoot:
        _check_algorithm(name, config, signer)
        builder = template.root(
            subject=subject_name(organization=self.organization, common_name=config.common_name),
            public_key=signer.public_key,
            serial=self._serial(),
            not_before=self._not_before,
            validity_period=config.validity_days * _DAY,
        )
        certificate = _sign(builder, signer)
        return _MadeRoot(name, certificate, signer, _stored(name, certificate, signer, self.now))

    def issuer(
        self, name: IssuerName, config: AuthorityConfig, signer: Signer, *, under: _MadeRoot
    ) -> StoredAuthority:
        _check_algorithm(name, config, signer)
        builder = template.issuing_authority(
            subject=subject_name(organization=self.organization, common_name=config.common_name),
            issuer=under.certificate,
            issuer_name=under.name,
            public_key=signer.public_key,
            serial=self._serial(),
            not_before=self._not_before,
            validity_period=config.validity_days * _DAY,
            extended_key_usage=template.CA_PURPOSES[_PURPOSES[name]],
            locations=self.locations,
        )
        return _stored(name, _sign(builder, under.signer), signer, self.now)


def _check_algorithm(name: str, config: AuthorityConfig, signer: Signer) -> None:
    if _algorithm(signer.public_key) != config.algorithm:
        raise HierarchyInvalid(f"{name}: key {config.key} is not {config.algorithm}")


def _algorithm(key: SigningKey) -> str:
    """As the ceremony's file writes it."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    return next((name for name, curve in _CURVES.items() if key.curve.name == curve), "")


def _sign(builder: x509.CertificateBuilder, root_signer: Signer) -> x509.Certificate:
    throwaway = throwaway_key(root_signer.public_key)
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


def read_hierarchy(stored: Sequence[StoredAuthority], *, with_rsa: bool = False) -> Hierarchy:
    """Raises HierarchyInvalid when a part is missing or does not fit under its root."""
    certificates: dict[str, list[tuple[x509.Certificate, str]]] = {}
    for authority in stored:
        certificate = x509.load_der_x509_certificate(authority.der)
        certificates.setdefault(authority.name, []).append((certificate, authority.key_id))
    missing = [name for name in (ROOT, *ISSUERS) if name not in certificates]
    if missing:
        raise HierarchyInvalid(f"no {', '.join(missing)} certificate: hold the ceremony first")
    root, _ = certificates[ROOT][-1]
    issuers = {name: _issuer(name, *certificates[name][-1], root=root) for name in ISSUERS}
    root_rsa: list[x509.Certificate] = []
    if with_rsa:
        if not has_rsa(stored):
            raise HierarchyInvalid(NO_RSA)
        root_rsa = [certificates[ROOT_RSA][-1][0]]
        for name in ISSUERS_RSA:
            issuers[name] = _issuer(name, *certificates[name][-1], root=root_rsa[0])
    servers = [name for name in (IssuerName.SERVERS, *ISSUERS_RSA) if name in issuers]
    return Hierarchy(
        root=root,
        issuers=issuers,
        anchors=TrustAnchors(
            root_pem=_pem(root),
            station_issuers_pem=[_pem(c) for c, _ in certificates[IssuerName.STATIONS]],
            server_issuers_pem=[_pem(c) for name in servers for c, _ in certificates[name]],
            caller_issuers_pem=[_pem(c) for c, _ in certificates[IssuerName.CALLERS]],
            rsa_root_pem="".join(map(_pem, root_rsa)),
        ),
    )


def has_rsa(stored: Sequence[StoredAuthority]) -> bool:
    return {authority.name for authority in stored} >= _RSA_NAMES


NO_RSA: Final = (
    "there is no RSA hierarchy, which the TLS policy ocpp-certification needs: with your own Vault "
    "run `csms vault apply --ceremony` under that policy; with the bundled one begin with a new "
    "CSMS_DATA_DIR, since only its first start may make CA keys"
)


def _issuer(
    name: IssuerName, certificate: x509.Certificate, key_id: str, *, root: x509.Certificate
) -> Issuer:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise HierarchyInvalid(f"the {name} certificate is not issued by the root") from error
    public_key = certificate.public_key()
    if name in ISSUERS_RSA:
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise HierarchyInvalid(f"the {name} certificate has no RSA key")
    elif not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise HierarchyInvalid(f"the {name} certificate has no elliptic curve key")
    return Issuer(
        name=name,
        certificate=certificate,
        public_key=public_key,
        key_id=key_id,
        throwaway_key=throwaway_key(public_key),
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")
