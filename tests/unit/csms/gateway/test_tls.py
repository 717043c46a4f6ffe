"""csms.gateway.tls: the policy file is refused when it is wrong; contexts are what it says."""

import ssl
from asyncio import sslproto
from pathlib import Path

import pytest

from csms.domain.station import SecurityProfile
from csms.gateway.tls import TLSPolicyInvalid, load_policy, server_context, shrink_read_buffers
from tests.fixtures.pki_small import SmallCA

POLICIES = Path(__file__).resolve().parents[4] / "policies" / "tls.toml"
GOOD = """
[modern]
minimum_version = "TLSv1.2"
maximum_version = "TLSv1.3"
cipher_suites = ["ECDHE-ECDSA-AES256-GCM-SHA384"]
"""


def test_the_shipped_policies_load() -> None:
    modern = load_policy(POLICIES, "modern")
    assert modern.minimum_version is ssl.TLSVersion.TLSv1_2
    assert all(suite.startswith("ECDHE-") for suite in modern.cipher_suites)
    certification = load_policy(POLICIES, "ocpp-certification")
    # A00.FR.318, 421
    assert {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
    } <= set(certification.cipher_suites)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("TLSv1.2", "TLSv1.1", "minimum_version"),
        ('"TLSv1.3"', '"SSLv3"', "maximum_version"),
        ("TLSv1.2", "TLSv1.3", None),
        ('"TLSv1.3"', '"TLSv1.2"', None),
        ("minimum_version", "minimum", "unknown or missing"),
        ("cipher_suites", "tickets = 1\ncipher_suites", "unknown or missing: tickets"),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "AES256-GCM-SHA384", "is not allowed"),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "NULL", "is not allowed"),
        ('["ECDHE-ECDSA-AES256-GCM-SHA384"]', "[]", "empty"),
        ('["ECDHE-ECDSA-AES256-GCM-SHA384"]', '"ALL"', "empty list or none"),
        ("[modern]", "[legacy]", "is no policy"),
        ("[modern]", "modern = 1\n[ocpp-certification]", "is no policy"),
        ("[modern]", "[modern", "tls.toml"),
    ],
)
def test_a_wrong_or_weaker_policy_stops_the_start(
    tmp_path: Path, old: str, new: str, says: str | None
) -> None:
    file = tmp_path / "tls.toml"
    file.write_text(GOOD.replace(old, new))
    if says is None:
        assert load_policy(file, "modern").name == "modern"
        return
    with pytest.raises(TLSPolicyInvalid, match=says):
        load_policy(file, "modern")


def test_minimum_above_maximum_and_unknown_names_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "tls.toml"
    swapped = GOOD.replace("TLSv1.3", "x").replace("TLSv1.2", "TLSv1.3").replace("x", "TLSv1.2")
    file.write_text(swapped)
    with pytest.raises(TLSPolicyInvalid, match="above"):
        load_policy(file, "modern")
    file.write_text(GOOD)
    with pytest.raises(TLSPolicyInvalid, match="no policy 'other'"):
        load_policy(file, "other")
    with pytest.raises(TLSPolicyInvalid):
        load_policy(tmp_path / "none.toml", "modern")


def test_contexts_ask_for_certificates_on_profile_3_only(tmp_path: Path) -> None:
    chain = SmallCA("Servers").server().write(tmp_path, "listener.pem")
    policy = load_policy(POLICIES, "modern")
    stations = SmallCA("Stations")
    two = server_context(
        profile=SecurityProfile.TLS_BASIC, policy=policy, chain_file=chain, key_file=chain
    )
    three = server_context(
        profile=SecurityProfile.TLS_CERTIFICATE,
        policy=policy,
        chain_file=chain,
        key_file=chain,
        station_issuers_pem=[stations.pem],
    )
    assert two.verify_mode is ssl.CERT_NONE
    assert three.verify_mode is ssl.CERT_REQUIRED
    assert three.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert [one["serialNumber"] for one in three.get_ca_certs()] == [
        f"{stations.certificate.serial_number:X}".rjust(40, "0")
        if len(f"{stations.certificate.serial_number:X}") % 2
        else f"{stations.certificate.serial_number:X}"
    ]
    for context in (two, three):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.num_tickets == 0
        assert context.options & ssl.OP_NO_TICKET
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION
        names = {cipher["name"] for cipher in context.get_ciphers()}
        assert names - {n for n in names if n.startswith("TLS_")} == set(policy.cipher_suites)


def test_profile_3_without_an_issuer_is_refused(tmp_path: Path) -> None:
    """An empty trust store must never come to mean the system's."""
    chain = SmallCA("Servers").server().write(tmp_path, "listener.pem")
    with pytest.raises(TLSPolicyInvalid, match="issuing CA"):
        server_context(
            profile=SecurityProfile.TLS_CERTIFICATE,
            policy=load_policy(POLICIES, "modern"),
            chain_file=chain,
            key_file=chain,
        )


def test_read_buffers_are_one_tls_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", 256 * 1024)
    shrink_read_buffers()
    assert sslproto.SSLProtocol.max_size == 16 * 1024
