"""`$CSMS_DATA_DIR/bootstrap/`: what scripts and people need to find the running product.

`endpoints.json` exists exactly while everything is ready. `admin-client.json` holds the first
administrator's secret (0600). Every file is replaced in one rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    ocpp: Mapping[str, str]  # by security profile; stations append `/{identity}`
    api: str
    metrics: str
    pki: str


class Bootstrap:
    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "bootstrap"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.endpoints_file = self.directory / "endpoints.json"
        self.root_file = self.directory / "csms-root.pem"
        self.audit_file = self.directory / "audit.pub"
        self.administrator_file = self.directory / "admin-client.json"

    def publish_audit_key(self, audit_pem: str) -> None:
        """Without Vault the file of the last run stays, or there is none yet."""
        _replace(self.audit_file, audit_pem, 0o644)

    def publish(self, endpoints: Endpoints, *, root_pem: str) -> None:
        """Write what others may read; the endpoints last, for they say that all is ready."""
        _replace(self.root_file, root_pem, 0o644)
        _replace(self.endpoints_file, _json(asdict(endpoints)), 0o644)

    def withdraw(self) -> None:
        self.endpoints_file.unlink(missing_ok=True)

    def administrator(self) -> str | None:
        """The client id in admin-client.json, if there is one."""
        try:
            client_id = json.loads(self.administrator_file.read_text())["client_id"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return str(client_id)

    def write_administrator(
        self, client_id: str, client_secret: str, *, token_endpoint: str
    ) -> None:
        client = {
            "client_id": client_id,
            "client_secret": client_secret,
            "token_endpoint": token_endpoint,
        }
        _replace(self.administrator_file, _json(client), 0o600)

    def keep_administrator(self, *, token_endpoint: str) -> None:
        """The port may have changed since the file was written, and people its mode."""
        self.administrator_file.chmod(0o600)
        client = json.loads(self.administrator_file.read_text())
        if client.get("token_endpoint") != token_endpoint:
            _replace(
                self.administrator_file, _json(client | {"token_endpoint": token_endpoint}), 0o600
            )


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _replace(path: Path, text: str, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # of a crash, with whatever mode and owner it has
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    # The rename, too, must be there after a power cut: a row in the database counts on it.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
