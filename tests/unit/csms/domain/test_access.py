"""Scopes, roles, principals."""

import dataclasses

import pytest

from csms.domain.access import READ_SCOPES, ROLE_SCOPES, Principal, Role, Scope


def test_every_role_is_a_set_of_scopes() -> None:
    assert set(ROLE_SCOPES) == set(Role)
    assert all(scopes for scopes in ROLE_SCOPES.values())


def test_the_administrator_holds_every_scope() -> None:
    assert ROLE_SCOPES[Role.ADMINISTRATOR] == frozenset(Scope)


def test_the_auditor_reads_everything_and_writes_nothing() -> None:
    assert ROLE_SCOPES[Role.AUDITOR] == READ_SCOPES
    assert {scope.value.partition(":")[2] for scope in READ_SCOPES} == {"read"}


def test_a_read_scope_is_one_that_says_so() -> None:
    assert {
        Scope.STATIONS_READ,
        Scope.CERTIFICATES_READ,
        Scope.SECURITY_EVENTS_READ,
        Scope.AUDIT_READ,
    } == READ_SCOPES


def test_clients_trust_anchors_and_the_audit_log_are_not_for_operators() -> None:
    held = ROLE_SCOPES[Role.OPERATOR]
    assert not held & {Scope.CLIENTS_MANAGE, Scope.TRUST_ANCHORS_WRITE, Scope.AUDIT_READ}


@pytest.mark.parametrize("role", [Role.INSTALLER, Role.SERVICE])
def test_installers_and_services_do_nothing_dangerous(role: Role) -> None:
    dangerous = {
        Scope.COMMANDS_DANGEROUS,
        Scope.CERTIFICATES_REVOKE,
        Scope.TRUST_ANCHORS_WRITE,
        Scope.CLIENTS_MANAGE,
    }
    assert not ROLE_SCOPES[role] & dangerous


def test_roles_cannot_be_changed_while_running() -> None:
    with pytest.raises(TypeError):
        ROLE_SCOPES[Role.SERVICE] = frozenset(Scope)  # type: ignore[index]  # what is tried


def test_a_principal_is_called_by_its_client_id_and_cannot_grow() -> None:
    principal = Principal(client_id="abc", name="tool", scopes=frozenset({Scope.STATIONS_READ}))
    assert principal.actor == "client:abc"
    with pytest.raises(dataclasses.FrozenInstanceError):
        principal.scopes = frozenset(Scope)  # type: ignore[misc]  # what is tried
