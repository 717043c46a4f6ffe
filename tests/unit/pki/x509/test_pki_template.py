"""What stands in a certificate, and that nothing of the request but its key does."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.authority.hierarchy import IssuerName
from pki.wire import CertificateKind
from pki.x509 import template
from tests.fixtures.pki_memory import LOCATIONS, NOW, ORGANIZATION, memory_ca, profiles

CA = memory_ca()
STATIONS = CA.hierarchy.issuers[IssuerName.STATIONS]


def leaf(kind: CertificateKind = CertificateKind.STATION, **changes: Any) -> x509.Certificate:
    arguments: dict[str, Any] = {
        "profile": profiles().by_kind[kind],
        "issuer": STATIONS.certificate,
        "issuer_name": "stations",
        "organization": ORGANIZATION,
        "common_name": "CS001",
        "public_key": ec.generate_private_key(ec.SECP256R1()).public_key(),
        "serial": template.serial_from(secrets.token_bytes(20)),
        "now": NOW,
        "locations": LOCATIONS,
    }
    return template.leaf(**{**arguments, **changes}).sign(STATIONS.throwaway_key, hashes.SHA256())


def test_a_station_leaf_is_what_the_requirements_say() -> None:
    certificate = leaf()
    assert certificate.subject.rfc4514_string() == "CN=CS001,O=Example CSO"  # A00.FR.509, 511
    by_type = {type(e.value): e for e in certificate.extensions}
    assert set(by_type) == {
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.SubjectKeyIdentifier,
        x509.AuthorityKeyIdentifier,
        x509.CRLDistributionPoints,
        x509.AuthorityInformationAccess,
    }  # no EKU (A00.FR.514), no SAN (A00.FR.511)
    constraints, usage = by_type[x509.BasicConstraints], by_type[x509.KeyUsage]
    assert constraints.critical
    assert constraints.value.ca is False
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    point = by_type[x509.CRLDistributionPoints].value[0].full_name[0].value
    assert point == "http://127.0.0.1:8080/pki/crl/stations.crl"
    access = by_type[x509.AuthorityInformationAccess].value[0].access_location.value
    assert access == "http://127.0.0.1:8080/pki/ca.pem"


def test_a_station_leaf_may_carry_client_auth_by_profile() -> None:
    """T3."""
    profile = replace(
        profiles().by_kind[CertificateKind.STATION],
        extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
    )
    usage = leaf(profile=profile).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_server_leaf_names_host_and_address() -> None:
    certificate = leaf(
        CertificateKind.SERVER,
        common_name="csms.example.com",
        host_names=["csms.example.com"],
        ip_addresses=[ip_address("127.0.0.1")],
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["csms.example.com"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life < timedelta(hours=24)


def test_a_leaf_is_back_dated_and_lives_ninety_days() -> None:
    """T13."""
    late = datetime(2026, 3, 2, 0, 0, 0, 999999, tzinfo=UTC)
    certificate = leaf(now=late)
    assert certificate.not_valid_before_utc == datetime(2026, 3, 1, 23, 50, tzinfo=UTC)
    assert certificate.not_valid_after_utc == datetime(2026, 5, 31, tzinfo=UTC)


def test_a_leaf_never_outlives_its_issuer() -> None:
    end = STATIONS.certificate.not_valid_after_utc
    assert leaf(now=end - timedelta(days=10)).not_valid_after_utc == end


def test_an_issuer_at_its_end_issues_nothing() -> None:
    with pytest.raises(template.IssuerExpired):
        leaf(now=STATIONS.certificate.not_valid_after_utc)


def test_an_issuer_from_the_future_issues_nothing() -> None:
    with pytest.raises(template.IssuerExpired):
        leaf(now=STATIONS.certificate.not_valid_before_utc - timedelta(seconds=1))


@pytest.mark.parametrize("random", [b"\x00" * 20, b"\xff" * 20])
def test_a_serial_is_positive_twenty_octets_and_below_2_159(random: bytes) -> None:
    serial = template.serial_from(random)
    assert 0 < serial < 1 << 159
    assert len(f"{serial:x}") == 40


@pytest.mark.parametrize("octets", [0, 8, 19, 21])
def test_a_serial_of_less_randomness_is_refused(octets: int) -> None:
    with pytest.raises(ValueError, match="20 random octets"):
        template.serial_from(bytes(octets))


def test_serials_differ_and_their_bits_are_even() -> None:
    """C14: a monobit check over 20,000 serials; 7 sigma, so that chance does not fail it."""
    serials = {template.serial_from(secrets.token_bytes(20)) for _ in range(20_000)}
    assert len(serials) == 20_000
    ones = sum((serial & ((1 << 158) - 1)).bit_count() for serial in serials)
    bits = 20_000 * 158
    assert abs(ones - bits / 2) < 7 * (bits**0.5) / 2


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        (IssuerName.STATIONS, ExtendedKeyUsageOID.CLIENT_AUTH),
        (IssuerName.SERVERS, ExtendedKeyUsageOID.SERVER_AUTH),
        (IssuerName.CALLERS, ExtendedKeyUsageOID.CLIENT_AUTH),
    ],
)
def test_an_issuing_ca_is_the_last_and_for_one_purpose(name: IssuerName, purpose: object) -> None:
    """Decision 3, M2."""
    extensions = CA.hierarchy.issuers[name].certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]


def test_the_root_has_room_for_one_level() -> None:
    constraints = CA.hierarchy.root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length) == (True, 1)
