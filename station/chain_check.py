"""What a station checks of a chain before it answers CertificateSigned with Accepted (A02.FR.06).

The chain comes as leaf first, then intermediates, usually without the root. `check_chain` returns
nothing: it raises `ChainRefused` with the reason that goes into the security event's techInfo.
Which private key belongs to the leaf is the key store's question.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

# Part 2, certificate hierarchies: at most two sub-CAs below the root; one more for luck.
_LONGEST_CHAIN: Final = 5


class ChainFault(StrEnum):
    MALFORMED = "malformed"
    TOO_LONG = "chain too long"
    UNKNOWN_KEY = "no pending CSR has this key"
    WRONG_SUBJECT = "CN is not this station's serial number"
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    NOT_A_CA = "issuer is no CA"
    BROKEN_CHAIN = "chain is not in issuing order"
    UNKNOWN_ROOT = "no CSMS root above the chain"
    REFUSED_BY_SWITCH = "refused by misbehaviour switch"


class ChainRefused(Exception):
    """The station does not take this chain."""

    def __init__(self, fault: ChainFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def parse_chain(pem: str) -> list[x509.Certificate]:
    """The certificates of one PEM text, or `ChainRefused`."""
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ChainRefused(ChainFault.MALFORMED) from error
    if len(chain) > _LONGEST_CHAIN:
        raise ChainRefused(ChainFault.TOO_LONG)
    return chain


def check_chain(
    chain: Sequence[x509.Certificate],
    *,
    roots: Sequence[x509.Certificate],
    serial_number: str,
    now: datetime,
) -> None:
    """Subject, dates, signatures, and a root of our own above it; or `ChainRefused`."""
    leaf = chain[0]
    if common_name(leaf) != serial_number:
        raise ChainRefused(ChainFault.WRONG_SUBJECT)
    for certificate in chain:
        _check_dates(certificate, now)
    for certificate, issuer in pairwise(chain):
        if not issued(certificate, issuer):
            raise ChainRefused(ChainFault.BROKEN_CHAIN)
    root = next((root for root in roots if root == chain[-1] or issued(chain[-1], root)), None)
    # Without the root in its own store the chain proves nothing to the station (field lessons 5).
    if root is None or root == leaf:
        raise ChainRefused(ChainFault.UNKNOWN_ROOT)
    _check_dates(root, now)
    for issuer in (*chain[1:], root):
        if not is_ca(issuer):
            raise ChainRefused(ChainFault.NOT_A_CA)


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Names match and the issuer's key made the signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_ca(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.value.ca


def common_name(certificate: x509.Certificate) -> str | None:
    """The one CN; several or none are none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else None


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise ChainRefused(ChainFault.NOT_YET_VALID)
    if now > certificate.not_valid_after_utc:
        raise ChainRefused(ChainFault.EXPIRED)
