"""`ocpp-rpc` (npm) in strict mode enrols, rotates and comes back, on the running product.

The station is a process of its own that only the CSMS leads: this test drives the REST API, reads
what the station says it saw, and believes its exit code. Strict mode validates every frame of
ours against the library's own copy of the schemas.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.node import Node
from tests.fixtures.product import Product
from tests.interop.operator_desk import Json, OperatorDesk, normal

# The first of these tests may have to install the npm packages; the walk itself takes seconds.
pytestmark = pytest.mark.timeout(300)

SCRIPT = Path(__file__).parent / "ocpp_rpc_station.mjs"
STOP_SECONDS = 20
PRIORITY = {
    "component": {"name": "OCPPCommCtrlr"},
    "variable": {"name": "NetworkConfigurationPriority"},
}
# What the CSMS had to send, and the library had to find valid, for the whole walk.
EXPECTED_FRAMES = {
    "urn:TriggerMessage.req",
    "urn:CertificateSigned.req",
    "urn:InstallCertificate.req",
    "urn:GetInstalledCertificateIds.req",
    "urn:SetVariables.req",
    "urn:GetVariables.req",
    "urn:SetNetworkProfile.req",
    "urn:Reset.req",
    "urn:BootNotification.conf",
    "urn:Heartbeat.conf",
    "urn:StatusNotification.conf",
    "urn:SecurityEventNotification.conf",
    "urn:SignCertificate.conf",
}


class NodeStation:
    """The running script: its steps come one by one; the password goes by stdin, not by argv."""

    def __init__(self, process: subprocess.Popen[str], stderr: Path) -> None:
        self.process = process
        self.stderr = stderr

    def introduce(self, who: Json) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(who) + "\n")
        self.process.stdin.flush()

    def saw(self, step: str) -> Json:
        """The next step, which must be this one; the script has a deadline of its own."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"the station stopped before {step}: {self.stderr.read_text()}")
        said: Json = json.loads(line)
        assert said.pop("step") == step, (step, line, self.stderr.read_text())
        return said

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def exit_code(self) -> int:
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running(node: Node, desk: OperatorDesk, directory: Path) -> Iterator[NodeStation]:
    stderr = directory / "station.err"
    with (
        stderr.open("w") as errors,
        subprocess.Popen(
            [*node.node, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        station = NodeStation(process, stderr)
        try:
            station.introduce(
                {
                    "identity": desk.identity,
                    "serialNumber": desk.serial_number,
                    "password": desk.password,
                    "url": desk.product.ocpp(2),
                    "root": str(desk.product.root_pem),
                }
            )
            yield station
        finally:
            if process.poll() is None:
                process.kill()


def obtain_certificate(desk: OperatorDesk, station: NodeStation, key_type: str) -> str:
    """A02 as the operator sees it: asked for, delivered, accepted. The certificate's serial."""
    desk.renew()
    assert station.saw("csr_sent") == {"status": "Accepted"}
    certificate = station.saw("certificate")
    assert certificate["kept"] is True
    assert certificate["type"] == key_type
    return str(certificate["serial"])


def move_to_profile_3(desk: OperatorDesk) -> None:
    """B09 and A05: a slot, its priority, a reset. The station knows the new URL from here only."""
    connection = {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": desk.product.ocpp(3),
        "messageTimeout": 30,
        "securityProfile": 3,
        "ocppInterface": "Wired0",
    }
    accepted = {"status": "Accepted"}
    slot = {"configurationSlot": 1, "connectionData": connection}
    assert desk.command("SetNetworkProfile", slot) == accepted
    changes = {"setVariableData": [PRIORITY | {"attributeValue": "1"}]}
    changed = desk.command("SetVariables", changes)["setVariableResult"]
    assert changed == [PRIORITY | {"attributeStatus": "Accepted"}]
    read = desk.command("GetVariables", {"getVariableData": [PRIORITY]})["getVariableResult"]
    assert read == [PRIORITY | {"attributeStatus": "Accepted", "attributeValue": "1"}]
    assert desk.command("Reset", {"type": "OnIdle"}) == accepted


def install_root(desk: OperatorDesk) -> None:
    root = {
        "certificateType": "CSMSRootCertificate",
        "certificate": desk.product.root_pem.read_text(),
    }
    assert desk.command("InstallCertificate", root) == {"status": "Accepted"}
    asked = {"certificateType": ["CSMSRootCertificate"]}
    found = desk.command("GetInstalledCertificateIds", asked)
    assert [chain["certificateType"] for chain in found["certificateHashDataChain"]] == [
        "CSMSRootCertificate"
    ]


def test_it_enrols_rotates_and_comes_back_and_strict_mode_finds_no_fault(
    product: Product, node: Node, tmp_path: Path
) -> None:
    desk = OperatorDesk(product, product.station())
    with running(node, desk, tmp_path) as station:
        assert station.saw("online") == {"status": "Accepted", "certificate": None}
        assert ("StartupOfTheDevice", "ocpp-rpc") in desk.security_events()
        assert desk.profiles() == (2, 2)

        first = obtain_certificate(desk, station, "ec")
        desk.wait_for_certificates({normal(first): "accepted"})
        install_root(desk)
        move_to_profile_3(desk)
        assert station.saw("online") == {"status": "Accepted", "certificate": first}
        desk.wait_for_certificates({normal(first): "active"})

        second = obtain_certificate(desk, station, "rsa")
        desk.wait_for_certificates({normal(first): "active", normal(second): "accepted"})
        assert desk.command("Reset", {"type": "Immediate"}) == {"status": "Accepted"}
        assert station.saw("online") == {"status": "Accepted", "certificate": second}
        desk.wait_for_certificates({normal(first): "superseded", normal(second): "active"})
        assert desk.profiles() == (3, 3)

        station.finish()
        assert station.saw("refused") == {"credential": "first_certificate", "http": 403}
        assert station.saw("refused") == {"credential": "password", "http": 401}
        verdict = station.saw("verdict")
        assert verdict["complaints"] == []
        assert set(verdict["received"]) == EXPECTED_FRAMES
        assert station.exit_code() == 0, station.stderr.read_text()


def test_it_fails_when_it_did_not_see_every_step(
    product: Product, node: Node, tmp_path: Path
) -> None:
    """The exit code can say no: a station that got no certificate does not stop with 0."""
    desk = OperatorDesk(product, product.station())
    with running(node, desk, tmp_path) as station:
        station.saw("online")
        station.finish()
        assert station.exit_code() == 1
        assert "two certificates were expected" in station.stderr.read_text()


def test_it_is_kept_out_with_another_password(product: Product, node: Node, tmp_path: Path) -> None:
    registered = product.station()
    desk = OperatorDesk(product, registered | {"password": "x" * 40})
    with running(node, desk, tmp_path) as station:
        assert station.exit_code() == 1
        assert "Unauthorized" in station.stderr.read_text()
    product.eventually(lambda: desk.failing_checks() == ["password"])
