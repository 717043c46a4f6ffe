"""`apply` and `verify` on a server that tests may spoil: each puts back what it changed."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csms.adapters.vault import (
    Item,
    Key,
    Networks,
    Outcome,
    PolicyTooWide,
    Problem,
    Role,
    VaultConnection,
    VaultRefused,
    VaultRejected,
    apply,
    verify,
)
from csms.adapters.vault.plan import planned_keys
from tests.fixtures.vault import POLICIES, TestVault, start_openbao

ON_LOOPBACK = Networks(("127.0.0.1/32",))
OURS = {f"policy {role}" for role in Role} | {f"role {role}" for role in Role}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestVault]:
    with start_openbao(tmp_path_factory.mktemp("spoilt")) as running:
        yield running


@pytest.fixture
def admin(spoilt: TestVault) -> Iterator[VaultConnection]:
    """An administrator; everything is as planned before and after."""
    with spoilt.administrator() as connection:
        yield connection
        applied(connection, spoilt.server.secrets_dir)
        assert verify(connection, policies_dir=POLICIES, networks=ON_LOOPBACK) == []


@pytest.fixture
def provisioner(spoilt: TestVault) -> Iterator[VaultConnection]:
    with spoilt.connection(Role.PROVISIONER) as connection:
        yield connection


def applied(connection: VaultConnection, secrets_dir: Path | None = None) -> tuple[Item, ...]:
    """What `apply` did not find unchanged."""
    report = apply(connection, policies_dir=POLICIES, secrets_dir=secrets_dir, networks=ON_LOOPBACK)
    return tuple(item for item in report.items if item.outcome is not Outcome.UNCHANGED)


def found(connection: VaultConnection) -> list[tuple[str, Problem]]:
    findings = verify(connection, policies_dir=POLICIES, networks=ON_LOOPBACK)
    return [(finding.what, finding.problem) for finding in findings]


def destroy(admin: VaultConnection, key: Key) -> None:
    admin.write(f"transit/keys/{key}/config", {"deletion_allowed": True})
    admin.delete(f"transit/keys/{key}")


def test_applying_twice_changes_nothing(spoilt: TestVault, admin: VaultConnection) -> None:
    assert applied(admin, spoilt.server.secrets_dir) == ()


def test_an_emptied_server_is_provisioned_with_files_for_every_running_role(
    admin: VaultConnection, tmp_path: Path
) -> None:
    for role in set(Role):
        admin.delete(f"auth/approle/role/{role}")
        admin.delete(f"sys/policies/acl/{role}")
    admin.delete("sys/mounts/transit")
    admin.delete("sys/mounts/csms")

    items = applied(admin, tmp_path / "secrets")

    assert {item.outcome for item in items} == {Outcome.CREATED}
    secrets = {f"secret id {role}" for role in set(Role) - {Role.CEREMONY}}
    keys = {f"key {key}" for key in planned_keys(certification=False)}
    assert {item.what for item in items} == (
        OURS | keys | secrets | {"mount transit", "mount csms", "pepper"}
    )
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_provisioner_makes_mounts_keys_and_the_first_pepper(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    admin.delete("sys/mounts/transit")
    admin.delete("sys/mounts/csms")
    items = applied(provisioner)
    assert {item.outcome for item in items} == {Outcome.CREATED}
    assert {item.what for item in items} == (
        {f"key {key}" for key in planned_keys(certification=False)}
        | {"mount transit", "mount csms", "pepper"}
    )
    answer = admin.read("csms/data/pepper")
    assert answer is not None
    pepper = answer["data"]["data"]
    assert pepper["current"] == 1
    assert len(base64.b64decode(pepper["versions"]["1"])) == 32


def test_a_provisioner_reports_drift_and_leaves_it_to_an_administrator(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    admin.write("auth/approle/role/csms-pki", {"token_max_ttl": "24h"})
    admin.delete("auth/approle/role/csms-files")
    admin.delete("sys/policies/acl/csms-files")
    admin.write("transit/keys/csms-audit/config", {"deletion_allowed": True})

    drifted = {
        ("policy csms-files", "needs an administrator"),
        ("key csms-audit", "deletion_allowed is set"),
        ("role csms-files", "needs an administrator"),
        ("role csms-pki", "token_max_ttl"),
    }
    items = applied(provisioner)
    assert {(item.what, item.why) for item in items} == drifted
    assert {item.outcome for item in items} == {Outcome.DRIFTED}

    repaired = {item.what: item.outcome for item in applied(admin)}
    assert repaired == {
        "policy csms-files": Outcome.CREATED,
        "role csms-files": Outcome.CREATED,
        "key csms-audit": Outcome.CHANGED,
        "role csms-pki": Outcome.CHANGED,
    }


def test_a_provisioner_cannot_write_secret_ids(
    provisioner: VaultConnection, tmp_path: Path
) -> None:
    with pytest.raises(VaultRefused):
        applied(provisioner, tmp_path / "secrets")
    assert list((tmp_path / "secrets").iterdir()) == []


def test_a_destroyed_secret_id_is_made_anew_and_only_that_one(
    spoilt: TestVault, admin: VaultConnection
) -> None:
    applied(admin, spoilt.server.secrets_dir)
    file = spoilt.server.secrets_dir / "csms-worker.secret-id"
    admin.write("auth/approle/role/csms-worker/secret-id/destroy", {"secret_id": file.read_text()})
    with pytest.raises(VaultRefused), spoilt.connection(Role.WORKER):
        pass
    items = applied(admin, spoilt.server.secrets_dir)
    assert [(item.what, item.outcome) for item in items] == [
        ("secret id csms-worker", Outcome.CHANGED)
    ]
    with spoilt.connection(Role.WORKER):
        pass


WIDER = [
    'path "transit/sign/csms-root" {\n  capabilities = ["update"]\n}',
    'path "transit/sign/*" {\n  capabilities = ["update"]\n}',
    'path "transit/sign/csms-issuer-stations" {\n  capabilities = ["update"]\n}',
    'path "sys/*" {\n  capabilities = ["read"]\n}',
    'path "sys/mounts" {\n  capabilities = ["read", "sudo"]\n}',
    'path "pki/sign-verbatim" {\n  capabilities = ["update"]\n}',
    'path "auth/token/create" {\n  capabilities = ["update"]\n}',
    'path "csms/data/pepper" {\n  capabilities = ["read"]\n}',
    'path "+/data/pepper" {\n  capabilities = ["read"]\n}',
    'path "transit/keys/csms-issuer-servers/rotate" {\n  policy = "write"\n}',
]


@pytest.mark.parametrize("rule", WIDER)
def test_verify_finds_a_widened_policy(
    admin: VaultConnection, provisioner: VaultConnection, rule: str
) -> None:
    text = (POLICIES / "csms-pki.hcl").read_text()
    admin.write(
        "sys/policies/acl/csms-pki",
        {"policy": text.replace("batch_input", "x") if "stations" in rule else f"{text}\n{rule}\n"},
    )
    assert set(found(provisioner)) == {
        ("policy csms-pki", Problem.TOO_WIDE),
        ("policy csms-pki", Problem.DIFFERS),
    }


@pytest.mark.parametrize("rule", WIDER)
def test_apply_and_verify_refuse_a_widened_file(
    admin: VaultConnection, tmp_path: Path, rule: str
) -> None:
    for file in POLICIES.glob("*.hcl"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "csms-worker.hcl").write_text(rule)
    for use in (apply, verify):
        with pytest.raises(Exception, match=r"csms-worker|policy") as refused:
            use(admin, policies_dir=tmp_path)
        assert type(refused.value).__name__ in {PolicyTooWide.__name__, "PolicyUnreadable"}


def test_verify_finds_what_is_missing(admin: VaultConnection, provisioner: VaultConnection) -> None:
    admin.delete("auth/approle/role/csms-files")
    admin.delete("sys/policies/acl/csms-files")
    destroy(admin, Key.AUDIT)
    admin.delete("csms/metadata/pepper")
    assert found(provisioner) == [
        ("policy csms-files", Problem.MISSING),
        ("role csms-files", Problem.MISSING),
        ("key csms-audit", Problem.MISSING),
        ("pepper", Problem.MISSING),
    ]


def test_the_rsa_keys_are_made_and_missed_for_certification_runs_only(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    """T2. The provisioner may make them: on one's own Vault the policy may be changed later."""
    asked: Any = {"policies_dir": POLICIES, "networks": ON_LOOPBACK, "certification": True}
    keys = (Key.ROOT_RSA, Key.ISSUER_SERVERS_RSA)
    missing = [(finding.what, finding.problem) for finding in verify(provisioner, **asked)]
    assert missing == [(f"key {key}", Problem.MISSING) for key in keys]
    made = [item.what for item in apply(provisioner, **asked).having(Outcome.CREATED)]
    assert made == [f"key {key}" for key in keys]
    assert verify(provisioner, **asked) == []
    assert found(provisioner) == [], "they do no harm under the other policy"
    destroy(admin, Key.ROOT_RSA)
    admin.write("transit/keys/csms-root-rsa", {"type": "rsa-2048"})
    assert found(provisioner) == [("key csms-root-rsa", Problem.DIFFERS)]
    for key in keys:
        destroy(admin, key)


def test_verify_finds_an_approle_that_gives_more(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    admin.write("auth/approle/role/csms-files", {"token_policies": ["csms-files", "csms-pki"]})
    admin.write("auth/approle/role/csms-api", {"bind_secret_id": False})
    admin.write("auth/approle/role/csms-pki", {"token_no_default_policy": False})
    admin.write("auth/approle/role/csms-gateway", {"token_bound_cidrs": []})
    assert set(found(provisioner)) == {
        ("role csms-files", Problem.TOO_WIDE),
        ("role csms-files", Problem.DIFFERS),
        ("role csms-api", Problem.DIFFERS),
        ("role csms-pki", Problem.DIFFERS),
        ("role csms-gateway", Problem.DIFFERS),
    }


def test_verify_finds_a_key_that_can_leave_or_is_of_another_type(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    destroy(admin, Key.AUDIT)
    destroy(admin, Key.TOKENS)
    admin.write("transit/keys/csms-audit", {"type": "ed25519", "exportable": True})
    admin.write("transit/keys/csms-tokens", {"type": "ecdsa-p384"})
    assert found(provisioner) == [
        ("key csms-audit", Problem.DIFFERS),
        ("key csms-tokens", Problem.DIFFERS),
    ]
    # Nothing repairs such a key: apply says so to the administrator too.
    assert {(item.what, item.outcome) for item in applied(admin)} == {
        ("key csms-audit", Outcome.DRIFTED),
        ("key csms-tokens", Outcome.DRIFTED),
    }
    destroy(admin, Key.AUDIT)
    destroy(admin, Key.TOKENS)


def test_a_key_that_rotates_by_itself_is_found_and_stopped(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    admin.write("transit/keys/csms-root/config", {"auto_rotate_period": "24h"})
    assert found(provisioner) == [("key csms-root", Problem.DIFFERS)]
    assert [(item.what, item.outcome) for item in applied(provisioner)] == [
        ("key csms-root", Outcome.DRIFTED)
    ]
    assert [(item.what, item.outcome) for item in applied(admin)] == [
        ("key csms-root", Outcome.CHANGED)
    ]
    assert found(provisioner) == []


def test_verify_finds_strangers_under_our_prefix(
    admin: VaultConnection, provisioner: VaultConnection
) -> None:
    admin.write("sys/policies/acl/csms-setup", {"policy": 'path "x" {\n}'})
    admin.write("auth/approle/role/csms-evil", {"token_policies": ["csms-pki"]})
    assert found(provisioner) == [
        ("policy csms-setup", Problem.UNKNOWN),
        ("role csms-evil", Problem.UNKNOWN),
    ]
    admin.delete("sys/policies/acl/csms-setup")
    admin.delete("auth/approle/role/csms-evil")


def test_failed_logins_lock_no_role_out(spoilt: TestVault) -> None:
    """P05: else whoever knows a role id could keep the CA from signing."""
    wrong = VaultConnection(spoilt.addr, ca_file=spoilt.ca_file)
    role = spoilt.credentials(Role.PKI)
    for _ in range(10):
        with pytest.raises(VaultRejected):
            wrong.write("auth/approle/login", {"role_id": role.role_id, "secret_id": "wrong"})
    wrong.close()
    VaultConnection.log_in_as(role).close()


def test_an_operators_server_is_told_so_by_an_administrator(
    spoilt: TestVault, admin: VaultConnection, provisioner: VaultConnection
) -> None:
    def lockout(connection: VaultConnection) -> Outcome:
        report = apply(connection, policies_dir=POLICIES, networks=ON_LOOPBACK, tune_login=True)
        (item,) = [item for item in report.items if item.what == "login lockout"]
        return item.outcome

    def told(connection: VaultConnection) -> list[str]:
        findings = verify(connection, policies_dir=POLICIES, networks=ON_LOOPBACK, login_tuned=True)
        return [finding.what for finding in findings]

    tune = {"user_lockout_config": {"lockout_disable": False}}
    admin.write("sys/auth/approle/tune", tune)
    assert told(provisioner) == ["login lockout"]
    assert lockout(provisioner) is Outcome.DRIFTED
    assert lockout(admin) is Outcome.CHANGED
    assert lockout(admin) is Outcome.UNCHANGED
    assert lockout(provisioner) is Outcome.UNCHANGED
    assert told(provisioner) == []
