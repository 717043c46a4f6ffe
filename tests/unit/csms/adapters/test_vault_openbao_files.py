"""What the bundled OpenBao is started with."""

import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from csms.adapters.openbao_files import (
    PortTaken,
    choose_ports,
    config,
    initialize,
    make_listener_certificate,
)


def test_the_listener_is_on_loopback_with_tls_and_the_audit_file_is_private() -> None:
    text = config(Path("/data"), port=1, cluster_port=2)
    assert 'address = "127.0.0.1:1"' in text
    assert 'tls_min_version = "tls13"' in text
    assert "tls_disable" not in text
    assert 'mode = "0600"' in text
    assert "initialize" not in text


def test_self_initialisation_makes_the_setup_identity_only_and_quotes_no_secret() -> None:
    text = initialize(Path("/data"), name="csms-setup", policy=Path("/p/csms-setup.hcl"))
    paths = [line.split('"')[1] for line in text.splitlines() if line.startswith("    path")]
    assert paths == [
        "sys/auth/approle",
        "sys/policies/acl/csms-setup",
        "auth/approle/role/csms-setup",
        "auth/approle/role/csms-setup/role-id",
        "auth/approle/role/csms-setup/custom-secret-id",
    ]
    assert 'path = "/data/setup/secret-id"' in text


def test_the_ports_are_remembered_while_they_are_free(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    first = choose_ports(memory, configured=None)
    assert choose_ports(memory, configured=None) == first
    assert first[0] != first[1]
    with socket.create_server(("127.0.0.1", first[0])):
        other = choose_ports(memory, configured=None)
    assert other[0] != first[0]
    assert other[1] == first[1]


def test_a_configured_port_is_used_or_refused_but_never_replaced(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            choose_ports(tmp_path / "ports.json", configured=port)
    assert choose_ports(tmp_path / "ports.json", configured=port)[0] == port


def test_the_listener_certificate_chains_to_an_authority_whose_key_is_nowhere(
    tmp_path: Path,
) -> None:
    make_listener_certificate(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "tls.crt", "tls.key"}
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    leaf = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    leaf.verify_directly_issued_by(authority)
    key = serialization.load_pem_private_key((tmp_path / "tls.key").read_bytes(), None)
    assert key.public_key() == leaf.public_key() != authority.public_key()
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600
