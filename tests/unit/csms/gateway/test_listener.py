"""csms.gateway.listener: the gate lets few begin at once, and the slow do not hold it."""

import asyncio
import socket
import ssl

import pytest

from csms.domain.failure_budget import Source
from csms.gateway.budget import source_of
from csms.gateway.listener import SLOT_SECONDS, Farewell, HandshakeGate, tls_reason

A, B = source_of("192.0.2.1"), source_of("192.0.2.2")


def test_the_gate_holds_so_many_and_no_more() -> None:
    async def main() -> None:
        gate = HandshakeGate(2)
        first, _ = await gate.enter(A), await gate.enter(A)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gate.enter(A), SLOT_SECONDS / 5)
        first()
        await asyncio.wait_for(gate.enter(A), SLOT_SECONDS / 5)

    asyncio.run(main())


def test_time_frees_a_slot_once_and_leaving_later_does_not_free_another() -> None:
    async def main() -> None:
        gate = HandshakeGate(1)
        slow = await gate.enter(A)
        await asyncio.wait_for(gate.enter(A), SLOT_SECONDS * 4)  # freed by time
        slow()
        slow()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gate.enter(A), SLOT_SECONDS / 5)

    asyncio.run(main())


def test_sources_take_turns_however_many_wait_from_one() -> None:
    async def main() -> None:
        gate = HandshakeGate(1)
        order: list[str] = []

        async def enter(source: Source, who: str) -> None:
            leave = await gate.enter(source)
            order.append(who)
            leave()

        leave = await gate.enter(A)
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(enter(A, f"greedy {number}"))
            await asyncio.sleep(0)
            group.create_task(enter(B, "honest"))
            await asyncio.sleep(0)
            leave()
        assert order.index("honest") == 1
        assert gate._free == 1
        assert not gate._waiting

    asyncio.run(main())


def test_who_stops_waiting_takes_no_slot_with_it() -> None:
    async def main() -> None:
        gate = HandshakeGate(1)
        leave = await gate.enter(A)
        loop = asyncio.get_running_loop()
        gone, late = (loop.create_task(gate.enter(A)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        leave()  # the slot is for `late`, who goes at that very moment
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert gate._free == 1
        (await asyncio.wait_for(gate.enter(B), 1))()

    asyncio.run(main())


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] at 0x7f")
    error.reason, error.verify_message = "CERTIFICATE_VERIFY_FAILED", "certificate has expired"
    return error


def library_error() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: NO_SHARED_CIPHER] no shared cipher (_ssl.c:1006)")
    error.reason = "NO_SHARED_CIPHER"
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (certificate_error(), "CERTIFICATE_VERIFY_FAILED: certificate has expired"),
        (library_error(), "NO_SHARED_CIPHER"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "handshake timeout"),
        (TimeoutError(), "handshake timeout"),
        (ConnectionResetError(), "ConnectionResetError"),
        (ssl.SSLEOFError(), "SSLEOFError"),
    ],
)
def test_a_refused_handshake_is_recorded_in_openssls_words(error: Exception, reason: str) -> None:
    assert tls_reason(error) == reason


@pytest.mark.parametrize(
    ("reason", "alert"),
    [
        ("UNSUPPORTED_PROTOCOL", b"\x15\x03\x01\x00\x02\x02\x46"),  # protocol_version
        ("NO_SHARED_CIPHER", b"\x15\x03\x01\x00\x02\x02\x28"),  # handshake_failure
        ("CERTIFICATE_VERIFY_FAILED: expired", b""),  # in TLS 1.3 it would have to be encrypted
        ("HTTP_REQUEST", b""),
    ],
)
def test_what_failed_before_our_hello_is_told_though_the_socket_is_closed(
    reason: str, alert: bytes
) -> None:
    peer, ours = socket.socketpair()
    farewell = Farewell(ours, wanted=True)
    ours.close()
    farewell.say(reason)
    farewell.end()
    with peer:
        peer.settimeout(3)
        assert peer.recv(100) == alert


def test_there_is_no_farewell_without_tls_without_a_descriptor_or_to_who_has_gone() -> None:
    peer, ours = socket.socketpair()
    silent = Farewell(ours, wanted=False)
    ours.close()
    without = Farewell(ours, wanted=True)  # as when none is left: it cannot be doubled
    gone, other = socket.socketpair()
    late = Farewell(other, wanted=True)
    gone.close()
    for farewell in (silent, without, late):
        farewell.say("NO_SHARED_CIPHER")
        farewell.end()
    other.close()
    with peer:
        assert peer.recv(100) == b""
