"""Certificate chains of stations: path, profile and purpose, before anybody asks who it is.

`verify_chain` holds A00.FR.403 (RFC 5280 §6) and what TLS libraries leave open (M2, M5): the leaf
is no CA, has keyUsage digitalSignature, an extended key usage that is absent or has clientAuth,
and a key we would have certified; the issuer is one of the station issuing CAs themselves, never
the root above them (decision 3). Revocation, registration and serial numbers are the database's
question (decision 2), and the caller must ask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from pki.x509.keys import KeyPolicy, KeyWeak, check_key

_LEAF_AND_ISSUER: Final = 2


class ChainInvalid(Exception):
    """The chain proves nothing; the message names the first rule that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedChain:
    """A leaf that chains to one of the given issuers at the given time."""

    leaf: x509.Certificate
    issuer: x509.Certificate


def verify_chain(
    leaf: x509.Certificate,
    *,
    issuers: Sequence[x509.Certificate],
    key_policy: KeyPolicy,
    now: datetime,
) -> VerifiedChain:
    """Raises ChainInvalid. `issuers` are trust anchors: the issuing CAs of one purpose (M4).

    1. key of the leaf, 2. path, time, and extensions, 3. the issuer is one of ours itself.
    """
    try:
        check_key(leaf.public_key(), policy=key_policy, today=now.date())
    except (KeyWeak, ValueError) as error:
        raise ChainInvalid(f"key: {error}") from error
    if not issuers:
        raise ChainInvalid("no issuer is trusted")
    verifier = (
        PolicyBuilder()
        .store(Store(list(issuers)))
        .time(now)
        .max_chain_depth(0)
        .extension_policies(ca_policy=_issuing_authority_policy(), ee_policy=_station_leaf_policy())
        .build_client_verifier()
    )
    try:
        chain = verifier.verify(leaf, []).chain
    except VerificationError as error:
        raise ChainInvalid(str(error)) from error
    if len(chain) != _LEAF_AND_ISSUER:
        # The library is content with a leaf that is itself in the trust store.
        raise ChainInvalid("the leaf is not issued by one of the issuers")
    return VerifiedChain(leaf=leaf, issuer=chain[-1])


def _station_leaf_policy() -> ExtensionPolicy:
    """No SAN is asked for: A00.FR.511 wants the serial number in CN and no dNSName."""
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_no_authority)
        .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_clients)
        .require_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, None)
    )


def _issuing_authority_policy() -> ExtensionPolicy:
    return (
        ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, Criticality.CRITICAL, _is_last_authority)
        .require_present(x509.KeyUsage, Criticality.CRITICAL, _signs_certificates)
        .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _is_for_clients)
    )


def _is_no_authority(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.BasicConstraints
) -> None:
    if extension.ca:
        raise ValueError("the leaf is a CA (M2)")


def _is_last_authority(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.BasicConstraints
) -> None:
    if not extension.ca or extension.path_length != 0:
        raise ValueError("the issuer is no CA of path length 0 (M2)")


def _signs(_policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage) -> None:
    if not extension.digital_signature or extension.key_cert_sign:
        raise ValueError("keyUsage is not digitalSignature")


def _signs_certificates(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.KeyUsage
) -> None:
    if not extension.key_cert_sign:
        raise ValueError("the issuer's keyUsage lacks keyCertSign")


def _is_for_clients(
    _policy: Policy, _certificate: x509.Certificate, extension: x509.ExtendedKeyUsage | None
) -> None:
    # T3: absent or clientAuth; serverAuth alone is somebody else's certificate (M5).
    if extension is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in extension:
        raise ValueError("extendedKeyUsage lacks clientAuth (T3)")
