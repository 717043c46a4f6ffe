"""The plain central system: the `ocpp` package's ChargePoint on `websockets`, as its example shows.

asyncio, an `ssl` context of the standard library that asks for client certificates of one CA. It
lets in whoever has one, stores nothing, and its package checks every message against the JSON
schema. The example logs at INFO, which prints every frame; `quiet` as second argument leaves that
out, to tell what the logging costs.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocpp.routing import on
from ocpp.v201 import ChargePoint, call_result
from ocpp.v201.enums import Action, RegistrationStatusEnumType
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bench.commands import obey, say
from bench.world import ISSUER, LISTENER


def _now() -> str:
    return datetime.now(UTC).isoformat()


class Station(ChargePoint):  # type: ignore[misc] # the package has no types
    @on(Action.boot_notification)  # type: ignore[untyped-decorator] # as above
    def on_boot_notification(self, **_: Any) -> call_result.BootNotification:
        return call_result.BootNotification(
            current_time=_now(), interval=300, status=RegistrationStatusEnumType.accepted
        )

    @on(Action.heartbeat)  # type: ignore[untyped-decorator] # as above
    def on_heartbeat(self, **_: Any) -> call_result.Heartbeat:
        return call_result.Heartbeat(current_time=_now())


async def on_connect(connection: ServerConnection) -> None:
    path = connection.request.path if connection.request else ""
    try:
        await Station(path.rpartition("/")[2], connection).start()
    except ConnectionClosed:
        return


async def main() -> None:
    world = Path(sys.argv[1])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(world / ISSUER))
    context.load_cert_chain(world / LISTENER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    async with serve(
        on_connect, "127.0.0.1", 0, ssl=context, subprotocols=[Subprotocol("ocpp2.0.1")]
    ) as server:
        say({"port": next(iter(server.sockets)).getsockname()[1]})
        await obey({})


if __name__ == "__main__":
    if "quiet" not in sys.argv:
        logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
