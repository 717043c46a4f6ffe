"""csms.gateway.listener: the gate lets few begin at once, and the slow do not hold it."""

import asyncio
import ssl

import pytest

from csms.gateway.listener import SLOT_SECONDS, HandshakeGate, tls_reason


def test_the_gate_holds_so_many_and_no_more() -> None:
    async def main() -> None:
        gate = HandshakeGate(2)
        first, _ = await gate.enter(), await gate.enter()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gate.enter(), SLOT_SECONDS / 5)
        first()
        await asyncio.wait_for(gate.enter(), SLOT_SECONDS / 5)

    asyncio.run(main())


def test_time_frees_a_slot_once_and_leaving_later_does_not_free_another() -> None:
    async def main() -> None:
        gate = HandshakeGate(1)
        slow = await gate.enter()
        await asyncio.wait_for(gate.enter(), SLOT_SECONDS * 4)  # freed by time
        slow()
        slow()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gate.enter(), SLOT_SECONDS / 5)

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
