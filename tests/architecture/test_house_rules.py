"""Invariants of the house that a review would miss."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("csms", "pki", "station")
PURE = ("csms/ocpp", "csms/domain", "pki/x509")
# Every file of these rooms has a test file of its own.
TWINNED = ("csms/ocpp", "csms/domain", "pki/x509", "pki/authority")
# Declarations without behaviour.
WITHOUT_TWIN = {"csms/ocpp/actions.py", "pki/authority/records.py"}


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "/messages/" not in name and "/versions/" not in name:
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_pure_rooms_ask_nobody_for_the_time() -> None:
    """Time, identifiers and randomness are arguments."""
    asking = {"now", "utcnow", "today", "uuid1", "uuid4", "token_bytes", "urandom"}
    found = [
        f"{name}:{call.lineno}"
        for name, tree in sources(*PURE)
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute) and call.func.attr in asking
    ]
    assert found == []


def test_log_events_are_fixed_words() -> None:
    """An event is a literal; what varies is a field."""
    levels = {"debug", "info", "warning", "error", "exception", "critical"}
    found = [
        f"{name}:{call.lineno}"
        for name, tree in sources(*PACKAGES)
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in levels
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "log"
        and not (call.args and isinstance(call.args[0], ast.Constant))
    ]
    assert found == []


def test_secrets_are_never_compared_with_equals() -> None:
    """Passwords, digests and secrets go through hmac.compare_digest."""
    secret = ("password", "secret", "digest", "token")
    found = []
    for name, tree in sources("csms/domain", "csms/gateway", "csms/oauth", "csms/api"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                continue
            for side in (node.left, *node.comparators):
                last = side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "")
                if last.lower() in secret:
                    found.append(f"{name}:{node.lineno}")
    assert found == []


def test_the_product_does_not_print() -> None:
    found = [
        f"{name}:{call.lineno}"
        for name, tree in sources(*PACKAGES)
        for call in calls(tree)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert found == []


@pytest.mark.parametrize("folder", TWINNED)
def test_every_source_of_the_core_has_its_test(folder: str) -> None:
    missing = [
        name
        for name, tree in sources(folder)
        if not name.endswith("__init__.py")
        and name not in WITHOUT_TWIN
        and tree.body
        and not _has_twin(Path(name))
    ]
    assert missing == []


def _has_twin(source: Path) -> bool:
    """`test_csr.py`, or `test_pki_csr.py` where two rooms have a file of that name."""
    folder = ROOT / "tests/unit" / source.parent
    room = source.parts[0]
    names = (f"test_{source.name}", f"test_{room}_{source.name}")
    return any((folder / name).exists() for name in names)


def test_every_audit_action_is_written_somewhere() -> None:
    """A word nobody writes is a promise nobody keeps."""
    from csms.domain.audit import AuditAction

    used = {
        node.attr
        for name, tree in sources("csms")
        if name != "csms/domain/audit.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    assert [action.name for action in AuditAction if action.name not in used] == []


def test_every_refusal_reason_is_given_somewhere() -> None:
    from csms.domain.admission import RefusalReason

    given = {
        node.attr
        for _, tree in sources("csms/domain", "csms/gateway")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
    }
    assert [reason.name for reason in RefusalReason if reason.name not in given] == []
