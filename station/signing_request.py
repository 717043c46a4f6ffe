"""The PKCS#10 request a station sends with SignCertificate (A02.FR.02-03, RFC 2986).

CN is the serial number, O and C come from the device model when set, and an EVerest station adds
`DC=CPO`. The requested extensions are there only to misbehave with: a CA that copies them has lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

StationKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedSubject:
    common_name: str
    organization: str | None = None
    country: str | None = None
    domain_component: str | None = None
    san: str | None = None
    ca: bool = False


def new_key() -> StationKey:
    """P-256: the practical reading of A00.FR.503."""
    return ec.generate_private_key(ec.SECP256R1())


def signing_request(key: StationKey, subject: RequestedSubject) -> str:
    """The request as PEM text."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(subject))
    if subject.san is not None:
        san = x509.SubjectAlternativeName([x509.DNSName(subject.san)])
        builder = builder.add_extension(san, critical=False)
    if subject.ca:
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _name(subject: RequestedSubject) -> x509.Name:
    parts = [
        (NameOID.COUNTRY_NAME, subject.country),
        (NameOID.ORGANIZATION_NAME, subject.organization),
        (NameOID.COMMON_NAME, subject.common_name),
        (NameOID.DOMAIN_COMPONENT, subject.domain_component),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])
