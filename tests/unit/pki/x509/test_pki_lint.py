"""Lint before signing: what is an error, and when a known form is believed."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.authority.hierarchy import IssuerName
from pki.wire import CertificateKind
from pki.x509 import template
from pki.x509.lint import Linter, LintFailed, form, lint
from tests.fixtures.pki_memory import LOCATIONS, NOW, ORGANIZATION, memory_ca, profiles

ISSUER = memory_ca().hierarchy.issuers[IssuerName.STATIONS]


def builder(
    common_name: str = "CS001",
    *,
    serial: Any = None,
    minutes: int = 0,
    base_url: str = LOCATIONS.base_url,
    key: Any = None,
    organization: str = ORGANIZATION,
) -> x509.CertificateBuilder:
    return template.leaf(
        profile=profiles().by_kind[CertificateKind.STATION],
        issuer=ISSUER.certificate,
        issuer_name="stations",
        organization=organization,
        common_name=common_name,
        public_key=(key or ec.generate_private_key(ec.SECP256R1())).public_key(),
        serial=template.Serial(serial or template.serial_from(secrets.token_bytes(20)) | 1),
        now=NOW + timedelta(minutes=minutes),
        locations=template.PublicLocations(base_url=base_url),
    )


def rehearsal(*arguments: Any, **named: Any) -> x509.Certificate:
    return builder(*arguments, **named).sign(ISSUER.throwaway_key, hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def serial(*, sampled: bool) -> int:
    """20 octets long; a multiple of a hundred is the one in a hundred that is always linted."""
    number = (1 << 158) + int.from_bytes(secrets.token_bytes(16))
    return number - number % 100 + (0 if sampled else 1)


def test_our_leaf_has_no_error() -> None:
    lint(der(rehearsal()))


def test_a_single_label_host_in_a_uri_is_an_error() -> None:
    """RFC 5280 §4.2.1.6; why public_base_url turns localhost into an address."""
    with pytest.raises(LintFailed) as caught:
        lint(der(rehearsal(base_url="http://localhost:8080")))
    assert {finding.code for finding in caught.value.findings} == {"pkix.invalid_uri_syntax"}
    assert {finding.severity for finding in caught.value.findings} == {"ERROR"}


def test_what_is_no_certificate_is_fatal() -> None:
    with pytest.raises(LintFailed, match="undecodable"):
        lint(b"\x30\x00")


def test_leaves_that_differ_in_their_own_fields_only_have_one_form() -> None:
    assert form(rehearsal("CS001")) == form(rehearsal("CS002", minutes=77))


@pytest.mark.parametrize(
    "other",
    [
        {"common_name": "CS0001"},
        {"organization": "Example CSO."},
        {"organization": "Example CSo"},
        {"base_url": "http://127.0.0.1:8081"},
        {"key": ec.generate_private_key(ec.SECP384R1())},
    ],
)
def test_any_other_difference_is_another_form(other: dict[str, object]) -> None:
    assert form(rehearsal()) != form(rehearsal(**other))


def test_an_added_extension_is_another_form() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    number = serial(sampled=False)
    one = builder(serial=number, key=key)
    two = one.add_extension(x509.OCSPNoCheck(), critical=False)
    forms = {form(b.sign(ISSUER.throwaway_key, hashes.SHA256())) for b in (one, two)}
    assert len(forms) == 2


def test_rsa_keys_are_linted_each() -> None:
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    assert len({form(rehearsal(key=key)) for key in keys}) == 2


def test_a_known_form_is_linted_once() -> None:
    linter = Linter()
    for number in range(5):
        linter.check(rehearsal(f"CS00{number}", serial=serial(sampled=False)))
    assert linter.full_lints == 1


def test_one_in_a_hundred_is_linted_whatever_its_form() -> None:
    linter = Linter()
    for _ in range(3):
        linter.check(rehearsal(serial=serial(sampled=True)))
    assert linter.full_lints == 3


def test_a_bad_form_is_never_believed() -> None:
    linter = Linter()
    for _ in range(2):
        with pytest.raises(LintFailed):
            linter.check(rehearsal(base_url="http://localhost", serial=serial(sampled=False)))
    assert linter.full_lints == 2


def test_the_memory_of_forms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pki.x509.lint._MAX_FORMS", 2)
    linter = Linter()
    for name in ("A", "BB", "CCC", "A"):
        linter.check(rehearsal(name, serial=serial(sampled=False)))
    assert linter.full_lints == 4
