"""The TBSCertificate: subject and extensions are ours, of the request only the key (decision 1).

One function per kind of certificate, all pure: serial and time come in, a builder goes out, which
is signed twice elsewhere: by a throw-away key for the linter, then by the issuer. Both signatures
cover the same bytes, since nothing here depends on who signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NewType

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from pki.wire import CertificateKind
from pki.x509.keys import PublicKey
from pki.x509.names import subject_name
from pki.x509.profile import Profile

Serial = NewType("Serial", int)

SERIAL_OCTETS: Final = 20  # RFC 5280 §4.1.2.2
# BR 7.1: positive, below 2^159, at least 64 bits from a CSPRNG. Bit 158 is always set, so that
# every serial has the same length and no leading zero to lose (C15); 158 bits are left to chance.
_SERIAL_MASK: Final = (1 << 158) - 1
_SERIAL_TOP: Final = 1 << 158

_DIGITAL_SIGNATURE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
# RFC 5246 §7.4.2: with static RSA the client encrypts to this key; RFC 5280 §4.2.1.3 names the bit.
_KEY_TRANSPORT: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=True,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_CA_KEY_USAGE: Final = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class IssuerExpired(Exception):
    """The issuing CA ends before the leaf would begin to be of use: roll it over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicLocations:
    """Where relying parties find the issuer and its CRL; plain HTTP by RFC 5280 §8 (no loop)."""

    base_url: str

    @property
    def ca_issuers(self) -> str:
        return f"{self.base_url}/pki/ca.pem"

    def crl(self, issuer_name: str) -> str:
        return f"{self.base_url}/pki/crl/{issuer_name}.crl"


def serial_from(random: bytes) -> Serial:
    """A serial number out of 20 CSPRNG octets (C14)."""
    if len(random) != SERIAL_OCTETS:
        raise ValueError(f"a serial number needs {SERIAL_OCTETS} random octets")
    return Serial(int.from_bytes(random) & _SERIAL_MASK | _SERIAL_TOP)


def leaf(
    *,
    profile: Profile,
    issuer: x509.Certificate,
    issuer_name: str,
    organization: str,
    common_name: str,
    public_key: PublicKey,
    serial: Serial,
    now: datetime,
    locations: PublicLocations,
    host_names: Sequence[str] = (),
    ip_addresses: Sequence[IPv4Address | IPv6Address] = (),
) -> x509.CertificateBuilder:
    """A leaf of that profile. Raises IssuerExpired."""
    not_before, not_after = leaf_validity(profile=profile, issuer=issuer, now=now)
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(issuer.subject)
        .subject_name(subject_name(organization=organization, common_name=common_name))
        .public_key(public_key)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        # M2: a CA:TRUE leaf would log in and issue; critical, so that nobody may overlook it.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_leaf_key_usage(profile, public_key), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(authority_key_identifier(issuer), critical=False)
        .add_extension(_crl_distribution_points(locations, issuer_name), critical=False)
        .add_extension(_authority_information_access(locations), critical=False)
    )
    if profile.extended_key_usage:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage(profile.extended_key_usage), critical=False
        )
    names = [*map(x509.DNSName, host_names), *map(x509.IPAddress, ip_addresses)]
    if names:
        # A00.FR.511 lets a CSMS of several names use SAN; clients today read nothing else.
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder


def _leaf_key_usage(profile: Profile, public_key: PublicKey) -> x509.KeyUsage:
    """A00.FR.512; an RSA key of a listener may serve static RSA, a station's never does."""
    is_server = profile.kind is CertificateKind.SERVER
    is_rsa = isinstance(public_key, rsa.RSAPublicKey)
    return _KEY_TRANSPORT if is_server and is_rsa else _DIGITAL_SIGNATURE


def leaf_validity(
    *, profile: Profile, issuer: x509.Certificate, now: datetime
) -> tuple[datetime, datetime]:
    """Back-dated for slow clocks (T13), and never outside the issuer's own life."""
    now = now.replace(microsecond=0)
    not_before = max(now - profile.backdate_period, issuer.not_valid_before_utc)
    not_after = min(now + profile.validity_period, issuer.not_valid_after_utc)
    if not not_before <= now < not_after:
        raise IssuerExpired(f"the issuing CA is valid until {issuer.not_valid_after_utc:%Y-%m-%d}")
    return not_before, not_after


def root(
    *,
    subject: x509.Name,
    public_key: PublicKey,
    serial: Serial,
    not_before: datetime,
    validity_period: timedelta,
) -> x509.CertificateBuilder:
    """A self-issued root: pathlen 1, so that below an issuing CA there is no other (M2)."""
    return _authority(
        subject=subject,
        issuer_name=subject,
        public_key=public_key,
        serial=serial,
        not_before=not_before,
        not_after=not_before + validity_period,
        path_length=1,
        # RFC 5280 §4.2.1.1 would let it be absent here; linters that see another key do not.
    ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)


def issuing_authority(
    *,
    subject: x509.Name,
    issuer: x509.Certificate,
    issuer_name: str,
    public_key: PublicKey,
    serial: Serial,
    not_before: datetime,
    validity_period: timedelta,
    extended_key_usage: x509.ObjectIdentifier,
    locations: PublicLocations,
) -> x509.CertificateBuilder:
    """An issuing CA: pathlen 0 (M2), and an EKU that binds all below it (decision 3)."""
    return (
        _authority(
            subject=subject,
            issuer_name=issuer.subject,
            public_key=public_key,
            serial=serial,
            not_before=not_before,
            not_after=min(not_before + validity_period, issuer.not_valid_after_utc),
            path_length=0,
        )
        .add_extension(x509.ExtendedKeyUsage([extended_key_usage]), critical=False)
        .add_extension(authority_key_identifier(issuer), critical=False)
        .add_extension(_crl_distribution_points(locations, issuer_name), critical=False)
        .add_extension(_authority_information_access(locations), critical=False)
    )


CA_PURPOSES: Final = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
}


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _authority(
    *,
    subject: x509.Name,
    issuer_name: x509.Name,
    public_key: PublicKey,
    serial: Serial,
    not_before: datetime,
    not_after: datetime,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(issuer_name)
        .subject_name(subject)
        .public_key(public_key)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_CA_KEY_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _crl_distribution_points(
    locations: PublicLocations, issuer_name: str
) -> x509.CRLDistributionPoints:
    point = x509.DistributionPoint(
        full_name=[x509.UniformResourceIdentifier(locations.crl(issuer_name))],
        relative_name=None,
        reasons=None,
        crl_issuer=None,
    )
    return x509.CRLDistributionPoints([point])


def _authority_information_access(locations: PublicLocations) -> x509.AuthorityInformationAccess:
    return x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.CA_ISSUERS,
                x509.UniformResourceIdentifier(locations.ca_issuers),
            )
        ]
    )
