"""The certificate a peer showed, read as it stands; reading never raises.

OpenSSL accepts certificates that stricter parsers do not. What cannot be read becomes a
certificate that nothing admits: no names, no validity, a CA. The fingerprint is of the bytes, so
the record is looked up whatever they say.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from csms.domain.admission import PresentedCertificate

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
        )


def _read(certificate: x509.Certificate, fingerprint: str) -> PresentedCertificate:
    return PresentedCertificate(
        fingerprint_sha256=fingerprint,
        common_names=_texts(certificate, NameOID.COMMON_NAME),
        organizations=_texts(certificate, NameOID.ORGANIZATION_NAME),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_ca=_is_ca(certificate),
    )


def _texts(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    """Every attribute of that type, also within a multi-valued RDN (B06)."""
    values = (attribute.value for attribute in certificate.subject.get_attributes_for_oid(oid))
    return tuple(value if isinstance(value, str) else value.hex() for value in values)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return constraints.value.ca
