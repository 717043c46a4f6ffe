"""csms.gateway.server: starting and stopping, also when it fails."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from csms.gateway.server import Gateway
from csms.gateway.tls import load_policy
from tests.fixtures.gateway_house import POLICIES, World, house, run


def test_a_taken_port_stops_the_start_and_nothing_stays_open(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            async with house(world, tmp_path) as home:
                again = like(home.gateway, profile3_port=port)
                with pytest.raises(OSError, match="in use"):
                    await again.start()
                assert again._listeners == []
                assert not again.health().accepting
                await again.stop()

    run("asyncio", main)


def like(gateway: Gateway, **settings: Any) -> Gateway:
    """Another gateway in the same house."""
    around = gateway._around
    return Gateway(
        settings=gateway._settings.model_copy(update=settings),
        bind="127.0.0.1",
        node="node-2",
        organization="O",
        peppers=gateway._house.peppers,
        policy=load_policy(POLICIES, "modern"),
        chain_file=gateway._chain_file,
        key_file=gateway._key_file,
        station_issuers_pem=gateway._station_issuers_pem,
        store=around.store,
        bus=around.bus,
        clock=around.clock,
        randomness=around.randomness,
    )


def test_a_gateway_starts_again_after_it_was_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with house(world, tmp_path) as home:
            await home.gateway.stop()
            await home.gateway.stop()
            assert not home.gateway.health().accepting
            ports = await home.gateway.start()
            assert set(ports) == {"2", "3"}
            assert home.gateway.health().database_available
            reader, writer = await asyncio.open_connection("127.0.0.1", ports["2"])
            writer.close()
            await writer.wait_closed()
            del reader

    run("asyncio", main)


def test_ipv6_is_bound_as_such(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with house(world, tmp_path) as home:
            other = like(home.gateway)
            other._bind = "::1"
            try:
                ports = await other.start()
            except OSError:
                assert not Path("/proc/net/if_inet6").exists()  # a machine without IPv6
                return
            _, writer = await asyncio.open_connection("::1", ports["2"])
            writer.close()
            await writer.wait_closed()
            await other.stop()

    run("asyncio", main)
