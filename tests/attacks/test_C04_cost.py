"""C04: what a hostile request costs, before and after it is known to be hostile.

Size before PEM, PEM before DER, the key's algorithm and size before any arithmetic. The library
holds the whole process while it works, so that a request that costs seconds stops every station.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.x509 import csr as csr_module
from pki.x509.csr import CSRRejected, parse_csr, verify_csr
from tests.attacks.csr_corpus import ATTEMPTS, WEAK_KEYS, Asker, diffie_hellman
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures import pki_hostile as h
from tests.fixtures.pki_memory import profiles

POLICY = profiles().key_policy
ASKER = Asker("CS001", "Example CSO", ec.generate_private_key(ec.SECP256R1()))
# A guard against standing still, far above what anything here costs, and far below what it did.
GUARD_SECONDS = 2.0


def verify(pem: str) -> None:
    verify_csr(pem, policy=POLICY, today=date(2026, 3, 1))


def cost(work: Callable[[str], object], pem: str) -> float:
    """Milliseconds; the quickest of three, which is the work without the others' turns."""
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        with suppress(CSRRejected):
            work(pem)
        spent.append(time.perf_counter() - began)
    return 1000 * min(spent)


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_no_hostile_request_costs_more_than_an_honest_one_might(scoreboard: Scoreboard) -> None:
    row = scoreboard.row("C04", "the cost of each hostile CSR, at the door and at the CA")
    costs = {}
    for attempt in ATTEMPTS:
        with row.attempt():
            pem = attempt.make(ASKER)
            costs[str(attempt)] = (cost(parse_csr, pem), cost(verify, pem))
            assert max(costs[str(attempt)]) < 1000 * GUARD_SECONDS, attempt
    for place, name in enumerate(("parse_csr", "verify_csr")):
        worst = max(costs, key=lambda what: costs[what][place])
        row.measure(f"{name} at most {costs[worst][place]:.2f} ms ({worst})")
    for what in ("C03 RSA-16384", "C03 Diffie-Hellman", "C04 5501 characters"):
        row.measure(f"{what[4:]} {costs[what][1]:.3f} ms")


@contextmanager
def never(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[None]:
    def called(*_: object, **__: object) -> None:
        raise AssertionError(f"{name} was asked")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, called)
        yield


def test_what_is_too_long_is_not_searched_for_pem(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never:
        def fullmatch(self, _: str) -> None:
            raise AssertionError("searched")

    monkeypatch.setattr(csr_module, "_PEM", Never())
    with pytest.raises(CSRRejected):
        parse_csr("-" * 5501)


def test_what_is_no_pem_is_not_read_as_der(monkeypatch: pytest.MonkeyPatch) -> None:
    with never(monkeypatch, x509, "load_der_x509_csr"), pytest.raises(CSRRejected):
        parse_csr("-----BEGIN CERTIFICATE REQUEST-----")


@pytest.mark.parametrize("name", [name for name in WEAK_KEYS if name.startswith("RSA-")])
def test_a_modulus_of_the_wrong_size_sees_no_arithmetic(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = h.pem(ASKER.der(public_key=WEAK_KEYS[name](ASKER)))
    with (
        never(monkeypatch, sys.modules["pki.x509.keys"], "check_rsa_numbers"),
        never(monkeypatch, csr_module, "_prove_possession"),
        pytest.raises(CSRRejected),
    ):
        verify(pem)


def test_a_diffie_hellman_key_does_not_stop_the_process(scoreboard: Scoreboard) -> None:
    """The library tests such a modulus for primality as it reads it: 44 s at 9,941 bits, measured,
    in which no other thread of the process runs. In a process of its own, since nothing in this one
    could end it.
    """
    row = scoreboard.row("C04", "a Diffie-Hellman key with a prime modulus of 9,941 bits")
    pem = h.pem(ASKER.der(public_key=diffie_hellman()))
    program = (
        "import sys; from datetime import date; from pki.x509.csr import *;"
        "from tests.fixtures.pki_memory import profiles\n"
        "try: verify_csr(sys.stdin.read(), policy=profiles().key_policy, today=date(2026, 3, 1))\n"
        "except CSRRejected as error: print(error.reason)"
    )
    with row.attempt():
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=pem,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert done.stdout.strip() == "weak_key"
