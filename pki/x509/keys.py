"""Which public keys may stand in a certificate: A00.FR.501-504, tension T12, attack C03.

P-256, P-384 and RSA of 3072 to 4096 bits with exponent 65537. RSA-2048 only by a policy entry
that ends on a day. Sizes are looked at before any arithmetic, so that a 16,384-bit modulus costs
nothing. Debian's weak RSA keys of 2008 have no list here: their published blocklists are of sizes
that the policy refuses, but for 4096 bits, and for 2048 while that entry lasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from math import gcd, isqrt, prod
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

_RSA_EXPONENT: Final = 65537
_FERMAT_ROUNDS: Final = 100  # CA/Browser Forum BR 6.1.1.3
_RSA_TRANSITION_BITS: Final = 2048

type_of_curve: Final = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class KeyWeak(ValueError):
    """The key is not one we certify; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """Comes out of `profile.load_profiles` only, which refuses weaker values."""

    curves: frozenset[str]
    rsa_bits_min: int
    rsa_bits_max: int
    rsa_2048_until: date | None


def _primes_up_to(limit: int) -> list[int]:
    return [n for n in range(3, limit) if all(n % d for d in range(2, isqrt(n) + 1))]


# Boulder's goodkey refuses factors up to 752; one gcd with their product finds any of them.
_SMALL_PRIMES_PRODUCT: Final = prod(_primes_up_to(752))
# ROCA (CVE-2017-15361): such a modulus lies, for each of these primes, in the subgroup that 65537
# generates. A sound modulus does so for all of them once in about 2^27.
_ROCA_PRIMES: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_SUBGROUPS: Final = {
    prime: frozenset(pow(_RSA_EXPONENT, power, prime) for power in range(prime))
    for prime in _ROCA_PRIMES
}


def check_key(key: CertificatePublicKeyTypes, *, policy: KeyPolicy, today: date) -> PublicKey:
    """Raises KeyWeak; returns the key, now known to be of a type we certify."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not any(isinstance(key.curve, type_of_curve[name]) for name in policy.curves):
            raise KeyWeak(f"curve {key.curve.name} is not allowed")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        check_rsa_size(key.key_size, policy=policy, today=today)
        numbers = key.public_numbers()
        check_rsa_numbers(n=numbers.n, e=numbers.e)
        return key
    raise KeyWeak("neither an elliptic curve key nor RSA")


def check_rsa_size(bits: int, *, policy: KeyPolicy, today: date) -> None:
    if policy.rsa_bits_min <= bits <= policy.rsa_bits_max:
        return
    # T12: OCPP's floor is 2048 (A00.FR.502), BSI's is not (A00.FR.504): by flag, until a day.
    until = policy.rsa_2048_until
    if bits == _RSA_TRANSITION_BITS and until is not None and today <= until:
        return
    raise KeyWeak(f"RSA of {bits} bits is not allowed")


def check_rsa_numbers(*, n: int, e: int) -> None:
    """Raises KeyWeak for keys that a known attack breaks, whatever their size (C03)."""
    if e != _RSA_EXPONENT:
        raise KeyWeak("the RSA exponent is not 65537")
    if n % 2 == 0:
        raise KeyWeak("the RSA modulus is even")
    if gcd(n, _SMALL_PRIMES_PRODUCT) != 1:
        raise KeyWeak("the RSA modulus has a small factor")
    if all(n % prime in group for prime, group in _ROCA_SUBGROUPS.items()):
        raise KeyWeak("the RSA modulus has the ROCA fingerprint (CVE-2017-15361)")
    if _fermat_factors(n):
        raise KeyWeak("the factors of the RSA modulus lie too close together")


def _fermat_factors(n: int) -> bool:
    """Whether Fermat's method finds n = (a-b)(a+b) within the rounds that BR 6.1.1.3 asks for."""
    a = isqrt(n)
    if a * a < n:
        a += 1
    for _ in range(_FERMAT_ROUNDS):
        square = a * a - n
        root = isqrt(square)
        if root * root == square:
            return True
        a += 1
    return False
