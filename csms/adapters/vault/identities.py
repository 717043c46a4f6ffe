"""Who may log in: role id and secret id files, and the ceremony's identity, which is never a file.

An AppRole's rights come from its policy; what is made here only proves to be that role.
"""

import os
import tempfile
from pathlib import Path

from csms.adapters.vault.connection import (
    VaultConnection,
    VaultCredentials,
    VaultRejected,
    VaultSettings,
)
from csms.adapters.vault.plan import APPROLE, Role


def ceremony_credentials(connection: VaultConnection) -> VaultCredentials:
    """The root's identity for one ceremony: one login within minutes, never written to disk."""
    answer = connection.write(f"{APPROLE}/role/{Role.CEREMONY}/secret-id", {})
    return VaultCredentials(
        addr=connection.addr,
        ca_file=connection.ca_file,
        namespace=connection.namespace,
        role_id=_role_id(connection, Role.CEREMONY),
        secret_id=str(answer["data"]["secret_id"]),
    )


def settings_from(
    secrets_dir: Path,
    role: Role,
    *,
    addr: str,
    ca_file: Path | None = None,
    namespace: str | None = None,
) -> VaultSettings:
    """The settings of a role whose files `apply` wrote. Raises FileNotFoundError before that."""
    return VaultSettings(
        addr=addr,
        role_id=_role_id_file(secrets_dir, role).read_text(encoding="ascii").strip(),
        secret_id_file=secret_id_file(secrets_dir, role),
        ca_file=ca_file,
        namespace=namespace,
    )


def secret_files_are_good(connection: VaultConnection, role: Role, secrets_dir: Path) -> bool:
    """Both files are there, of this role, and the server still knows the secret id."""
    role_id_file, file = _role_id_file(secrets_dir, role), secret_id_file(secrets_dir, role)
    if not (file.exists() and role_id_file.exists()):
        return False
    if role_id_file.read_text(encoding="ascii").strip() != _role_id(connection, role):
        return False
    secret = {"secret_id": file.read_text(encoding="ascii").strip()}
    return bool(connection.write(f"{APPROLE}/role/{role}/secret-id/lookup", secret))


def write_secret_files(connection: VaultConnection, role: Role, secrets_dir: Path) -> None:
    """Make a secret id and write both files, 0600."""
    answer = connection.write(f"{APPROLE}/role/{role}/secret-id", {})
    write_private(_role_id_file(secrets_dir, role), _role_id(connection, role).encode())
    write_private(secret_id_file(secrets_dir, role), str(answer["data"]["secret_id"]).encode())


def secret_id_file(secrets_dir: Path, role: Role) -> Path:
    return secrets_dir / f"{role}.secret-id"


def write_private(path: Path, content: bytes) -> None:
    """Atomically, 0600 from the first byte on."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _role_id(connection: VaultConnection, role: Role) -> str:
    answer = connection.read(f"{APPROLE}/role/{role}/role-id")
    if answer is None:
        raise VaultRejected(f"there is no AppRole {role}: run `csms vault apply` first")
    return str(answer["data"]["role_id"])


def _role_id_file(secrets_dir: Path, role: Role) -> Path:
    return secrets_dir / f"{role}.role-id"
