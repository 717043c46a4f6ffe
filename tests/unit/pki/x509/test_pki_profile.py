"""Profiles are refused when weaker than the rule they cite; twins of the shipped file."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.wire import CertificateKind
from pki.x509.profile import ProfileInvalid, load_profiles
from tests.fixtures.pki_memory import ROOT, profiles

FILE = (ROOT / "policies" / "certificate-profiles.toml").read_text()


def test_the_shipped_file_is_what_the_decisions_say() -> None:
    loaded = profiles()
    station = loaded.by_kind[CertificateKind.STATION]
    assert station.validity_period == timedelta(days=90)
    assert station.backdate_period == timedelta(minutes=10)
    assert station.extended_key_usage == ()  # A00.FR.514
    server = loaded.by_kind[CertificateKind.SERVER]
    assert server.extended_key_usage == (ExtendedKeyUsageOID.SERVER_AUTH,)
    assert server.validity_period + server.backdate_period < timedelta(days=1)  # A00.FR.701
    assert loaded.key_policy.curves == {"P-256", "P-384"}
    assert loaded.key_policy.rsa_2048_until is None


def changed(old: str, new: str, count: int = 1) -> bytes:
    assert old in FILE
    return FILE.replace(old, new, count).encode()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[station]", "[station]\nca = true", "unknown field"),
        ("validity_hours = 2160", "validity_hours = 9553", "398 days"),
        ("validity_hours = 2160", "validity_hours = 0", "at least 1"),
        ("validity_hours = 2160", "validity_hours = '90d'", "int"),
        ("validity_hours = 23", "validity_hours = 24", "A00.FR.701"),
        ("backdate_minutes = 10", "backdate_minutes = 61", "T13"),
        ("backdate_minutes = 10", "backdate_minutes = -1", "T13"),
        ("extended_key_usage = []", 'extended_key_usage = ["serverAuth"]', "A00.FR.514"),
        ("extended_key_usage = []", 'extended_key_usage = ["anyExtendedKeyUsage"]', "may carry"),
        ('extended_key_usage = ["serverAuth"]', "extended_key_usage = []", "may carry"),
        ('extended_key_usage = ["clientAuth"]', 'extended_key_usage = ["serverAuth"]', "may carry"),
        ('["P-256", "P-384"]', '["P-256", "P-224"]', "A00.FR.504"),
        ('["P-256", "P-384"]', "[]", "A00.FR.504"),
        ("rsa_bits_min = 3072", "rsa_bits_min = 2048", "A00.FR.502"),
        ("rsa_bits_max = 4096", "rsa_bits_max = 8192", "A00.FR.502"),
        ("rsa_bits_min = 3072", "rsa_bits_min = 5000", "A00.FR.502"),
        ("[caller]", "[visitor]", "visitor"),
        ("[key_policy]", "[key_policy", "certificate profiles"),
    ],
)  # fmt: skip
def test_a_weaker_or_unknown_value_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(ProfileInvalid, match=says):
        load_profiles(changed(old, new))


def test_the_strongest_allowed_values_are_accepted() -> None:
    load_profiles(changed("validity_hours = 2160", "validity_hours = 9552"))
    load_profiles(changed("extended_key_usage = []", 'extended_key_usage = ["clientAuth"]'))
    load_profiles(
        changed("rsa_bits_max = 4096", "rsa_bits_max = 4096\nrsa_2048_until = 2027-12-31")
    )


def test_a_file_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ProfileInvalid):
        load_profiles(b'curves = "\xff"')
