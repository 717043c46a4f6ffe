"""Policies as data: our files parse, each fits its role, and what is wider is refused."""

from pathlib import Path

import pytest

from csms.adapters.vault.plan import MAY_SIGN, Key, Role
from csms.adapters.vault.policy import (
    PolicyTooWide,
    PolicyUnreadable,
    load_policies,
    objections,
    parse,
)

POLICIES = Path(__file__).parents[4] / "policies" / "vault"


def rule(path: str, capabilities: str, more: str = "") -> str:
    return f'path "{path}" {{\n  capabilities = [{capabilities}]\n{more}}}\n'


SINGLE = 'denied_parameters = {\n "batch_input" = []\n}\n'


def test_every_role_has_a_file_that_fits_it_and_there_are_no_others() -> None:
    assert set(load_policies(POLICIES)) == set(Role)
    names = {path.stem for path in POLICIES.glob("*.hcl")}
    assert names == {role.value for role in Role} | {"csms-setup"}


def test_a_role_can_sign_with_its_keys_and_only_those() -> None:
    for role, text in load_policies(POLICIES).items():
        paths = [each.path.split("/") for each in parse(text)]
        signs = {Key(path[2]) for path in paths if path[:2] == ["transit", "sign"]}
        assert signs == MAY_SIGN[role]


def test_only_one_role_signs_with_the_root_and_it_is_no_running_one() -> None:
    assert [role for role, keys in MAY_SIGN.items() if Key.ROOT in keys] == [Role.CEREMONY]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    "text",
    [
        rule("*", '"read"'),
        rule("transit/*", '"read"'),
        rule("transit/sign/+", '"update"', SINGLE),
        rule("transit/sign/csms-root/sha2-256/x", '"update"', SINGLE),
        rule("transit/sign/csms-root", '"update", "create"', SINGLE),
        rule("transit/sign/csms-root", '"update"'),
        rule("transit/sign/other", '"update"', SINGLE),
        rule("transit/keys/csms-root", '"create", "update"'),
        rule("transit/keys/csms-root", '"delete"'),
        rule("transit/keys/csms-root/config", '"update"'),
        rule("transit/keys/csms-root/rotate", '"update"'),
        rule("transit/export/signing-key/csms-root", '"read"'),
        rule("transit/backup/csms-root", '"read"'),
        rule("transit/encrypt/csms-root", '"update"'),
        rule("csms/data/pepper", '"update"'),
        rule("csms/data/pepper", '"create", "read"'),
        rule("csms/data/*", '"read"'),
        rule("csms/config", '"read"'),
        rule("pki/sign-verbatim", '"update"'),
        rule("sys/mounts/transit", '"create"'),
        rule("sys/mounts/pki", '"create"', 'allowed_parameters = {\n "type" = ["pki"]\n}\n'),
        rule("sys/mounts", '"read", "sudo"'),
        rule("sys/policies/acl/csms-gateway", '"update"'),
        rule("sys/policies/acl/other", '"read"'),
        rule("auth/approle/role/csms-pki/secret-id", '"update"'),
        rule("auth/approle/role/csms-pki", '"create"'),
        rule("auth/token/create", '"update"'),
        rule("auth/token/renew-self", '"update", "sudo"'),
        rule("identity/entity", '"update"'),
    ],
)
def test_no_role_at_all_may_have_this(role: Role, text: str) -> None:
    assert objections(role, text)


@pytest.mark.parametrize("role", list(Role))
def test_the_policy_of_another_role_does_not_fit(role: Role) -> None:
    texts = load_policies(POLICIES)
    poorest = Role.FILES  # holds only what everybody holds
    for other in set(Role) - {role, poorest}:
        fits = not objections(role, texts[other])
        # api may do all that gateway may; nobody else contains another.
        assert fits == ((role, other) == (Role.API, Role.GATEWAY))


@pytest.mark.parametrize(
    "text",
    [
        "path",
        'path "x"',
        'path "x" {',
        'path "x" { capabilities = ["read"]',
        'path "x" { capabilities = ["read" }',
        'path "x" { capabilities = "read" }',
        'path "x" { capabilities = ["everything"] }',
        'path "x" { policy = "sudo" }',
        'path "x" { control_group = {} }',
        'path "x" { allowed_parameters = { type = ["x"] } }',
        'path "x" { allowed_parameters = { "type" = ["x"]',
        "path x { }",
        'name = "x"',
        'path "x" { capabilities = ["read"] } }',
        'path "a\\"b" { }',
        "path <<EOF",
        "/* comment */",
    ],
)
def test_what_is_not_our_subset_of_hcl_is_unreadable(text: str) -> None:
    with pytest.raises(PolicyUnreadable):
        parse(text)


def test_a_missing_and_a_widened_file_are_refused_by_name(tmp_path: Path) -> None:
    for file in POLICIES.glob("*.hcl"):
        (tmp_path / file.name).write_text(file.read_text())
    load_policies(tmp_path)
    (tmp_path / "csms-files.hcl").write_text(rule("csms/data/pepper", '"read"'))
    with pytest.raises(PolicyTooWide, match=r"csms-files\.hcl: csms/data/pepper: read"):
        load_policies(tmp_path)
    (tmp_path / "csms-files.hcl").unlink()
    with pytest.raises(PolicyUnreadable, match=r"csms-files\.hcl"):
        load_policies(tmp_path)
