"""The `ocpp` package's ChargePoint (PyPI) enrols, rotates and comes back, on the running product.

The package validates every frame of ours against the schemas of the specification and complains
in its log only, so each walk ends with what it logged: nothing.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from ocpp.v201 import call
from ocpp.v201.enums import Action
from websockets.exceptions import InvalidStatus

from tests.fixtures.peer import Key
from tests.fixtures.product import Product
from tests.interop.ocpp_package_station import Memory, complaints, connected
from tests.interop.ocpp_package_steps import boot, heartbeat, obtain_certificate, registered

NOW = "2026-11-23T12:00:00Z"


def run(walk: Coroutine[Any, Any, None]) -> None:
    """The walk, and no complaint of the package about any frame of it."""
    with complaints() as heard:
        asyncio.run(walk)
    assert heard == []


async def refusal(
    url: str, memory: Memory, *, password: str | None = None, key: Key | None = None
) -> int:
    """The HTTP status that keeps this credential out."""
    with pytest.raises(InvalidStatus) as refused:
        async with connected(url, memory, password=password, key=key):
            pytest.fail("let in")
    return int(refused.value.response.status_code)


def test_it_enrols_rotates_and_comes_back_on_profile_3_and_nothing_less_is_let_in(
    product: Product, tmp_path: Path
) -> None:
    desk, memory = registered(product, tmp_path)
    first, second = "", ""

    async def enrol() -> None:
        nonlocal first
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            operation = await obtain_certificate(desk, station)
        first = memory.serial_of(0)
        await asyncio.to_thread(desk.wait_for_certificates, {first: "accepted"})
        async with connected(product.ocpp(3), memory, key=memory.keys[0]) as station:
            await boot(station)
            await heartbeat(station)
            await asyncio.to_thread(desk.wait_for_certificates, {first: "active"})
            await asyncio.to_thread(desk.wait_for_operation, operation, "succeeded")

    async def rotate() -> None:
        nonlocal second
        async with connected(product.ocpp(3), memory, key=memory.keys[0]) as station:
            await boot(station)
            operation = await obtain_certificate(desk, station)
        second = memory.serial_of(1)
        waiting = {first: "active", second: "accepted"}
        await asyncio.to_thread(desk.wait_for_certificates, waiting)
        async with connected(product.ocpp(3), memory, key=memory.keys[1]) as station:
            await boot(station)
            rotated = {first: "superseded", second: "active"}
            await asyncio.to_thread(desk.wait_for_certificates, rotated)
            await asyncio.to_thread(desk.wait_for_operation, operation, "succeeded")

    async def nothing_less() -> None:
        async with connected(product.ocpp(3), memory, key=memory.keys[1]) as station:
            await boot(station)
            assert await refusal(product.ocpp(3), memory, key=memory.keys[0]) == 403
            assert await refusal(product.ocpp(2), memory, password=desk.password) == 401
            await heartbeat(station)  # the good session is untouched

    async def walk() -> None:
        await enrol()
        await rotate()
        await nothing_less()

    run(walk())
    assert desk.profiles() == (3, 3)
    product.eventually(
        lambda: desk.failing_checks() == ["profile_too_low", "certificate_not_admissible"]
    )


def test_its_messages_are_answered_and_stored(product: Product, tmp_path: Path) -> None:
    desk, memory = registered(product, tmp_path)

    async def walk() -> None:
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            await heartbeat(station)
            status = call.StatusNotification(
                timestamp=NOW, connector_status="Available", evse_id=1, connector_id=1
            )
            await station.call(status, suppress=False)
            event = call.SecurityEventNotification(
                type="TamperDetectionActivated", timestamp=NOW, tech_info="lid open"
            )
            await station.call(event, suppress=False)

    run(walk())
    # A04.FR.03: the answer came after the commit, so there is nothing to wait for.
    assert desk.security_events() == {("TamperDetectionActivated", "lid open")}
    assert desk.profiles() == (2, 2)


def test_every_command_of_the_operator_is_understood_and_answered(
    product: Product, tmp_path: Path
) -> None:
    desk, memory = registered(product, tmp_path)
    interval = {
        "component": {"name": "OCPPCommCtrlr"},
        "variable": {"name": "HeartbeatInterval"},
    }
    unknown = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "Nothing"}}

    def drive() -> None:
        found = desk.command("GetInstalledCertificateIds", {})
        assert found == {"status": "NotFound"}
        root = {
            "certificateType": "CSMSRootCertificate",
            "certificate": product.root_pem.read_text(),
        }
        assert desk.command("InstallCertificate", root) == {"status": "Accepted"}
        asked = {"certificateType": ["CSMSRootCertificate"]}
        found = desk.command("GetInstalledCertificateIds", asked)
        assert len(found["certificateHashDataChain"]) == 1

        changes = {"setVariableData": [interval | {"attributeValue": "300"}]}
        changed = desk.command("SetVariables", changes)
        assert changed["setVariableResult"] == [interval | {"attributeStatus": "Accepted"}]
        read = desk.command("GetVariables", {"getVariableData": [interval, unknown]})
        assert read["getVariableResult"] == [
            interval | {"attributeStatus": "Accepted", "attributeValue": "300"},
            unknown | {"attributeStatus": "UnknownVariable"},
        ]
        assert desk.command("SetNetworkProfile", network_profile(product)) == {"status": "Accepted"}
        assert desk.command("Reset", {"type": "OnIdle"}) == {"status": "Accepted"}

    async def walk() -> None:
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            await asyncio.to_thread(drive)
            assert await station.next_asked(Action.reset) == {"type": "OnIdle"}

    run(walk())
    assert memory.network_profiles[1]["security_profile"] == 3
    assert memory.network_profiles[1]["ocpp_csms_url"] == product.ocpp(3)


def network_profile(product: Product) -> dict[str, Any]:
    return {
        "configurationSlot": 1,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": product.ocpp(3),
            "messageTimeout": 30,
            "securityProfile": 3,
            "ocppInterface": "Wired0",
        },
    }


def test_a_command_it_does_not_know_comes_back_as_its_callerror(
    product: Product, tmp_path: Path
) -> None:
    """The package answers NotImplemented, and says so in its log: the one expected complaint."""
    desk, memory = registered(product, tmp_path)

    async def walk() -> None:
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            answer = await asyncio.to_thread(product.command, desk.identity, "ClearCache", {})
            assert answer.status_code == 502, answer.text
            assert answer.json()["code"] == "NotImplemented"
            await heartbeat(station)

    with complaints() as heard:
        asyncio.run(walk())
    assert len(heard) == 1
    assert "ClearCache" in heard[0]


def test_a_csr_for_another_serial_number_brings_no_certificate(
    product: Product, tmp_path: Path
) -> None:
    """A00.FR.511: the operator sees a failed operation, the station's own CSR works after it."""
    desk, memory = registered(product, tmp_path)

    async def walk() -> None:
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            operation = await asyncio.to_thread(desk.renew)
            await station.next_asked(Action.trigger_message)
            wrong = call.SignCertificate(csr=memory.signing_request("SOMEBODY-ELSE"))
            assert (await station.call(wrong, suppress=False)).status == "Accepted"
            await asyncio.to_thread(desk.wait_for_operation, operation, "failed")
            assert await asyncio.to_thread(desk.certificates) == {}
            await obtain_certificate(desk, station)

    run(walk())
    assert len(desk.certificates()) == 1


def test_a_certificate_whose_delivery_was_cut_off_is_delivered_again(
    product: Product, tmp_path: Path
) -> None:
    """A02: kept for the station until it says what it thinks of it; it is the same certificate."""
    desk, memory = registered(product, tmp_path)
    memory.cut_at_delivery = True

    async def cut_off() -> None:
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            await asyncio.to_thread(desk.renew)
            await station.next_asked(Action.trigger_message)
            request = call.SignCertificate(csr=memory.signing_request())
            assert (await station.call(request, suppress=False)).status == "Accepted"
            await station.offline.wait()
        assert memory.keys == []

    async def walk() -> None:
        await cut_off()
        assert list((await asyncio.to_thread(desk.certificates)).values()) == ["delivered"]
        async with connected(product.ocpp(2), memory, password=desk.password) as station:
            await boot(station, desk.serial_number)
            await station.next_asked(Action.certificate_signed)
        await asyncio.to_thread(desk.wait_for_certificates, {memory.serial_of(0): "accepted"})

    run(walk())


@pytest.mark.parametrize("password", ["x" * 40, ""], ids=["wrong", "empty"])
def test_it_is_refused_with_another_password(
    product: Product, tmp_path: Path, password: str
) -> None:
    _, memory = registered(product, tmp_path)
    assert asyncio.run(refusal(product.ocpp(2), memory, password=password)) == 401
