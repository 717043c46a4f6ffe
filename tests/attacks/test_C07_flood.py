"""C07: SignCertificate in thousands. The flooder gets its budget's worth and leaves few rows; the
others get their certificates meanwhile, each key one.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from csms.domain.signing_budget import BURST, SECONDS_EACH
from tests.attacks.csr_corpus import Asker, compressed, hybrid
from tests.attacks.product_station import (
    ProductStation,
    Witness,
    pages,
    register,
    rows,
    scalar,
    signatures,
)
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures import pki_hostile as h
from tests.fixtures.product import Product

TABLES = ("audit_entries", "security_events", "certificate_requests", "jobs")
AT_ONCE = 8


def asker_for(station: ProductStation) -> Asker:
    return Asker(station.serial_number, "Example CSO", ec.generate_private_key(ec.SECP256R1()))


def honest(station: ProductStation) -> float:
    """Seconds from SignCertificate to CertificateSigned."""
    csr = h.pem(asker_for(station).der())
    with station.connected() as wire:
        began = time.monotonic()
        assert station.sign(wire, csr)[2] == {"status": "Accepted"}
        message_id, signed = station.expect(wire, "CertificateSigned")
        took = time.monotonic() - began
        assert signed["certificateChain"].count("BEGIN CERTIFICATE") == 2
        station.reply(wire, message_id, {"status": "Accepted"})
        # Answered: the CSMS has heard it, and sends it no more.
        assert station.call(wire, "Heartbeat", {})[0] == 3
    return took


def flood(station: ProductStation, count: int) -> list[str]:
    """So many CSRs one behind the other: new keys, old keys signed anew, repeats, rubbish."""
    asker = asker_for(station)
    words = []
    repeated = h.pem(asker.der())
    with station.connected() as wire:
        for number in range(count):
            csr = (
                repeated,
                h.pem(asker_for(station).der()),
                h.pem(asker.der()),
                "rubbish",
            )[number % 4]
            answer = station.sign(wire, csr)
            assert answer[0] == 3, answer
            words.append(answer[2].get("statusInfo", {}).get("reasonCode", "Accepted"))
    return words


def settled(product: Product) -> bool:
    statement = "select count(*) from jobs where state = 'waiting' and kind = 'issue_certificate'"
    return int(scalar(product, statement)) == 0


def resident_megabytes(product: Product) -> float:
    assert product.process is not None
    status = Path(f"/proc/{product.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def grown(product: Product, before: dict[str, int]) -> dict[str, int]:
    return {table: rows(product, table) - count for table, count in before.items()}


def issued_to(product: Product, station: ProductStation) -> list[dict[str, Any]]:
    return pages(product, "certificates", station=station.identity)


def p95(seconds: list[float]) -> str:
    return f"{quantiles(seconds, n=20)[-1]:.2f} s"


@pytest.mark.timeout(300)
def test_one_station_that_floods_gets_its_budget_and_the_others_their_certificates(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row(
        "C07", f"one station, {SIZES.flood} SignCertificates, beside {SIZES.honest} honest ones"
    )
    flooder, *others = register(product, 1 + SIZES.honest)
    product.eventually(lambda: settled(product))
    signed, before = signatures(product), {table: rows(product, table) for table in TABLES}
    log_size, memory = product.log_file.stat().st_size, resident_megabytes(product)
    began = time.monotonic()
    with Witness(product) as witness, ThreadPoolExecutor(AT_ONCE) as threads, row.attempt():
        flooding: Future[list[str]] = threads.submit(flood, flooder, SIZES.flood)
        waited = list(threads.map(honest, others))
        words = flooding.result()
        product.eventually(lambda: settled(product))
        granted = BURST + (time.monotonic() - began) / SECONDS_EACH
        assert words[BURST:].count("TooManyRequests") == len(words) - words.count(
            "Accepted"
        ) - words.count("InvalidCSR")
        assert len(words) - words.count("TooManyRequests") <= granted
        mine = issued_to(product, flooder)
        assert 1 <= len(mine) <= granted
        assert signatures(product) - signed == len(others) + len(mine), "one for each certificate"
        for station in others:
            assert len(issued_to(product, station)) == 1
    statement = "select count(*) - count(distinct public_key_sha256) from certificates"
    assert scalar(product, statement, database="pki") == 0, "exactly one for each distinct key"
    more = grown(product, before)
    # An honest station's certificate takes six rows of the audit log: it comes, boots, asks, is
    # answered, is sent it, has it. The flooder's requests and the floods on record come on top.
    assert more["audit_entries"] <= 7 * (len(others) + 1) + 6 * granted, more
    assert more["security_events"] <= granted, more
    assert more["certificate_requests"] <= len(others) + granted, more
    row.measure(f"{words.count('TooManyRequests')} refused, {len(mine)} signed for the flooder")
    row.measure(f"honest p95 {p95(waited)}")
    row.measure(f"a witness waited at most {witness.worst:.2f} s")
    row.measure(f"{product.log_file.stat().st_size - log_size} octets of log")
    row.measure(f"{resident_megabytes(product) - memory:+.1f} MB")


@pytest.mark.timeout(300)
def test_many_stations_that_flood_do_not_starve_the_others(
    product: Product, scoreboard: Scoreboard
) -> None:
    """Each of them has its budget, and all of them one CA: first come, first served, and a station
    with many requests waits for itself.
    """
    row = scoreboard.row("C07", f"{SIZES.flooders} stations flood at once, beside honest ones")
    flooders = register(product, SIZES.flooders)
    others = register(product, SIZES.honest)
    each = 3 * BURST
    with ThreadPoolExecutor(SIZES.flooders) as hostile, ThreadPoolExecutor(4) as threads:
        floods = [hostile.submit(flood, station, each) for station in flooders]
        with row.attempt():
            waited = list(threads.map(honest, others))
            for words in [one.result() for one in floods]:
                assert words.count("TooManyRequests") >= each - BURST - 2
            for station in others:
                assert len(issued_to(product, station)) == 1
    product.eventually(lambda: settled(product), 60)
    row.measure(f"honest p95 {p95(waited)}")


def test_a_flood_that_breaks_the_schema_ends_the_connection_and_is_on_record_once(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C07 C04", "a flood of SignCertificate with 5,501 characters")
    (station,) = register(product, 1)
    with row.attempt(), station.connected() as wire:
        before = {table: rows(product, table) for table in TABLES}
        answers = 0
        try:
            for _ in range(200):
                assert station.sign(wire, "x" * 5_501)[0] == 4
                answers += 1
        except (AssertionError, OSError):
            pass
        assert answers <= 20
        product.eventually(lambda: grown(product, before)["security_events"] == 1)
        assert grown(product, before)["certificate_requests"] == 0
        assert grown(product, before)["audit_entries"] == 0


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_the_same_key_in_other_words_is_the_same_certificate(
    product: Product, scoreboard: Scoreboard
) -> None:
    """Idempotent by (station, key): ECDSA's other signature, a compressed point, CRLF, a wish: each
    another text, none another signature of the CA.
    """
    row = scoreboard.row("C06 C07", "one key in many CSR texts")
    (station,) = register(product, 1)
    asker = asker_for(station)
    der = asker.der()
    wish = h.extensions(h.extension(h.UNKNOWN, b"\x05\x00"))
    texts = {
        "itself": h.pem(der),
        "again": h.pem(der),
        "(r, n-s)": h.pem(h.other_signature(der)),
        "signed anew": h.pem(asker.der()),
        "CRLF": h.pem(der).replace("\n", "\r\n"),
        "a compressed point": h.pem(asker.der(public_key=compressed(asker.key))),
        "a hybrid point": h.pem(asker.der(public_key=hybrid(asker.key))),
        "with a wish": (wished := h.pem(asker.der(attributes=[wish]))),
        "that again": wished,
    }
    product.eventually(lambda: settled(product))
    signed = signatures(product)
    chains = set()
    with station.connected() as wire:
        for what, text in texts.items():
            with row.attempt():
                assert station.sign(wire, text)[2] == {"status": "Accepted"}, what
                message_id, said = station.expect(wire, "CertificateSigned")
                chains.add(said["certificateChain"])
                station.reply(wire, message_id, {"status": "Accepted"})
    assert len(chains) == 1
    assert signatures(product) - signed == 1
    assert len(issued_to(product, station)) == 1


@pytest.mark.timeout(300)
def test_stations_that_never_answer_do_not_hold_up_the_others(
    product: Product, scoreboard: Scoreboard
) -> None:
    """Each takes ten certificates and confirms none, so that every CertificateSigned waits for its
    time to run out. A station has one CALL at a time, so that more than one place in the worker's
    lane would be of no use to it; to the others it is.
    """
    row = scoreboard.row("C07", f"{SIZES.silent} stations that answer no CertificateSigned")
    silent = register(product, SIZES.silent)
    others = register(product, SIZES.honest)
    with ExitStack() as connections:
        wires = [connections.enter_context(station.connected()) for station in silent]
        for _ in range(BURST):
            for station, wire in zip(silent, wires, strict=True):
                csr = h.pem(asker_for(station).der())
                assert station.sign(wire, csr)[2] == {"status": "Accepted"}
            product.eventually(lambda: settled(product))
        with row.attempt(), ThreadPoolExecutor(4) as threads:
            waited = list(threads.map(honest, others))
    row.measure(f"honest p95 {p95(waited)}")
