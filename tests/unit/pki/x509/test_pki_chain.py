"""Chains of stations; every bad one is bad for one reason.

stations (the only trust anchor) → leaf
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.authority.hierarchy import IssuerName
from pki.x509.chain import ChainInvalid, VerifiedChain, verify_chain
from tests.fixtures.pki_memory import NOW, memory_ca, profiles

CA_KEY = ec.generate_private_key(ec.SECP256R1())
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())
SIGNS = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
CERTIFIES = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(
    subject: Any, issuer: Any, key: Any, signer: Any, extensions: Any, *, days: Any = (0, 90)
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(secrets.token_bytes(8)) + 1)
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def issuer(
    *, ca: Any = True, path: Any = 0, usage: Any = CERTIFIES, purpose: Any = CLIENT
) -> x509.Certificate:
    extensions = [(x509.BasicConstraints(ca, path), True), (usage, True)]
    if purpose is not None:
        extensions.append((purpose, False))
    return certificate("stations", "root", CA_KEY, CA_KEY, extensions, days=(-1, 900))


def leaf(
    *,
    ca: Any = False,
    usage: Any = SIGNS,
    purpose: Any = None,
    key: Any = LEAF_KEY,
    signer: Any = CA_KEY,
    parent: Any = "stations",
    days: Any = (0, 90),
    extra: Any = None,
) -> x509.Certificate:
    extensions = [(x509.BasicConstraints(ca, None), True)]
    if usage is not None:
        extensions.append((usage, True))
    if purpose is not None:
        extensions.append((purpose, False))
    if extra is not None:
        extensions.append((extra, True))
    return certificate("CS001", parent, key, signer, extensions, days=days)


def check(station: x509.Certificate, *issuers: x509.Certificate) -> VerifiedChain:
    return verify_chain(
        station, issuers=issuers, key_policy=profiles().key_policy, now=NOW + timedelta(days=1)
    )


@pytest.mark.parametrize("purpose", [None, CLIENT, x509.ExtendedKeyUsage([*CLIENT, *SERVER])])
def test_a_station_leaf_under_its_issuing_ca_is_valid(purpose: Any) -> None:
    """T3: EKU absent, clientAuth, or both (a combined certificate, A00.FR.428)."""
    trusted, station = issuer(), leaf(purpose=purpose)
    chain = check(station, trusted)
    assert (chain.leaf, chain.issuer) == (station, trusted)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: leaf(ca=True), id="leaf is a CA (M2)"),
        pytest.param(lambda: leaf(usage=None), id="no keyUsage"),
        pytest.param(lambda: leaf(usage=CERTIFIES), id="keyUsage keyCertSign"),
        pytest.param(lambda: leaf(purpose=SERVER), id="serverAuth only (M5)"),
        pytest.param(lambda: leaf(days=(-90, 0)), id="expired"),
        pytest.param(lambda: leaf(days=(2, 90)), id="not yet valid"),
        pytest.param(lambda: leaf(signer=LEAF_KEY), id="signed by another key (M4)"),
        pytest.param(lambda: leaf(parent="servers"), id="issued under another name"),
        pytest.param(
            lambda: leaf(key=ec.generate_private_key(ec.SECP256K1())), id="curve secp256k1"
        ),
        pytest.param(lambda: leaf(key=rsa.generate_private_key(65537, 2048)), id="RSA-2048"),
        pytest.param(
            lambda: leaf(
                extra=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
            ),
            id="unknown critical extension",
        ),
    ],
)
def test_a_leaf_that_is_bad_for_one_reason_is_refused(bad: Any) -> None:
    with pytest.raises(ChainInvalid):
        check(bad(), issuer())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: issuer(path=None), id="no path length (M2)"),
        pytest.param(lambda: issuer(path=1), id="path length 1"),
        pytest.param(lambda: issuer(ca=False, path=None), id="no CA"),
        pytest.param(lambda: issuer(usage=SIGNS), id="keyUsage lacks keyCertSign"),
        pytest.param(lambda: issuer(purpose=None), id="no EKU (decision 3)"),
        pytest.param(lambda: issuer(purpose=SERVER), id="EKU serverAuth"),
    ],
)
def test_an_issuer_that_is_bad_for_one_reason_is_refused(bad: Any) -> None:
    with pytest.raises(ChainInvalid):
        check(leaf(), bad())


def test_without_a_trusted_issuer_nothing_is_valid() -> None:
    with pytest.raises(ChainInvalid, match="no issuer"):
        check(leaf())


def test_a_leaf_is_not_its_own_trust_anchor() -> None:
    station = leaf()
    with pytest.raises(ChainInvalid):
        check(station, station)


def test_the_other_issuing_cas_of_the_hierarchy_are_not_the_stations() -> None:
    issuers = memory_ca().hierarchy.issuers
    for other in (IssuerName.SERVERS, IssuerName.CALLERS):
        with pytest.raises(ChainInvalid):
            check(leaf(), issuers[other].certificate)
