"""Certificate signing requests from outside: PKCS#10 in PEM (RFC 2986, RFC 7468).

`verify_csr` is the only way to a `VerifiedCSR`. It looks at the size before the PEM, at the PEM
before the DER, at the key before its signature (C04), and proves possession (C05). Of the request
only the public key is ever certified; subject and extensions are reported, not used (decision 1).
Whether *this* station may have this subject is the registration authority's question.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from dataclasses import dataclass
from datetime import date
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from pki.wire import Anomaly, RefusalReason
from pki.x509.keys import KeyPolicy, KeyWeak, PublicKey, check_key
from pki.x509.names import NameInvalid, single_attribute

MAX_CSR_CHARACTERS: Final = 5500  # SignCertificate.csr (OCPP 2.0.1 schema)
_MAX_DETAIL: Final = 200  # an anomaly is a hint for people, not a copy of hostile input
_MAX_ANOMALIES: Final = 16

# Strict textual encoding (RFC 7468 §3): one block, nothing around it but white space.
_PEM: Final = re.compile(
    r"\s*-----BEGIN (?P<label>(?:NEW )?CERTIFICATE REQUEST)-----\r?\n"
    r"(?P<body>[A-Za-z0-9+/=\r\n]+?)\r?\n"
    r"-----END (?P=label)-----\s*",
    re.ASCII,
)
# The library warns of what it reads in hostile names and extensions, and reads on. Nothing of it is
# certified and everything is reported, so that a line on stderr would be an attacker's to write.
for _hint in ("Attribute's length must be", "Parsed a serial number"):
    warnings.filterwarnings("ignore", message=_hint)

# Looked at before the key is: the library tests a Diffie-Hellman modulus for primality as it reads
# it, for most of a minute at 9,941 bits, and holds the whole process for so long (C04). An RSA key
# that is marked for PSS alone (RFC 4055 §1.2) is not one that the certificate could show.
_KEY_ALGORITHMS: Final = frozenset(
    {PublicKeyAlgorithmOID.EC_PUBLIC_KEY, PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5}
)
# What the library raises over extensions that it cannot read; KeyError: a TLS feature that it does
# not know (RFC 7633).
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    KeyError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
# A00.FR.506: SHA-256 or better; MD5 and SHA-1 prove nothing about possession any more.
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class CSRRejected(Exception):
    """The request is refused; `reason` is the word that audit and answers use."""

    def __init__(self, reason: RefusalReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCSR:
    """A public key whose owner signed the request, and what else the request claimed."""

    public_key: PublicKey
    public_key_sha256: str  # lower-case hex over the SubjectPublicKeyInfo
    common_name: str | None
    organization: str | None
    anomalies: tuple[Anomaly, ...]


def verify_csr(pem: str, *, policy: KeyPolicy, today: date) -> VerifiedCSR:
    """Raises CSRRejected. Checks, in this order:

    1. size, 2. exactly one PEM block, 3. DER of a PKCS#10 request, 4. the key's algorithm, then
    key policy, 5. signature hash and proof of possession, 6. a subject that can be read one way
    only.
    The caller still compares the subject with the registry.
    """
    request = parse_csr(pem)
    public_key = _checked_key(request, policy=policy, today=today)
    _prove_possession(request)
    subject, common_name, organization = _subject(request)
    spki = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return VerifiedCSR(
        public_key=public_key,
        public_key_sha256=hashlib.sha256(spki).hexdigest(),
        common_name=common_name,
        organization=organization,
        anomalies=tuple(_anomalies(request, subject))[:_MAX_ANOMALIES],
    )


def parse_csr(pem: str) -> x509.CertificateSigningRequest:
    """One PKCS#10 request in PEM, and nothing of it believed yet: cheap enough to ask while the
    station waits (T10). Raises CSRRejected.
    """
    if len(pem) > MAX_CSR_CHARACTERS:
        raise CSRRejected(RefusalReason.TOO_LARGE, f"over {MAX_CSR_CHARACTERS} characters")
    block = _PEM.fullmatch(pem)
    if block is None:
        raise CSRRejected(RefusalReason.MALFORMED, "not exactly one PEM certificate request")
    try:
        der = base64.b64decode(re.sub(r"[\r\n]", "", block["body"]), validate=True)
        return x509.load_der_x509_csr(der)
    except (binascii.Error, ValueError, x509.InvalidVersion) as error:
        raise CSRRejected(RefusalReason.MALFORMED, "not a PKCS#10 request") from error


def _checked_key(
    request: x509.CertificateSigningRequest, *, policy: KeyPolicy, today: date
) -> PublicKey:
    algorithm = request.public_key_algorithm_oid  # type: ignore[attr-defined] # not in its stub
    if algorithm not in _KEY_ALGORITHMS:
        raise CSRRejected(RefusalReason.WEAK_KEY, "neither an elliptic curve key nor RSA")
    try:
        return check_key(request.public_key(), policy=policy, today=today)
    except KeyWeak as error:
        raise CSRRejected(RefusalReason.WEAK_KEY, str(error)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # Unknown algorithms, explicit curve parameters, points off the curve or at infinity.
        raise CSRRejected(RefusalReason.WEAK_KEY, "the key cannot be used") from error


def _prove_possession(request: x509.CertificateSigningRequest) -> None:
    try:
        if not isinstance(request.signature_hash_algorithm, _HASHES):
            raise CSRRejected(RefusalReason.PROOF_OF_POSSESSION, "signed with a weak hash")
        valid = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CSRRejected(
            RefusalReason.PROOF_OF_POSSESSION, "signature algorithm unknown"
        ) from error
    if not valid:
        raise CSRRejected(RefusalReason.PROOF_OF_POSSESSION, "not signed by its own key")


def _subject(
    request: x509.CertificateSigningRequest,
) -> tuple[x509.Name, str | None, str | None]:
    try:
        subject = request.subject
        return (
            subject,
            single_attribute(subject, NameOID.COMMON_NAME),
            single_attribute(subject, NameOID.ORGANIZATION_NAME),
        )
    except NameInvalid as error:
        raise CSRRejected(RefusalReason.WRONG_SUBJECT, str(error)) from error
    except (ValueError, TypeError) as error:  # TypeError: a BIT STRING where text belongs
        raise CSRRejected(RefusalReason.MALFORMED, "the subject cannot be read") from error


def _anomalies(request: x509.CertificateSigningRequest, subject: x509.Name) -> list[Anomaly]:
    """What is ignored on purpose but worth a look: C02, and the odd RDN that real stations add."""
    found = [
        Anomaly("extra_rdn", _visible(f"{attribute.rfc4514_attribute_name}={attribute.value!s}"))
        for attribute in subject
        if attribute.oid not in {NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME}
    ]
    try:
        extensions = request.extensions
    except _UNREADABLE:
        return [*found, Anomaly("requested_extension", "unreadable")]
    return [*found, *(_requested(extension) for extension in extensions)]


def _requested(extension: x509.Extension[x509.ExtensionType]) -> Anomaly:
    value = extension.value
    if isinstance(value, x509.BasicConstraints) and value.ca:
        return Anomaly("requested_ca", "BasicConstraints CA:TRUE")
    if isinstance(value, x509.SubjectAlternativeName):
        return Anomaly("requested_san", f"{len(list(value))} names")
    return Anomaly("requested_extension", _visible(extension.oid.dotted_string))


def _visible(text: str) -> str:
    """Bounded, and without control characters: no log is forged, and PostgreSQL stores no NUL."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_DETAIL])
