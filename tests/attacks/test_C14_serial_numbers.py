"""C14: serial numbers, as the authority makes them: unguessable, unique, positive, below 2^159.

A forced duplicate gets another serial number:
tests/unit/pki/authority/test_pki_service.py::test_a_serial_that_is_taken_is_replaced.
"""

from __future__ import annotations

import secrets
from math import sqrt

import pytest

from pki.x509.template import SERIAL_OCTETS, serial_from
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES

RANDOM_BITS = 158  # bit 158 is always set, bit 159 never
# Seven standard deviations: chance fails this once in 10^11 runs.
SIGMA = 7


@pytest.mark.timeout(300)
def test_serial_numbers_are_positive_short_and_never_the_same(scoreboard: Scoreboard) -> None:
    """BR 7.1 wants 64 bits of a CSPRNG; the generator is the one that `pki.wiring` hands over."""
    row = scoreboard.row("C14", "serial numbers: duplicates, range, monobit and runs")
    count = SIZES.serials
    seen = set()
    ones = [0] * RANDOM_BITS
    total_ones = total_runs = 0
    for _ in range(count):
        serial = serial_from(secrets.token_bytes(SERIAL_OCTETS))
        assert 1 << RANDOM_BITS <= serial < 1 << RANDOM_BITS + 1
        seen.add(int(serial))
        value = serial - (1 << RANDOM_BITS)
        total_ones += value.bit_count()
        # A run ends wherever a bit differs from its neighbour.
        total_runs += ((value ^ value >> 1) & ((1 << RANDOM_BITS - 1) - 1)).bit_count() + 1
    for one in list(seen)[: SIZES.serials // 50]:
        for bit in range(RANDOM_BITS):
            ones[bit] += one >> bit & 1
    assert len(seen) == count, "a duplicate"
    bits = count * RANDOM_BITS
    assert abs(total_ones - bits / 2) < SIGMA * sqrt(bits) / 2, "monobit"
    expected = count * (1 + (RANDOM_BITS - 1) / 2)
    assert abs(total_runs - expected) < SIGMA * sqrt(count * (RANDOM_BITS - 1)) / 2, "runs"
    sample = SIZES.serials // 50
    moving = [
        bit for bit in range(RANDOM_BITS) if abs(ones[bit] - sample / 2) < SIGMA * sqrt(sample) / 2
    ]
    assert len(moving) == RANDOM_BITS, "each of the 158 bits is left to chance; BR 7.1 asks for 64"
    row.count(count)
    row.measure(f"{total_ones / bits:.5f} of the bits are 1, {len(moving)} bits of entropy")
