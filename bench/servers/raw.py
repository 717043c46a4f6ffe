"""Raw limits on uvloop: `websockets` that echoes, and TLS that does nothing at all.

`python -m bench.servers.raw WORLD echo|tls`. The TLS is what the product's listener speaks
(1.3 with client certificates, no session tickets); there is no OCPP, no admission, no compression.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bench.commands import obey, say
from bench.world import ISSUER, LISTENER


def context(world: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(world / LISTENER)
    made.load_verify_locations(world / ISSUER)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.num_tickets = 0
    return made


async def echo(connection: ServerConnection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        return


class Greeter(asyncio.Protocol):
    """One byte, so that the peer knows that the handshake is complete on both sides."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"!")


async def main() -> None:
    tls = context(Path(sys.argv[1]))
    async with AsyncExitStack() as stack:
        if sys.argv[2] == "tls":
            loop = asyncio.get_running_loop()
            server: Any = await loop.create_server(Greeter, "127.0.0.1", 0, ssl=tls, backlog=1024)
        else:
            server = await stack.enter_async_context(
                serve(
                    echo,
                    "127.0.0.1",
                    0,
                    ssl=tls,
                    compression=None,
                    ping_interval=None,
                    subprotocols=[Subprotocol("ocpp2.0.1")],
                )
            )
        say({"port": server.sockets[0].getsockname()[1]})
        await obey({})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
