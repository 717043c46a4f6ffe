"""The issuance cycle by its numbers: what was linted is signed once, by the issuer, or never."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority.hierarchy import IssuerName
from pki.authority.issuance import (
    IssuanceBroken,
    IssuanceRequest,
    PreparedCertificate,
    issue,
    prepare,
    rehearse,
)
from pki.signing.memory import MemorySigner
from pki.signing.signer import Signer, SignerError, SignerUnavailable, SignerUnfit, SigningKey
from pki.wire import CertificateKind
from pki.x509 import template
from pki.x509.lint import Linter, LintFailed
from pki.x509.template import IssuerExpired, PublicLocations, Serial
from tests.fixtures.pki_memory import LOCATIONS, NOW, ORGANIZATION, memory_ca, profiles

CA = memory_ca()
ISSUER = CA.hierarchy.issuers[IssuerName.STATIONS]
SIGNER = CA.signers[IssuerName.STATIONS]
PROFILE = profiles().by_kind[CertificateKind.STATION]
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
SERIAL = template.serial_from(b"\x07" * template.SERIAL_OCTETS)
REQUEST = IssuanceRequest(
    organization=ORGANIZATION, common_name="CS001", public_key=KEY, locations=LOCATIONS
)


def prepared(request: IssuanceRequest = REQUEST, **changes: Any) -> PreparedCertificate:
    named = {"serial": SERIAL, "now": NOW, "linter": Linter(), **changes}
    return prepare(request, PROFILE, ISSUER, **named)


@dataclass
class Cycle:
    """Writes down what the signer was asked, and lets `act` answer in its place."""

    act: Callable[[bytes], bytes]
    real: Signer = SIGNER
    asked: int = 0

    @property
    def key_id(self) -> str:
        return self.real.key_id

    @property
    def public_key(self) -> SigningKey:
        return self.real.public_key

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        self.asked += 1
        return self.act(self.real.sign_digest(digest, algorithm))


def test_2_to_6_what_was_linted_is_what_is_delivered() -> None:
    ready = prepared()
    linted, cycle = ready.tbs, Cycle(bytes)
    certificate = issue(ready, cycle)
    assert certificate.tbs_certificate_bytes == linted
    assert hashes_of(certificate) == ready.tbs_sha256
    certificate.verify_directly_issued_by(ISSUER.certificate)
    assert (certificate.serial_number, cycle.asked) == (SERIAL, 1)


def hashes_of(certificate: x509.Certificate) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate.tbs_certificate_bytes)
    return digest.finalize().hex()


def test_2_serial_and_time_alone_decide_the_octets() -> None:
    """Deterministic: the hash that the intent stores can be computed again."""
    assert prepared().tbs == prepared().tbs
    assert prepared().tbs != prepared(serial=Serial(SERIAL + 1)).tbs
    assert prepared().tbs != prepared(now=NOW + timedelta(seconds=1)).tbs


def test_2_an_issuer_at_its_end_prepares_nothing() -> None:
    with pytest.raises(IssuerExpired):
        prepared(now=NOW + timedelta(days=4000))


def test_3_what_the_linter_refuses_is_not_prepared() -> None:
    bad = replace(REQUEST, locations=PublicLocations(base_url="http://localhost"))
    with pytest.raises(LintFailed):
        prepared(bad)


def test_3_names_of_a_listener_are_in_what_was_linted() -> None:
    with_names = replace(
        REQUEST, host_names=("csms.example.com",), ip_addresses=(IPv4Address("10.0.0.1"),)
    )
    certificate = issue(prepared(with_names), SIGNER)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["csms.example.com"]


def test_5_a_prepared_certificate_is_signed_once() -> None:
    ready, cycle = prepared(), Cycle(bytes)
    issue(ready, cycle)
    with pytest.raises(IssuanceBroken, match="once"):
        issue(ready, cycle)
    assert cycle.asked == 1


@pytest.mark.parametrize("error", [SignerUnavailable("sealed"), SignerUnfit("no signature")])
def test_5_a_late_error_uses_the_prepared_certificate_up(error: SignerError) -> None:
    """The signature may exist: whoever asks again takes a new serial."""
    ready = prepared()

    def late(_signature: bytes) -> bytes:
        raise error

    with pytest.raises(type(error)):
        issue(ready, Cycle(late))
    with pytest.raises(IssuanceBroken, match="once"):
        issue(ready, SIGNER)


def _over(data: bytes, algorithm: hashes.HashAlgorithm, signer: Signer = SIGNER) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return signer.sign_digest(digest.finalize(), algorithm)


FOREIGN = MemorySigner("foreign")
BAD_SIGNATURES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "garbage": lambda _: b"\xff" * 70,
    "an empty SEQUENCE": lambda _: b"\x30\x00",
    "r = s = 0": lambda _: bytes.fromhex("3006020100020100"),
    "r = s = 1": lambda _: bytes.fromhex("3006020101020101"),
    "cut short": lambda signature: signature[:-1],
    "an octet more": lambda signature: signature + b"\x00",
    "one bit flipped": lambda signature: signature[:-1] + bytes([signature[-1] ^ 1]),
    "over another text": lambda _: _over(b"another TBSCertificate", hashes.SHA256()),
    "over another hash": lambda _: _over(prepared().tbs, hashes.SHA384()),
    "by another key": lambda _: _over(prepared().tbs, hashes.SHA256(), FOREIGN),
}


@pytest.mark.parametrize("bad", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
def test_6_a_signature_that_is_not_the_issuers_over_these_octets_is_broken(
    bad: Callable[[bytes], bytes],
) -> None:
    """C10."""
    with pytest.raises(IssuanceBroken, match="not by the issuer"):
        issue(prepared(), Cycle(bad))


def _leaf(**changes: Any) -> x509.CertificateBuilder:
    named: dict[str, Any] = {
        "profile": PROFILE,
        "issuer": ISSUER.certificate,
        "issuer_name": "stations",
        "organization": ORGANIZATION,
        "common_name": "CS001",
        "public_key": KEY,
        "serial": SERIAL,
        "now": NOW,
        "locations": LOCATIONS,
        **changes,
    }
    return template.leaf(**named)


OTHER_CONTENT: dict[str, Callable[[], x509.CertificateBuilder]] = {
    "serial": lambda: _leaf(serial=Serial(SERIAL + 1)),
    "common name": lambda: _leaf(common_name="CS002"),
    "organization": lambda: _leaf(organization="Evil Inc"),
    "validity": lambda: _leaf(profile=replace(PROFILE, validity_period=timedelta(days=398))),
    "key": lambda: _leaf(public_key=FOREIGN.public_key),
    "issuer": lambda: _leaf(issuer=CA.hierarchy.root),
    "CRL": lambda: _leaf(issuer_name="servers"),
    "SAN": lambda: _leaf(host_names=["csms.example.com"]),
    "one extension more": lambda: _leaf().add_extension(x509.OCSPNoCheck(), critical=False),
}


@pytest.mark.parametrize("other", OTHER_CONTENT.values(), ids=OTHER_CONTENT)
def test_6_another_content_than_the_linted_one_is_broken(
    other: Callable[[], x509.CertificateBuilder],
) -> None:
    """C10: one field differs; the issuer's signature over it is sound, and does not help."""
    swapped = PreparedCertificate(other(), tbs=prepared().tbs, issuer_key=ISSUER.public_key)
    with pytest.raises(IssuanceBroken, match="not the linted one"):
        issue(swapped, SIGNER)


def test_6_a_key_of_another_curve_changes_the_octets_and_is_broken() -> None:
    stronger = MemorySigner("stronger", curve=ec.SECP384R1())
    with pytest.raises(IssuanceBroken, match="not the linted one"):
        issue(prepared(), stronger)


def test_the_hash_follows_the_issuers_curve() -> None:
    signer = MemorySigner("p384", curve=ec.SECP384R1())
    throwaway = ec.generate_private_key(ec.SECP384R1())
    ready = rehearse(_leaf(), signer.public_key, throwaway, linter=Linter())
    assert isinstance(issue(ready, signer).signature_hash_algorithm, hashes.SHA384)


def test_the_throw_away_key_is_in_no_repr() -> None:
    assert "throwaway" not in repr(ISSUER)


def test_a_signer_hashes_nothing_itself() -> None:
    """The digest is ours: a signer that is given a text of another length refuses."""
    with pytest.raises(SignerUnfit):
        SIGNER.sign_digest(b"text", hashes.SHA256())
