"""Least privilege on the real server: every role against every path, exactly the granted ones work.

A row is allowed when the server's ACL lets it through, whatever the request itself comes to.
"""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from csms.adapters.vault import (
    Key,
    Role,
    VaultConnection,
    VaultError,
    VaultRefused,
    VaultRejected,
)
from tests.fixtures.vault import TestVault

G, A, W, F, P, C, V = (
    Role.GATEWAY,
    Role.API,
    Role.WORKER,
    Role.FILES,
    Role.PKI,
    Role.CEREMONY,
    Role.PROVISIONER,
)
EVERYBODY = set(Role)
NOBODY: set[Role] = set()
TEXT = {"input": "aGVsbG8="}
WIDE = {"policy": 'path "*" {\n capabilities = ["sudo", "read"]\n}'}

Row = tuple[str, str, Mapping[str, object], set[Role]]
ROWS: list[Row] = [
    # What everybody may: look after the own token.
    ("read", "auth/token/lookup-self", {}, EVERYBODY),
    ("write", "auth/token/renew-self", {}, EVERYBODY),
    # The pepper. It exists, so the provisioner's `create` no longer helps.
    ("read", "csms/data/pepper", {}, {G, A}),
    ("write", "csms/data/pepper", {"data": {"x": 1}}, NOBODY),
    ("write", "csms/data/pepper", {"data": {"x": 1}, "options": {"cas": 0}}, NOBODY),
    ("delete", "csms/data/pepper", {}, NOBODY),
    ("delete", "csms/metadata/pepper", {}, NOBODY),
    ("read", "csms/metadata/pepper", {}, {V}),
    ("write", "csms/destroy/pepper", {"versions": [1]}, NOBODY),
    ("write", "csms/undelete/pepper", {"versions": [1]}, NOBODY),
    ("list", "csms/metadata", {}, NOBODY),
    ("read", "csms/data/other", {}, NOBODY),
    ("write", "csms/data/other", {"data": {"x": 1}}, NOBODY),
    ("read", "csms/config", {}, NOBODY),
    ("write", "csms/config", {"max_versions": 1}, NOBODY),
    # Signatures: one key each, the pki two.
    ("write", "transit/sign/csms-root", TEXT, {C}),
    ("write", "transit/sign/csms-root/sha2-384", TEXT, {C}),
    ("write", "transit/sign/csms-issuer-stations", TEXT, {P}),
    ("write", "transit/sign/csms-issuer-stations/sha2-256", TEXT, {P}),
    ("write", "transit/sign/csms-issuer-servers", TEXT, {P}),
    ("write", "transit/sign/csms-issuer-servers/sha2-256", TEXT, {P}),
    ("write", "transit/sign/csms-issuer-servers/sha2-512", TEXT, NOBODY),
    ("write", "transit/sign/csms-root-rsa", TEXT, {C}),
    ("write", "transit/sign/csms-root-rsa/sha2-256", TEXT, {C}),
    ("write", "transit/sign/csms-issuer-servers-rsa", TEXT, {P}),
    ("write", "transit/sign/csms-issuer-servers-rsa/sha2-256", TEXT, {P}),
    ("write", "transit/sign/csms-issuer-servers-rsa/sha1", TEXT, NOBODY),
    ("write", "transit/decrypt/csms-issuer-servers-rsa", {"ciphertext": "vault:v1:eA=="}, NOBODY),
    ("write", "transit/sign/csms-audit", TEXT, {W}),
    ("write", "transit/sign/csms-tokens", TEXT, {A}),
    ("write", "transit/sign/csms-tokens/sha2-256", TEXT, {A}),
    ("write", "transit/sign/csms-tokens", {"batch_input": [TEXT]}, NOBODY),
    ("write", "transit/sign/csms-issuer-stations", {"batch_input": [TEXT]}, NOBODY),
    ("write", "transit/sign/other", TEXT, NOBODY),
    # Public parts.
    ("read", "transit/keys/csms-root", {}, {C, V}),
    ("read", "transit/keys/csms-issuer-stations", {}, {P, C, V}),
    ("read", "transit/keys/csms-issuer-servers", {}, {P, C, V}),
    ("read", "transit/keys/csms-root-rsa", {}, {C, V}),
    ("read", "transit/keys/csms-issuer-servers-rsa", {}, {P, C, V}),
    ("read", "transit/keys/csms-audit", {}, {W, V}),
    ("read", "transit/keys/csms-tokens", {}, {A, V}),
    ("list", "transit/keys", {}, NOBODY),
    # Everything else that Transit can do with a key.
    ("write", "transit/keys/csms-root", {"type": "ecdsa-p384"}, {V}),
    ("write", "transit/keys/csms-root", {"type": "ecdsa-p384", "exportable": True}, NOBODY),
    ("write", "transit/keys/csms-root", {"type": "ecdsa-p256"}, NOBODY),
    ("write", "transit/keys/csms-root-rsa", {"type": "rsa-3072"}, {V}),
    ("write", "transit/keys/csms-root-rsa", {"type": "rsa-2048"}, NOBODY),
    ("write", "transit/keys/other", {"type": "ecdsa-p256"}, NOBODY),
    ("write", "transit/keys/csms-root/config", {"deletion_allowed": True}, NOBODY),
    ("write", "transit/keys/csms-tokens/rotate", {}, NOBODY),
    ("write", "transit/keys/csms-tokens/trim", {"min_available_version": 1}, NOBODY),
    ("write", "transit/keys/csms-evil/import", {}, NOBODY),
    ("delete", "transit/keys/csms-tokens", {}, NOBODY),
    ("read", "transit/export/signing-key/csms-tokens", {}, NOBODY),
    ("read", "transit/backup/csms-tokens", {}, NOBODY),
    ("write", "transit/restore", {"backup": "x"}, NOBODY),
    ("write", "transit/verify/csms-tokens", TEXT, NOBODY),
    ("write", "transit/hmac/csms-tokens", TEXT, NOBODY),
    ("write", "transit/encrypt/new", {"plaintext": "aGVsbG8="}, NOBODY),
    ("write", "transit/datakey/plaintext/csms-tokens", {}, NOBODY),
    ("write", "transit/cache-config", {"size": 0}, NOBODY),
    # Policies, identities and the server itself.
    ("list", "sys/policies/acl", {}, {V}),
    ("read", "sys/policies/acl/csms-gateway", {}, {V}),
    ("read", "sys/policies/acl/csms-provisioner", {}, {V}),
    ("read", "sys/policies/acl/test-admin", {}, NOBODY),
    ("write", "sys/policies/acl/csms-provisioner", WIDE, NOBODY),
    ("write", "sys/policies/acl/csms-gateway", WIDE, NOBODY),
    ("write", "sys/policies/acl/evil", WIDE, NOBODY),
    ("write", "sys/policies/acl/csms-setup", WIDE, NOBODY),
    ("write", "sys/policy/csms-provisioner", WIDE, NOBODY),
    ("delete", "sys/policies/acl/csms-gateway", {}, NOBODY),
    ("delete", "sys/policies/acl/csms-setup", {}, {V}),
    ("list", "auth/approle/role", {}, {V}),
    ("read", "auth/approle/role/csms-pki", {}, {V}),
    ("write", "auth/approle/role/evil", {"token_policies": ["csms-pki"]}, NOBODY),
    ("write", "auth/approle/role/csms-setup", {"token_policies": ["csms-pki"]}, NOBODY),
    ("write", "auth/approle/role/csms-provisioner", {"token_policies": ["csms-pki"]}, NOBODY),
    ("write", "auth/approle/role/csms-files/policies", {"token_policies": ["x"]}, NOBODY),
    ("write", "auth/approle/role/csms-pki/secret-id", {}, NOBODY),
    ("write", "auth/approle/role/csms-provisioner/secret-id", {}, NOBODY),
    ("write", "auth/approle/role/csms-ceremony/secret-id", {}, NOBODY),
    ("write", "auth/approle/role/csms-pki/custom-secret-id", {"secret_id": "x"}, NOBODY),
    ("list", "auth/approle/role/csms-pki/secret-id", {}, NOBODY),
    ("read", "auth/approle/role/csms-pki/role-id", {}, NOBODY),
    ("delete", "auth/approle/role/csms-pki", {}, NOBODY),
    ("delete", "auth/approle/role/csms-setup", {}, {V}),
    ("write", "auth/token/create", {}, NOBODY),
    ("write", "auth/token/create-orphan", {}, NOBODY),
    ("write", "auth/token/lookup", {"token": "x"}, NOBODY),
    ("list", "auth/token/accessors", {}, NOBODY),
    ("read", "sys/auth", {}, {V}),
    ("write", "sys/auth/userpass", {"type": "userpass"}, NOBODY),
    ("read", "sys/mounts", {}, {V}),
    ("write", "sys/mounts/transit", {"type": "transit"}, {V}),
    ("write", "sys/mounts/transit", {"type": "pki"}, NOBODY),
    ("write", "sys/mounts/csms", {"type": "kv", "options": {"version": "2"}}, {V}),
    ("write", "sys/mounts/pki", {"type": "pki"}, NOBODY),
    ("write", "sys/mounts/transit/tune", {"description": "x"}, NOBODY),
    ("delete", "sys/mounts/transit", {}, NOBODY),
    ("write", "sys/remount", {"from": "csms", "to": "x"}, NOBODY),
    ("read", "sys/audit", {}, NOBODY),
    ("read", "sys/raw/core/keyring", {}, NOBODY),
    ("read", "sys/storage/raft/snapshot", {}, NOBODY),
    ("read", "sys/internal/counters/activity", {}, NOBODY),
    ("write", "sys/capabilities-self", {"paths": ["x"]}, NOBODY),
    ("write", "sys/seal", {}, NOBODY),
    ("write", "identity/entity", {"name": "evil", "policies": ["csms-pki"]}, NOBODY),
    ("write", "pki/sign-verbatim", {"csr": "x"}, NOBODY),
    ("write", "cubbyhole/x", {"x": 1}, NOBODY),
]


def let_through(connection: VaultConnection, row: Row) -> bool:
    verb, path, body, _ = row
    try:
        match verb:
            case "read":
                connection.read(path)
            case "list":
                connection.list_keys(path)
            case "write":
                connection.write(path, body)
            case "delete":
                connection.delete(path)
    except VaultRefused:
        return False
    except VaultRejected:
        return True
    return True


def test_the_table_is_long_enough_to_mean_something() -> None:
    refused_everywhere = [row for row in ROWS if row[3] == NOBODY]
    assert len(refused_everywhere) >= 40


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_exactly_what_its_policy_is_for(vault: TestVault, role: Role) -> None:
    with vault.connection(role) as connection:
        allowed = {(row[0], row[1], str(row[2])) for row in ROWS if let_through(connection, row)}
    assert allowed == {(row[0], row[1], str(row[2])) for row in ROWS if role in row[3]}


@pytest.mark.parametrize("role", list(Role))
def test_a_role_without_its_token_may_do_nothing(vault: TestVault, role: Role) -> None:
    with vault.connection(role) as connection:
        connection.log_out()
        assert not any(let_through(connection, row) for row in ROWS)


@pytest.mark.parametrize("key", list(Key))
def test_not_even_an_administrator_gets_a_key_out_or_deletes_it(vault: TestVault, key: Key) -> None:
    with vault.administrator() as admin:
        for path in (f"transit/export/signing-key/{key}", f"transit/backup/{key}"):
            with pytest.raises(VaultError, match=r"not exportable|exporting is disallowed"):
                admin.read(path)
        with pytest.raises(VaultError, match="deletion is not allowed"):
            admin.delete(f"transit/keys/{key}")


def test_a_ceremony_identity_opens_one_login(vault: TestVault) -> None:
    ceremony = vault.ceremony()
    first = VaultConnection.log_in_as(ceremony)
    try:
        assert first.write("transit/sign/csms-root/sha2-384", TEXT)["data"]["signature"]
        with pytest.raises(VaultRefused):
            VaultConnection.log_in_as(ceremony)
    finally:
        first.close()


def test_an_identity_is_refused_with_another_roles_secret(vault: TestVault) -> None:
    mixed = replace(
        vault.credentials(Role.PKI),
        secret_id_file=vault.credentials(Role.GATEWAY).secret_id_file,
    )
    with pytest.raises(VaultRefused, match="login"):
        VaultConnection.log_in_as(mixed)
