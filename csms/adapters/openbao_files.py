"""What the bundled OpenBao reads at its start: configuration, listener certificate, ports.

The listener speaks TLS on loopback rather than a Unix socket: roles in other processes reach it
with the same settings as an external Vault, and a socket's path may have only 107 bytes.
"""

import json
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from string import Template
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from csms.adapters.vault.identities import write_private

LOOPBACK: Final = "127.0.0.1"


class PortTaken(Exception):
    """Somebody listens on the configured port."""


# Trust in the listener is the file ca.pem beside it, readable by whoever may read the seal key:
# an expiry would protect nothing and would one day stop the product.
CERTIFICATE_PERIOD: Final = timedelta(days=3650)

# performance_multiplier 1 makes the only node elect itself in one second instead of five. Vault
# would want disable_mlock beside raft; OpenBao does not know the word. Five failed logins would
# lock a role out for fifteen minutes (plan.LOGIN_TUNING says why not).
_CONFIG: Final = Template("""\
api_addr = "https://$host:$port"
cluster_addr = "https://$host:$cluster_port"
storage "raft" {
  path = "$directory/raft"
  node_id = "csms"
  performance_multiplier = "1"
}
seal "static" {
  current_key_id = "1"
  current_key = "file://$directory/seal.key"
}
listener "tcp" {
  address = "$host:$port"
  cluster_address = "$host:$cluster_port"
  tls_cert_file = "$directory/tls.crt"
  tls_key_file = "$directory/tls.key"
  tls_min_version = "tls13"
  disable_unauthed_rekey_endpoints = true
}
user_lockout "approle" {
  disable_lockout = true
}
audit "file" "main" {
  description = "every request and answer"
  options {
    file_path = "$directory/audit.log"
    mode = "0600"
  }
}
""")

_INITIALIZE: Final = Template("""\
initialize "setup" {
  request "approle" {
    operation = "update"
    path = "sys/auth/approle"
    data = {
      type = "approle"
    }
  }
  request "policy" {
    operation = "update"
    path = "sys/policies/acl/$name"
    data = {
      policy = {
        eval_type = "string"
        eval_source = "file"
        path = "$policy"
      }
    }
  }
  request "role" {
    operation = "update"
    path = "auth/approle/role/$name"
    data = {
      token_policies = ["$name"]
      token_ttl = "10m"
      token_max_ttl = "10m"
      token_bound_cidrs = ["$host/32"]
    }
  }
  request "role-id" {
    operation = "update"
    path = "auth/approle/role/$name/role-id"
    data = {
      role_id = {
        eval_type = "string"
        eval_source = "file"
        path = "$directory/setup/role-id"
      }
    }
  }
  request "secret-id" {
    operation = "update"
    path = "auth/approle/role/$name/custom-secret-id"
    data = {
      secret_id = {
        eval_type = "string"
        eval_source = "file"
        path = "$directory/setup/secret-id"
      }
    }
  }
}
""")


def config(directory: Path, *, port: int, cluster_port: int) -> str:
    """OpenBao's configuration; `directory` must hold nothing that HCL would read as its own."""
    return _CONFIG.substitute(
        directory=directory, host=LOOPBACK, port=port, cluster_port=cluster_port
    )


def initialize(directory: Path, *, name: str, policy: Path) -> str:
    """The one-time self-initialisation: AppRole login and the set-up identity, nothing else.

    The secrets come from files, so that neither this text nor a command line holds them.
    """
    return _INITIALIZE.substitute(directory=directory, name=name, policy=policy, host=LOOPBACK)


def choose_ports(memory: Path, *, configured: int | None) -> tuple[int, int]:
    """The API's port and raft's own, which it insists on: as last time, if they are still free."""
    last = json.loads(memory.read_bytes()) if memory.exists() else {}
    api = _free_port(configured or last.get("api", 0))
    if configured and api != configured:  # OpenBao would take five seconds to say so
        raise PortTaken(f"port {configured} is taken by another program")
    cluster = _free_port(last.get("cluster", 0))
    write_private(memory, json.dumps({"api": api, "cluster": cluster}).encode())
    return api, cluster


def last_port(memory: Path) -> int:
    """The API's port of the last start. Raises FileNotFoundError before the first."""
    return int(json.loads(memory.read_bytes())["api"])


def make_listener_certificate(directory: Path) -> None:
    """ca.pem, tls.crt and tls.key, by an authority whose key is thrown away at once."""
    authority = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("CSMS bundled OpenBao")
    root = (
        _builder(issuer, issuer, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    leaf = (
        _builder(_name(LOOPBACK), issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(LOOPBACK))]), critical=False
        )
        .add_extension(identifier, critical=False)
        .sign(authority, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(directory / "tls.key", private)
    write_private(directory / "tls.crt", leaf.public_bytes(serialization.Encoding.PEM))
    # Last: its presence says that all three belong together.
    write_private(directory / "ca.pem", root.public_bytes(serialization.Encoding.PEM))
    (directory / "ca.pem").chmod(0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + CERTIFICATE_PERIOD)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _free_port(wanted: int) -> int:
    """The wanted port if nobody listens there, else one that the kernel picks."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Go's listener does
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            return _free_port(0) if wanted else 0
        return int(probe.getsockname()[1])
