"""The ceremony's file and the stored hierarchy, each with its refusal twins."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from pki.authority.hierarchy import (
    HierarchyInvalid,
    IssuerName,
    has_rsa,
    hold_ceremony,
    hold_rsa_ceremony,
    load_ceremony,
    read_hierarchy,
)
from pki.authority.issuance import (
    IssuanceBroken,
    PreparedCertificate,
    issue,
    rehearse,
    throwaway_key,
)
from pki.authority.records import StoredAuthority
from pki.signing.memory import MemorySigner
from pki.signing.remote_key import remote_key
from pki.x509 import template
from pki.x509.lint import Linter
from pki.x509.names import subject_name
from tests.fixtures.pki_memory import LOCATIONS, NOW, ORGANIZATION, ROOT, memory_ca

FILE = (ROOT / "certs" / "ceremony.toml").read_text()


def made(**changes: MemorySigner) -> list[StoredAuthority]:
    servers = MemorySigner("m/servers:v1")
    signers = {
        "root": MemorySigner("m/root:v1", curve=ec.SECP384R1()),
        "stations": MemorySigner("m/stations:v1"),
        "servers": servers,
        "callers": servers,
        **changes,
    }
    root = signers.pop("root")
    return hold_ceremony(
        load_ceremony(FILE.encode()),
        organization=ORGANIZATION,
        root_signer=root,
        issuer_signers={IssuerName(name): signer for name, signer in signers.items()},
        locations=LOCATIONS,
        random_bytes=secrets.token_bytes,
        now=NOW,
    )


def test_a_ceremony_makes_four_certificates_that_read_back() -> None:
    stored = made()
    assert [authority.name for authority in stored] == ["root", "stations", "servers", "callers"]
    hierarchy = read_hierarchy(stored)
    assert hierarchy.issuers[IssuerName.STATIONS].key_id == "m/stations:v1"
    assert hierarchy.root.not_valid_after_utc - NOW > timedelta(days=7299)


def test_the_newest_issuer_signs_and_all_stay_trusted() -> None:
    """A rollover: the old one's leaves live on."""
    root = MemorySigner("m/root:v1", curve=ec.SECP384R1())
    first = made(root=root)
    second = template.issuing_authority(
        subject=subject_name(organization=ORGANIZATION, common_name="Stations 2"),
        issuer=read_hierarchy(first).root,
        issuer_name="root",
        public_key=MemorySigner("m/stations2:v1").public_key,
        serial=template.serial_from(secrets.token_bytes(20)),
        not_before=NOW,
        validity_period=timedelta(days=100),
        extended_key_usage=template.CA_PURPOSES["clientAuth"],
        locations=LOCATIONS,
    )
    prepared = rehearse(
        second, root.public_key, ec.generate_private_key(ec.SECP384R1()), linter=Linter()
    )
    der = issue(prepared, root).public_bytes(serialization.Encoding.DER)
    newer = StoredAuthority(name="stations", der=der, key_id="m/stations2:v1", created_at=NOW)
    hierarchy = read_hierarchy([*first, newer])
    assert hierarchy.issuers[IssuerName.STATIONS].key_id == "m/stations2:v1"
    assert len(hierarchy.anchors.station_issuers_pem) == 2


@pytest.mark.parametrize("missing", ["root", "stations", "servers", "callers"])
def test_a_hierarchy_with_a_part_missing_is_none(missing: str) -> None:
    with pytest.raises(HierarchyInvalid, match=missing):
        read_hierarchy([authority for authority in made() if authority.name != missing])


def test_an_issuer_under_another_root_is_refused() -> None:
    one, other = made(), made()
    with pytest.raises(HierarchyInvalid, match="not issued by the root"):
        read_hierarchy([one[0], other[1], *one[2:]])


def test_a_key_of_another_curve_than_the_file_says_is_refused() -> None:
    with pytest.raises(HierarchyInvalid, match="P-384"):
        made(root=MemorySigner("m/root:v1"))
    with pytest.raises(HierarchyInvalid, match="P-256"):
        made(stations=MemorySigner("m/stations:v1", curve=ec.SECP384R1()))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[root]", "[root]\npath_length = 3", "unknown field"),
        ("validity_days = 7300", "validity_days = 364", "365"),
        ("validity_days = 1825", "validity_days = 3651", "3650"),
        ('algorithm = "P-384"', 'algorithm = "P-521"', "P-256 or P-384"),
        ('key = "csms-issuer-stations"', 'key = "csms-issuer-servers"', "decision 3"),
        ('key = "csms-issuer-servers"', 'key = "csms-root"', "A00.FR.603"),
        ('"CSMS Server Issuing CA"', '"CSMS Station Issuing CA"', "name of its own"),
        ('"CSMS Root CA"', '""', "X.520"),
        ('algorithm = "RSA-3072"', 'algorithm = "P-384"', "root-rsa.algorithm = P-384: RSA-3072"),
        ('algorithm = "P-384"', 'algorithm = "RSA-3072"', "P-256 or P-384"),
        ('key = "csms-issuer-servers-rsa"', 'key = "csms-root-rsa"', "root_rsa.key"),
    ],
)
def test_a_ceremony_that_would_mix_purposes_is_refused(old: str, new: str, says: str) -> None:
    assert old in FILE
    with pytest.raises(HierarchyInvalid, match=says):
        load_ceremony(FILE.replace(old, new, 1).encode())


def test_an_issuing_ca_with_an_rsa_key_is_none_we_can_sign_with() -> None:
    """Invalid solely because its key is RSA: name, time and the root's signature are in order."""
    root = MemorySigner("m/root:v1", curve=ec.SECP384R1())
    stored = made(root=root)
    ours = x509.load_der_x509_certificate(stored[1].der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(ours.subject)
        .issuer_name(ours.issuer)
        .public_key(rsa.generate_private_key(65537, 2048).public_key())
        .serial_number(1)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
    )
    other = builder.sign(remote_key(root), hashes.SHA384())
    stored[1] = replace(stored[1], der=other.public_bytes(serialization.Encoding.DER))
    with pytest.raises(HierarchyInvalid, match="no elliptic curve key"):
        read_hierarchy(stored)


RSA_ROOT = MemorySigner("m/root-rsa:v1", rsa_bits=3072)
RSA_SERVERS = MemorySigner("m/servers-rsa:v1", rsa_bits=3072)


def made_rsa(
    root: MemorySigner = RSA_ROOT, servers: MemorySigner = RSA_SERVERS
) -> list[StoredAuthority]:
    return hold_rsa_ceremony(
        load_ceremony(FILE.encode()),
        organization=ORGANIZATION,
        root_signer=root,
        servers_signer=servers,
        locations=LOCATIONS,
        random_bytes=secrets.token_bytes,
        now=NOW,
    )


def test_an_rsa_root_and_its_servers_ca_stand_beside_the_others_when_asked_for() -> None:
    """A00.FR.318, 421: a chain that a station verifies which knows no elliptic curve."""
    stored = made() + made_rsa()
    assert has_rsa(stored)
    assert IssuerName.SERVERS_RSA not in read_hierarchy(stored).issuers
    assert not read_hierarchy(stored).anchors.rsa_root_pem
    hierarchy = read_hierarchy(stored, with_rsa=True)
    root, servers = [
        x509.load_pem_x509_certificate(pem.encode())
        for pem in (hierarchy.anchors.rsa_root_pem, hierarchy.anchors.server_issuers_pem[1])
    ]
    assert (
        hierarchy.anchors.roots_pem == hierarchy.anchors.root_pem + hierarchy.anchors.rsa_root_pem
    )
    servers.verify_directly_issued_by(root)
    for certificate in (root, servers):
        assert isinstance(certificate.public_key(), rsa.RSAPublicKey)
        assert certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSA_WITH_SHA256
    points = servers.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None
    assert points[0].full_name[0].value.endswith("/pki/crl/root-rsa.crl")


def test_where_the_rsa_part_is_missing_it_is_said_what_to_do() -> None:
    assert not has_rsa(made())
    with pytest.raises(HierarchyInvalid, match="csms vault apply --ceremony"):
        read_hierarchy(made(), with_rsa=True)
    with pytest.raises(HierarchyInvalid, match="no RSA hierarchy"):
        read_hierarchy(made() + made_rsa()[:1], with_rsa=True)


def test_keys_of_the_rsa_part_are_rsa_of_the_length_in_the_file() -> None:
    with pytest.raises(HierarchyInvalid, match="is not RSA-3072"):
        made_rsa(servers=MemorySigner("m/servers:v1"))
    with pytest.raises(HierarchyInvalid, match="is not RSA-3072"):
        made_rsa(root=MemorySigner("m/root:v1", rsa_bits=2048))
    with pytest.raises(HierarchyInvalid, match="is not P-256"):
        made(stations=RSA_SERVERS)


def test_an_rsa_issuing_ca_with_a_curve_is_refused() -> None:
    """Invalid solely because its key is no RSA key: the RSA root did sign it."""
    stored = made_rsa()
    ours = x509.load_der_x509_certificate(stored[1].der)
    builder = (
        x509.CertificateBuilder()
        .subject_name(ours.subject)
        .issuer_name(ours.issuer)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(1)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
    )
    other = builder.sign(remote_key(RSA_ROOT), hashes.SHA256())
    stored[1] = replace(stored[1], der=other.public_bytes(serialization.Encoding.DER))
    with pytest.raises(HierarchyInvalid, match="no RSA key"):
        read_hierarchy(made() + stored, with_rsa=True)


def test_an_rsa_signature_by_another_key_is_not_accepted() -> None:
    key = RSA_ROOT.public_key
    builder = template.root(
        subject=subject_name(organization=ORGANIZATION, common_name="R"),
        public_key=key,
        serial=template.serial_from(secrets.token_bytes(20)),
        not_before=NOW,
        validity_period=timedelta(days=400),
    )
    prepared = rehearse(builder, key, throwaway_key(key), linter=Linter())
    with pytest.raises(IssuanceBroken, match="not by the issuer's key"):
        issue(prepared, RSA_SERVERS)


def _prepared() -> tuple[PreparedCertificate, MemorySigner]:
    signer = MemorySigner("m/root:v1", curve=ec.SECP384R1())
    builder = template.root(
        subject=subject_name(organization=ORGANIZATION, common_name="R"),
        public_key=signer.public_key,
        serial=template.serial_from(secrets.token_bytes(20)),
        not_before=NOW,
        validity_period=timedelta(days=400),
    )
    throwaway = ec.generate_private_key(ec.SECP384R1())
    return rehearse(builder, signer.public_key, throwaway, linter=Linter()), signer


def test_a_prepared_certificate_is_signed_once() -> None:
    prepared, signer = _prepared()
    assert issue(prepared, signer).tbs_certificate_bytes == prepared.tbs
    with pytest.raises(IssuanceBroken, match="once"):
        issue(prepared, signer)


def test_what_was_not_linted_is_not_accepted() -> None:
    """C10: the signed bytes differ from the linted ones."""
    prepared, signer = _prepared()
    prepared.tbs = prepared.tbs[:-1] + b"\x00"
    with pytest.raises(IssuanceBroken, match="not the linted one"):
        issue(prepared, signer)


def test_a_signature_over_another_hash_is_not_accepted() -> None:
    """The throw-away key and the signer must be of one algorithm."""
    prepared, _signer = _prepared()
    with pytest.raises(IssuanceBroken):
        issue(prepared, MemorySigner("m/other:v1"))


def test_issuers_keep_their_throw_away_keys_out_of_repr() -> None:
    issuer = memory_ca().hierarchy.issuers[IssuerName.STATIONS]
    assert "throwaway" not in repr(replace(issuer))


def test_a_ceremony_file_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(HierarchyInvalid):
        load_ceremony(b'name = "\xff"')
