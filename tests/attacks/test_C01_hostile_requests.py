"""C01-C06, P35: more than ninety hostile requests, each through the whole running product.

SignCertificate over TLS, the gateway, the worker, the CA, OpenBao's signature, CertificateSigned:
what comes of it is the template's certificate, octet by octet, or a refusal with its reason.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.wire import RefusalReason
from pki.x509.csr import CSRRejected, parse_csr
from pki.x509.lint import lint
from tests.attacks.csr_corpus import ATTEMPTS, LIMIT, Asker, Attempt
from tests.attacks.expected_certificate import Expectation
from tests.attacks.product_station import ProductStation, Witness, pages, register
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.product import Product

ORGANIZATION = "Example CSO"
AT_ONCE = 8


@dataclass(frozen=True)
class Outcome:
    """What the station was told."""

    attempt: Attempt
    station: ProductStation
    asker: Asker
    csr: str
    answer: Any
    chain: str | None
    asked: datetime
    answered: datetime

    @property
    def what(self) -> tuple[str, Any]:
        return str(self.attempt), self.answer

    @property
    def at_the_door(self) -> RefusalReason | None:
        """Why it is refused while the station waits; None when only the CA can tell."""
        try:
            parse_csr(self.csr)
        except CSRRejected as error:
            return error.reason
        return None


def ask(attempt: Attempt, station: ProductStation) -> Outcome:
    asker = Asker(station.serial_number, ORGANIZATION, ec.generate_private_key(ec.SECP256R1()))
    csr, chain = attempt.make(asker), None
    asked = datetime.now(UTC)
    with station.connected() as wire:
        answer = station.sign(wire, csr)
        if not attempt.reasons:
            assert answer[0] == 3, (str(attempt), answer)
            assert answer[2] == {"status": "Accepted"}, (str(attempt), answer)
            message_id, signed = station.expect(wire, "CertificateSigned")
            chain = signed["certificateChain"]
            station.reply(wire, message_id, {"status": "Accepted"})
    return Outcome(attempt, station, asker, csr, answer, chain, asked, datetime.now(UTC))


@dataclass(frozen=True)
class Books:
    """What the operator sees of it afterwards, by station."""

    requests: dict[str, list[dict[str, Any]]]
    events: dict[str, list[dict[str, Any]]]
    audit: dict[str, list[dict[str, Any]]]


def books(product: Product, outcomes: list[Outcome]) -> Books:
    ours = {outcome.station.identity for outcome in outcomes}

    def settled() -> list[dict[str, Any]]:
        found = [one for one in pages(product, "certificate-requests") if one["station"] in ours]
        return found if all(one["status"] != "open" for one in found) else []

    requests = product.eventually(settled, 30)
    events = pages(product, "security-events")
    audit = [
        entry
        for action in ("certificate.request", "certificate.issue")
        for entry in pages(product, "audit/entries", action=action)
    ]
    return Books(
        {name: [one for one in requests if one["station"] == name] for name in ours},
        {name: [one for one in events if one["station"] == name] for name in ours},
        {
            name: [one for one in audit if one["subject"].lower() == f"station:{name.lower()}"]
            for name in ours
        },
    )


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_hostile_request_is_the_template_or_a_refusal_with_its_reason(
    product: Product, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C01-C05 P35", f"{len(ATTEMPTS)} hostile CSRs through the whole product")
    assert len(ATTEMPTS) >= 90
    stations = register(product, len(ATTEMPTS))
    with Witness(product) as witness, ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = list(threads.map(ask, ATTEMPTS, stations))
    kept = books(product, outcomes)
    leaves = []
    for outcome in outcomes:
        with row.attempt():
            if outcome.attempt.reasons:
                was_refused(outcome, kept)
            else:
                leaves.append(was_certified(product, outcome, kept))
    assert len({leaf.serial_number for leaf in leaves}) == len(leaves)
    verify_strictly(product, outcomes, tmp_path)
    row.measure(f"an honest station waited at most {witness.worst:.2f} s for an answer")
    row.measure(f"{len(leaves)} certified, {len(outcomes) - len(leaves)} refused")


def was_refused(outcome: Outcome, kept: Books) -> None:
    name = outcome.station.identity
    requests, audit = kept.requests[name], kept.audit[name]
    refused = [entry for entry in audit if entry["outcome"] == "refused"]
    if len(outcome.csr) > LIMIT or {"\x00", "\ud800"} & set(outcome.csr):
        # No message of the schema, or no JSON that we read: no handler ever sees it, and nothing
        # is written.
        assert outcome.answer[0] == 4, outcome.what
        assert outcome.answer[2] in {"FormatViolation", "PropertyConstraintViolation"}, outcome.what
        assert (requests, audit) == ([], []), outcome.what
        return
    assert outcome.answer[0] == 3, outcome.what
    assert not [
        entry for entry in audit if entry["action"] == "certificate.issue" and entry not in refused
    ]
    assert "CERTIFICATE REQUEST" not in repr(audit), "no text of an attacker's in the audit log"
    if (reason := outcome.at_the_door) is not None:
        assert outcome.answer[2]["status"] == "Rejected", outcome.what
        assert outcome.answer[2]["statusInfo"]["reasonCode"] == "InvalidCSR", outcome.what
        assert reason in outcome.attempt.reasons, outcome.what
        assert requests == []
        assert [entry["reason"] for entry in refused] == [reason], outcome.what
        return
    # T10: told Accepted before the CA has looked; the refusal is the operator's to see.
    assert outcome.answer[2] == {"status": "Accepted"}, outcome.what
    (request,) = requests
    assert request["status"] == "refused", outcome.what
    reason = RefusalReason(request["detail"].partition(":")[0])
    assert reason in outcome.attempt.reasons, (outcome.what, request["detail"])
    assert [entry["reason"] for entry in refused] == [reason], outcome.what
    (event,) = kept.events[name]
    assert event["type"] == "CertificateRequestRefused", outcome.what
    assert event["tech_info"].startswith(reason), outcome.what


def was_certified(product: Product, outcome: Outcome, kept: Books) -> x509.Certificate:
    name = outcome.station.identity
    assert outcome.chain is not None
    leaf, issuer = x509.load_pem_x509_certificates(outcome.chain.encode())
    Expectation(
        issuer=issuer,
        organization=ORGANIZATION,
        serial_number=outcome.station.serial_number,
        public_key=outcome.attempt.key(outcome.asker).public_key(),
        base_url=product.endpoints["pki"].rstrip("/"),
        asked=outcome.asked,
        answered=outcome.answered,
    ).check(leaf)
    lint(leaf.public_bytes(serialization.Encoding.DER))
    assert [one["status"] for one in kept.requests[name]] == ["issued"], outcome.what
    said = {event["tech_info"].partition(":")[0] for event in kept.events[name]}
    wanted = {outcome.attempt.anomaly} if outcome.attempt.anomaly else set()
    assert said == wanted, outcome.what
    assert {entry["outcome"] for entry in kept.audit[name]} == {"success"}, outcome.what
    return leaf


def verify_strictly(product: Product, outcomes: list[Outcome], directory: Path) -> None:
    """By an implementation that nobody here wrote, with every check of RFC 5280 that it knows."""
    chains = [outcome.chain for outcome in outcomes if outcome.chain is not None]
    files = []
    for number, chain in enumerate(chains):
        leaf, _, issuer = chain.partition("-----END CERTIFICATE-----\n")
        (directory / "issuer.pem").write_text(issuer)
        files.append(directory / f"{number}.pem")
        files[-1].write_text(leaf + "-----END CERTIFICATE-----\n")
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient"]
    trust = ["-CAfile", str(product.root_pem), "-untrusted", str(directory / "issuer.pem")]
    done = subprocess.run(
        [*command, *trust, *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len(files)
