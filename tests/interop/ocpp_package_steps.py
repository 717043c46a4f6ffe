"""Steps of a walk with the `ocpp` package's station: registered, booted, on its own certificate."""

import asyncio
from pathlib import Path

from ocpp.v201 import call, datatypes
from ocpp.v201.enums import Action

from tests.fixtures.product import Product
from tests.interop.ocpp_package_station import Memory, Station, connected
from tests.interop.operator_desk import OperatorDesk


def registered(product: Product, directory: Path) -> tuple[OperatorDesk, Memory]:
    desk = OperatorDesk(product, product.station())
    memory = Memory(desk.identity, desk.serial_number, directory, product.root_pem)
    return desk, memory


async def boot(station: Station, serial_number: str | None = None) -> None:
    charging_station = datatypes.ChargingStationType(
        model="Interop", vendor_name="mobilityhouse", serial_number=serial_number
    )
    answer = await station.call(
        call.BootNotification(charging_station=charging_station, reason="PowerUp"), suppress=False
    )
    assert answer.status == "Accepted"
    assert answer.interval > 0


async def heartbeat(station: Station) -> None:
    answer = await station.call(call.Heartbeat(), suppress=False)
    assert answer.current_time.endswith("Z")


async def obtain_certificate(desk: OperatorDesk, station: Station) -> str:
    """A02: trigger, CSR, chain. The station checks the chain before it accepts; the operation."""
    operation = await asyncio.to_thread(desk.renew)
    triggered = await station.next_asked(Action.trigger_message)
    assert triggered == {"requested_message": "SignChargingStationCertificate"}
    request = call.SignCertificate(
        csr=station.memory.signing_request(), certificate_type="ChargingStationCertificate"
    )
    answer = await station.call(request, suppress=False)
    assert answer.status == "Accepted"
    signed = await station.next_asked(Action.certificate_signed)
    assert signed["certificate_type"] == "ChargingStationCertificate"
    assert station.memory.pending is None, "the station did not accept the chain"
    return operation


async def enrolled(product: Product, directory: Path) -> tuple[OperatorDesk, Memory]:
    """A fresh station with its first certificate, not yet back on profile 3."""
    desk, memory = registered(product, directory)
    async with connected(product.ocpp(2), memory, password=desk.password) as station:
        await boot(station, desk.serial_number)
        await obtain_certificate(desk, station)
    return desk, memory
