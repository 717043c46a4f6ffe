"""csms.gateway.peer_certificate: reading what a peer showed never raises and never flatters."""

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from csms.gateway.peer_certificate import read_certificate
from tests.fixtures import pki_hostile
from tests.fixtures.pki_small import SmallCA, name

CN, ORG, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
AUTHORITY = SmallCA("Stations")


def der_of(subject: x509.Name, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    return AUTHORITY.leaf(subject, extensions=extensions).certificate.public_bytes(Encoding.DER)


GOOD = der_of(name((ORG, "CSO"), (CN, "SN1")))


def test_an_ordinary_leaf_reads_as_it_stands() -> None:
    read = read_certificate(GOOD)
    assert (read.common_names, read.organizations, read.is_ca) == (("SN1",), ("CSO",), False)
    assert read.fingerprint_sha256 == hashlib.sha256(GOOD).hexdigest()
    assert read.not_before < datetime.now(UTC) < read.not_after


def test_every_common_name_is_seen_also_in_a_multi_valued_rdn() -> None:
    """B06."""
    pair = x509.RelativeDistinguishedName(
        [x509.NameAttribute(CN, "SN2"), x509.NameAttribute(OU, "x")]
    )
    subject = x509.Name([*name((CN, "SN1")).rdns, pair])
    assert read_certificate(der_of(subject)).common_names == ("SN1", "SN2")


@pytest.mark.parametrize(
    ("constraints", "is_ca"),
    [
        (x509.BasicConstraints(ca=False, path_length=None), False),
        (x509.BasicConstraints(ca=True, path_length=0), True),
    ],
)
def test_a_ca_is_seen(constraints: x509.BasicConstraints, *, is_ca: bool) -> None:
    """M2."""
    assert read_certificate(der_of(name((CN, "SN1")), (constraints, True))).is_ca is is_ca


def usage(*allowed: str) -> tuple[x509.KeyUsage, bool]:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{each: each in allowed for each in names}), True


def test_what_only_a_ca_may_carry_makes_a_ca() -> None:
    """RFC 5280 §4.2.1.3, §4.2.1.10."""
    subject = name((CN, "SN1"))
    assert read_certificate(der_of(subject, usage("digital_signature", "key_cert_sign"))).is_ca
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    assert read_certificate(der_of(subject, (constraints, True))).is_ca
    assert not read_certificate(der_of(subject, usage("digital_signature"))).is_ca


def test_a_key_authenticates_when_its_usage_allows_it_or_is_not_said() -> None:
    """B08: keyAgreement passes OpenSSL as a client's usage."""
    subject = name((CN, "SN1"))
    assert read_certificate(GOOD).may_authenticate
    assert read_certificate(der_of(subject, usage("digital_signature"))).may_authenticate
    assert not read_certificate(der_of(subject, usage("key_agreement"))).may_authenticate


@pytest.mark.parametrize(("version", "may"), [(None, False), (2, True)])
def test_a_version_1_certificate_does_not_say_what_it_is_for(
    version: int | None, *, may: bool
) -> None:
    now = datetime.now(UTC)
    der = pki_hostile.certificate(
        AUTHORITY.key,
        issuer=AUTHORITY.certificate.subject.public_bytes(),
        subject=pki_hostile.CS001,
        public_key=pki_hostile.spki(AUTHORITY.key),
        validity=(now, now),
        version=version,
    )
    read = read_certificate(der)
    assert (read.common_names, read.may_authenticate) == (("CS001",), may)


def test_what_cannot_be_read_is_admitted_by_nothing() -> None:
    for der in (b"", b"garbage", GOOD[:-1], b"\x30\x00"):
        read = read_certificate(der)
        assert read.fingerprint_sha256 == hashlib.sha256(der).hexdigest()
        assert (read.common_names, read.organizations, read.is_ca) == ((), (), True)
        assert read.not_before > read.not_after


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_changed_byte_makes_reading_raise(position: int, mask: int) -> None:
    changed = bytearray(GOOD)
    changed[position] ^= mask
    assert read_certificate(bytes(changed)).fingerprint_sha256
