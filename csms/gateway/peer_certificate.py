"""The certificate a peer showed, read as it stands; reading never raises.

OpenSSL accepts certificates that stricter parsers do not. What cannot be read becomes a
certificate that nothing admits: no names, no validity, a CA. The fingerprint is of the bytes, so
the record is looked up whatever they say.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from csms.domain.admission import PresentedCertificate

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_ALWAYS_LATER: Final = datetime.max.replace(tzinfo=UTC)


def read_certificate(der: bytes) -> PresentedCertificate:
    fingerprint = hashlib.sha256(der).hexdigest()
    try:
        return _read(x509.load_der_x509_certificate(der), fingerprint)
    # The parser reports odd encodings by many exceptions, some of them undocumented. All mean one
    # thing here, and the answer is to admit nothing.
    except Exception:  # noqa: BLE001 -- see above
        return PresentedCertificate(
            fingerprint_sha256=fingerprint,
            common_names=(),
            organizations=(),
            not_before=_ALWAYS_LATER,
            not_after=_NEVER,
            is_ca=True,
            may_authenticate=False,
        )


def _read(certificate: x509.Certificate, fingerprint: str) -> PresentedCertificate:
    return PresentedCertificate(
        fingerprint_sha256=fingerprint,
        common_names=_texts(certificate, NameOID.COMMON_NAME),
        organizations=_texts(certificate, NameOID.ORGANIZATION_NAME),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_ca=_is_ca(certificate),
        may_authenticate=_may_authenticate(certificate),
    )


def _texts(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    """Every attribute of that type, also within a multi-valued RDN (B06)."""
    values = (attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid))
    return tuple(value if isinstance(value, str) else value.hex() for value in values)


def _is_ca(certificate: x509.Certificate) -> bool:
    """Says that it is one, or carries what only a CA may (RFC 5280 §4.2.1.3, §4.2.1.10)."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return (
        (constraints is not None and constraints.ca)
        or (usage is not None and usage.key_cert_sign)
        or _extension(certificate, x509.NameConstraints) is not None
    )


def _may_authenticate(certificate: x509.Certificate) -> bool:
    """RFC 5280 §4.2.1.3: where there is a keyUsage, digitalSignature; OpenSSL also takes
    keyAgreement. A version 1 certificate says nothing of what it is for, and we make none. The
    extended usage is OpenSSL's to check: clientAuth or absent (T3).
    """
    usage = _extension(certificate, x509.KeyUsage)
    return certificate.version is x509.Version.v3 and (usage is None or usage.digital_signature)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
