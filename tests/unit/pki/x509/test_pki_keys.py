"""Which keys are certified: T12 and C03, one key per weakness."""

from __future__ import annotations

from datetime import date
from functools import cache
from math import prod

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki.x509 import keys
from tests.fixtures.pki_memory import profiles

TODAY = date(2026, 3, 1)
POLICY = profiles().key_policy


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda c: c.name)
def test_the_two_curves_are_accepted(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    assert keys.check_key(key, policy=POLICY, today=TODAY) == key


@pytest.mark.parametrize(
    "curve",
    [ec.SECP224R1(), ec.SECP256K1(), ec.SECP521R1(), ec.BrainpoolP256R1()],
    ids=lambda c: c.name,
)
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(keys.KeyWeak, match="curve"):
        keys.check_key(ec.generate_private_key(curve).public_key(), policy=POLICY, today=TODAY)


def test_ed25519_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(keys.KeyWeak, match="neither"):
        keys.check_key(key, policy=POLICY, today=TODAY)


def test_rsa_3072_is_accepted() -> None:
    key = rsa_key(3072).public_key()
    assert keys.check_key(key, policy=POLICY, today=TODAY) == key


@pytest.mark.parametrize("bits", [3072, 3073, 4096])
def test_rsa_sizes_inside_the_bounds(bits: int) -> None:
    keys.check_rsa_size(bits, policy=POLICY, today=TODAY)


@pytest.mark.parametrize("bits", [1024, 2047, 2048, 2049, 3071, 4097, 8192, 16384])
def test_rsa_sizes_outside_the_bounds(bits: int) -> None:
    """C04: refused by size alone, before any arithmetic."""
    with pytest.raises(keys.KeyWeak, match="bits"):
        keys.check_rsa_size(bits, policy=POLICY, today=TODAY)


def _until(day: date) -> keys.KeyPolicy:
    return keys.KeyPolicy(
        curves=frozenset({"P-256"}), rsa_bits_min=3072, rsa_bits_max=4096, rsa_2048_until=day
    )


def test_rsa_2048_passes_up_to_the_last_day_of_its_flag() -> None:
    """T12."""
    keys.check_rsa_size(2048, policy=_until(TODAY), today=TODAY)


def test_rsa_2048_is_refused_the_day_after() -> None:
    with pytest.raises(keys.KeyWeak):
        keys.check_rsa_size(2048, policy=_until(date(2026, 2, 28)), today=TODAY)


def test_the_flag_lets_nothing_smaller_in() -> None:
    with pytest.raises(keys.KeyWeak):
        keys.check_rsa_size(2047, policy=_until(TODAY), today=TODAY)


def test_a_sound_modulus_passes() -> None:
    keys.check_rsa_numbers(n=rsa_key(3072).public_key().public_numbers().n, e=65537)


@pytest.mark.parametrize("exponent", [1, 3, 17, 65539])
def test_another_exponent_is_refused(exponent: int) -> None:
    with pytest.raises(keys.KeyWeak, match="exponent"):
        keys.check_rsa_numbers(n=rsa_key(3072).public_key().public_numbers().n, e=exponent)


def test_an_even_modulus_is_refused() -> None:
    with pytest.raises(keys.KeyWeak, match="even"):
        keys.check_rsa_numbers(n=1 << 3071, e=65537)


@pytest.mark.parametrize("factor", [3, 5, 751])
def test_a_small_factor_is_refused(factor: int) -> None:
    numbers = rsa_key(3072).private_numbers()
    with pytest.raises(keys.KeyWeak, match="small factor"):
        keys.check_rsa_numbers(n=numbers.p * factor, e=65537)


def test_the_roca_fingerprint_is_refused() -> None:
    """CVE-2017-15361: p = k*M + 65537^a mod M, M a primorial."""
    primorial = prod(p for p in range(2, 702) if all(p % d for d in range(2, p)))
    modulus = prod(
        (k << 200) * primorial + pow(65537, a, primorial) for k, a in ((12345, 77), (54321, 99))
    )
    assert modulus % 2 == 1
    with pytest.raises(keys.KeyWeak, match="ROCA"):
        keys.check_rsa_numbers(n=modulus, e=65537)


@pytest.mark.parametrize("distance", [0, 2, 1000])
def test_factors_that_lie_close_together_are_refused(distance: int) -> None:
    """Fermat's method; both factors are chosen free of small primes."""
    p = rsa_key(3072).private_numbers().p
    q = p + distance
    while any(q % small == 0 for small in range(3, 752, 2)):
        q += 2
    with pytest.raises(keys.KeyWeak, match="close"):
        keys.check_rsa_numbers(n=p * q, e=65537)
