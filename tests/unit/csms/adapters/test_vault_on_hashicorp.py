"""What differs on HashiCorp Vault, whose server cannot be had here: a stand-in answers as its API
documentation says. It shows our side of the contract only.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from csms.adapters.vault.connection import VaultConnection
from csms.adapters.vault.provisioning import Item, Outcome, _audit_device, is_openbao


@dataclass
class VaultStandIn:
    """`sys/health` and `sys/audit` of Vault."""

    devices: dict[str, object] = field(default_factory=dict)
    may_list: bool = True
    namespaces: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, verb: str, path: str, body: object) -> tuple[int, object]:
        match verb, path:
            case "GET", "/v1/sys/health":
                return 200, {"initialized": True, "sealed": False, "enterprise": False}
            case "GET", "/v1/sys/audit" if self.may_list:
                return 200, {"data": self.devices}
            case "POST", "/v1/sys/audit/csms":
                self.devices["csms/"] = body
                return 204, None
        return 403, {"errors": ["permission denied"]}


@pytest.fixture
def hashicorp() -> Iterator[VaultStandIn]:
    state = VaultStandIn()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            state.namespaces.append(self.headers.get("X-Vault-Namespace"))
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            status, answer = state.answer(self.command, self.path, body)
            text = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def connection(hashicorp: VaultStandIn) -> Iterator[VaultConnection]:
    connection = VaultConnection(hashicorp.url, namespace="charging")
    yield connection
    connection.close()


def test_vault_is_told_from_openbao_by_its_edition(connection: VaultConnection) -> None:
    assert not is_openbao(connection)


def test_an_audit_device_is_made_where_the_api_makes_one(
    hashicorp: VaultStandIn, connection: VaultConnection
) -> None:
    audit_file = Path("/var/log/vault.log")
    assert _audit_device(connection, audit_file) == Item("audit device", Outcome.CREATED)
    assert hashicorp.devices == {
        "csms/": {"type": "file", "options": {"file_path": "/var/log/vault.log"}}
    }
    assert _audit_device(connection, audit_file) == Item("audit device", Outcome.UNCHANGED)


def test_without_a_file_name_or_the_right_the_missing_device_is_reported(
    hashicorp: VaultStandIn, connection: VaultConnection
) -> None:
    assert _audit_device(connection, None).outcome is Outcome.DRIFTED
    hashicorp.may_list = False
    assert _audit_device(connection, Path("/x")).outcome is Outcome.DRIFTED
    assert hashicorp.devices == {}


def test_the_namespace_goes_with_every_request(
    hashicorp: VaultStandIn, connection: VaultConnection
) -> None:
    _audit_device(connection, Path("/x"))
    assert set(hashicorp.namespaces) == {"charging"}
