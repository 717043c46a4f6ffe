"""csms.gateway.websocket: nothing a peer does makes a socket wait or grow without bound."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.protocol import State

from csms.gateway import websocket
from csms.gateway.websocket import Serving, StationSocket
from csms.settings import GatewaySettings
from tests.fixtures.gateway_house import LOOPS, eventually, frame, run, upgrade


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[StationSocket, socket.socket]]:
    """An open station socket and the raw peer."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    serving = Serving()
    serving.serving = True
    station_socket = StationSocket(GatewaySettings(), serving, ping_jitter=0.0)
    await loop.connect_accepted_socket(lambda: station_socket, ours)
    try:
        await loop.sock_sendall(theirs, upgrade())
        await station_socket.request_received()
        await station_socket.handshake(server_header=None)
        assert b" 101 " in await loop.sock_recv(theirs, 4096)
        yield station_socket, theirs
    finally:
        station_socket.transport.abort()
        theirs.close()
        await asyncio.sleep(0)
        await station_socket.wait_closed()


async def flood(sock: socket.socket) -> None:
    while True:
        pings = frame(b"x" * 125, opcode=9) * 200
        await asyncio.get_running_loop().sock_sendall(sock, pings)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_pings_of_a_peer_that_does_not_read_stop_being_read(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D12, D14: the pongs stay bounded, and after a while the connection ends."""
    monkeypatch.setattr(websocket, "SEND_SECONDS", 0.3)

    async def main() -> None:
        async with opened() as (ours, theirs):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flood(theirs), 0.2)
            assert ours.transport.get_write_buffer_size() < 1 << 20
            await eventually(lambda: ours.state is State.CLOSED)

    run(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_peer_that_reads_again_is_heard_again(loop: str) -> None:
    async def main() -> None:
        async with opened() as (ours, theirs):
            running = asyncio.get_running_loop()
            ours.pause_writing()
            await running.sock_sendall(theirs, frame(b"hello"))
            await asyncio.sleep(0.05)
            assert len(ours.recv_messages.frames) == 0
            ours.resume_writing()
            assert await asyncio.wait_for(ours.recv(), 2) == "hello"
            await ours.drained()

    run(loop, main)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_cut_sends_the_close_frame_and_ends_the_socket_whatever_the_peer_does(loop: str) -> None:
    async def main() -> None:
        async with opened() as (ours, theirs):
            running = asyncio.get_running_loop()
            began = running.time()
            ours.cut(1008, "revoked")
            ours.cut(1013, "again")
            ours.send_text("nothing more")
            assert await running.sock_recv(theirs, 100) == b"\x88\x09\x03\xf0revoked"
            await eventually(lambda: ours.state is State.CLOSED)
            assert running.time() - began < 2 * websocket.ABORT_SECONDS

    run(loop, main)


@pytest.mark.parametrize("size", [10, 300, 65_536], ids=["7 bit", "16 bit", "64 bit"])
@pytest.mark.parametrize("final", [True, False])
def test_a_frame_has_one_deadline_wherever_it_is_interrupted(size: int, *, final: bool) -> None:
    """D10: the parser takes the head out of the buffer field by field, and an empty buffer is not
    the end of a message.
    """

    async def main() -> None:
        async with opened() as (ours, _):
            whole = frame(b"x" * size, final=final)
            head = len(whole) - size
            ours.data_received(whole[:1])
            deadline = ours._assembly_timer
            assert deadline is not None
            for at in range(1, head + 5):
                ours.data_received(whole[at : at + 1])
                assert ours._assembly_timer is deadline, f"after {at + 1} octets"
            ours.data_received(whole[head + 5 :])
            if final:
                assert ours._assembly_timer is None
                return
            for _ in range(3):  # pongs in between are not progress
                ours.data_received(frame(b"", opcode=10))
                assert ours._assembly_timer is deadline
            ours.data_received(frame(b"", opcode=0))
            assert ours._assembly_timer is None

    run("asyncio", main)


def test_the_engines_own_log_is_silent_whatever_the_root_says() -> None:
    """At DEBUG it would write frames and Authorization headers."""
    import logging

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        assert not logging.getLogger("csms.gateway.websockets").isEnabledFor(logging.ERROR)
    finally:
        root.setLevel(before)
