"""Lint before signing: pkilint over a certificate that a throw-away key has signed.

What is linted is the very TBSCertificate that will be signed (decision 1). A finding of severity
ERROR or above refuses it: such a certificate would be our mistake, not the caller's.

pkilint costs 3 ms, more than all other cryptography of a certificate. `Linter` therefore lints each
*form* once (decision 22): a form is the TBSCertificate with the fields blanked that differ from
leaf to leaf (serial number, validity, common name, public key and its identifier), each of which
has its own exact check before it reaches a template. Any other byte, and any length, makes another
form and is linted in full; so is one certificate in a hundred, whatever its form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from pkilint import loader
from pkilint.pkix import certificate, extension, name
from pkilint.validation import ValidationFindingSeverity

_SAMPLE: Final = 100  # one in a hundred, chosen by the serial number's random bits
_MAX_FORMS: Final = 1024
_DOMAIN_NAME_SYNTAX: Final = "pkix.invalid_domain_name_syntax"
_COMMON_NAME_UTF8: Final = bytes.fromhex("0603550403" + "0c")  # OID 2.5.4.3, UTF8String


@dataclass(frozen=True, slots=True)
class Finding:
    severity: str
    code: str
    message: str


class LintFailed(Exception):
    """The certificate breaks a rule; `findings` says which."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__(", ".join(sorted({finding.code for finding in findings})))
        self.findings = findings


# Built once: the containers hold no state between certificates.
_VALIDATORS: Final = certificate.create_pkix_certificate_validator_container(
    certificate.create_decoding_validators(
        name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS
    ),
    [
        certificate.create_issuer_validator_container([]),
        certificate.create_validity_validator_container(),
        certificate.create_subject_validator_container([]),
        certificate.create_extensions_validator_container([]),
        certificate.create_spki_validator_container([]),
    ],
)


class Linter:
    """Remembers the forms that were clean; safe to share between threads."""

    def __init__(self) -> None:
        self._clean: set[bytes] = set()
        self.full_lints = 0

    def check(self, rehearsal: x509.Certificate) -> None:
        """Raises LintFailed."""
        known = form(rehearsal)
        if known in self._clean and rehearsal.serial_number % _SAMPLE:
            return
        self.full_lints += 1
        self._clean.discard(known)
        lint(rehearsal.public_bytes(serialization.Encoding.DER))
        if len(self._clean) >= _MAX_FORMS:
            self._clean.clear()
        self._clean.add(known)


def form(rehearsal: x509.Certificate) -> bytes:
    """Hash of the TBSCertificate without what differs from leaf to leaf."""
    blanked = rehearsal.tbs_certificate_bytes
    for prefix, value in _variable_fields(rehearsal):
        blanked = blanked.replace(prefix + value, prefix + bytes(len(value)), 1)
    return hashlib.sha256(blanked).digest()


def _variable_fields(rehearsal: x509.Certificate) -> Sequence[tuple[bytes, bytes]]:
    """In the order in which they stand there: (DER that comes before, contents)."""
    serial = rehearsal.serial_number.to_bytes(rehearsal.serial_number.bit_length() // 8 + 1)
    spki = rehearsal.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    identifier = rehearsal.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    names = [
        str(attribute.value).encode()
        for attribute in rehearsal.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    times = [
        f"{moment:%y%m%d%H%M%S}Z".encode("ascii")
        for moment in (rehearsal.not_valid_before_utc, rehearsal.not_valid_after_utc)
    ]
    algorithm = len(spki) - _key_octets(spki)
    return [
        (b"\x02" + bytes([len(serial)]), serial),
        *((b"\x17\x0d", time) for time in times),  # UTCTime: years before 2050
        *((_COMMON_NAME_UTF8 + bytes([len(name)]), name) for name in names),
        (spki[:algorithm], spki[algorithm:]),
        (b"\x04\x16\x04\x14", identifier.digest),
    ]


def _key_octets(spki: bytes) -> int:
    """How many octets at the end are an elliptic curve key's own: X and Y. By the length of the
    SubjectPublicKeyInfo of P-256 and P-384; other keys (RSA) make each a form of its own.

    The algorithm, the curve and every length before them stay part of the form.
    """
    return {91: 64, 120: 96}.get(len(spki), 0)


def lint(certificate_der: bytes) -> None:
    """The whole of pkilint's PKIX rules, nothing remembered. Raises LintFailed."""
    serious = tuple(
        finding
        for severity, finding in _findings(certificate_der)
        if severity <= ValidationFindingSeverity.ERROR  # FATAL is 0, ERROR 1, WARNING 2
    )
    if serious:
        raise LintFailed(serious)


def _findings(certificate_der: bytes) -> list[tuple[ValidationFindingSeverity, Finding]]:
    try:
        document = loader.load_der_certificate(certificate_der, "certificate")
    except ValueError as error:
        finding = Finding("FATAL", "undecodable", "not a certificate")
        raise LintFailed((finding,)) from error
    return [
        (
            described.finding.severity,
            Finding(
                str(described.finding.severity), described.finding.code, described.message or ""
            ),
        )
        for result in _VALIDATORS.validate(document.root)
        for described in result.finding_descriptions
        if not _is_localhost(described.finding.code, result.node)
    ]


def _is_localhost(code: str, node: Any) -> bool:
    """Pkilint wants a dot in every dNSName; the default host name has none. `localhost` is a name
    by RFC 1034 §3.5 all the same, reserved by RFC 6761 §6.3, and no other single label passes.
    """
    return bool(code == _DOMAIN_NAME_SYNTAX and str(node.pdu) == "localhost")
