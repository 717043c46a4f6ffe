"""C06: one key, one station, one certificate, through the whole product; a key that was revoked is
dead for everybody.

Certificates of listeners and callers may share a key, and fall together when it is compromised:
tests/integration/test_pki_store.py::test_a_compromised_key_takes_all_its_certificates_with_it.
A station's cannot: tests/integration/test_pki_store.py, the unique index on station keys.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.attacks.csr_corpus import Asker
from tests.attacks.product_station import ProductStation, pages, register, scalar, signatures
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures import pki_hostile as h
from tests.fixtures.pki_memory import spki_sha256
from tests.fixtures.product import Product


def text(station: ProductStation, key: ec.EllipticCurvePrivateKey) -> str:
    """A CSR of that station with that key; never the same text twice, since ECDSA is random."""
    return h.pem(Asker(station.serial_number, "Example CSO", key).der())


def enrolled(station: ProductStation, csr: str, answer: str = "Accepted") -> str:
    """The certificate chain."""
    with station.connected() as wire:
        assert station.sign(wire, csr)[2] == {"status": "Accepted"}
        message_id, signed = station.expect(wire, "CertificateSigned")
        station.reply(wire, message_id, {"status": answer})
        status = answer.lower()
        station.product.eventually(lambda: certificates(station)[0]["status"] == status)
    return str(signed["certificateChain"])


def certificates(station: ProductStation) -> list[dict[str, Any]]:
    return pages(station.product, "certificates", station=station.identity)


def refused(station: ProductStation, csr: str) -> str:
    """The detail of the refusal; and the operator sees it, and no certificate comes of it."""
    before = (signatures(station.product), len(certificates(station)))
    with station.connected() as wire:
        assert station.sign(wire, csr)[2] == {"status": "Accepted"}

        def decided() -> dict[str, Any] | None:
            newest = pages(station.product, "certificate-requests")
            mine = [one for one in newest if one["station"] == station.identity]
            return mine[0] if mine and mine[0]["status"] != "open" else None

        request = station.product.eventually(decided)
        assert request["status"] == "refused", request
        station.said_nothing(wire)
    event = pages(station.product, "security-events", station=station.identity)[0]
    assert (event["type"], event["tech_info"]) == ("CertificateRequestRefused", request["detail"])
    assert (signatures(station.product), len(certificates(station))) == before
    return str(request["detail"])


def revoke(station: ProductStation, reason: str) -> None:
    (certificate, *_) = certificates(station)
    path = f"/api/v1/certificates/{certificate['id']}/revocation"
    assert station.product.api("POST", path, {"reason": reason}).status_code == 200


def blocked(product: Product, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether the CA has heard of it: the job comes after the cut."""
    statement = "select blocked from public_keys where public_key_sha256 = ?"
    return bool(scalar(product, statement, spki_sha256(key), database="pki"))


@pytest.mark.timeout(120)
def test_a_key_has_one_station_and_one_certificate(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C06", "another's key, one's own again, revoked keys, deleted stations")
    first, second = register(product, 2)
    key = ec.generate_private_key(ec.SECP256R1())
    enrolled(first, text(first, key))
    with row.attempt():
        assert refused(second, text(second, key)).startswith("key_reused")
    with row.attempt():
        # A renewal with the same key is the same certificate, and no signature.
        signed = signatures(product)
        with first.connected() as wire:
            assert first.sign(wire, text(first, key))[2] == {"status": "Accepted"}
            first.reply(wire, first.expect(wire, "CertificateSigned")[0], {"status": "Accepted"})
        assert (len(certificates(first)), signatures(product)) == (1, signed)
    revoke(first, "keyCompromise")
    with row.attempt():
        # Cut off at once, whether or not the CA has heard of it.
        assert refused(first, text(first, key)).startswith("key_reused")
    product.eventually(lambda: blocked(product, key))
    for station in (first, second):
        with row.attempt():
            assert refused(station, text(station, key)).startswith("key_reused")
    assert [one["status"] for one in certificates(first)] == ["revoked"]
    with row.attempt():
        # The same station, deleted and registered anew: its old key stays dead.
        assert product.api("DELETE", f"/api/v1/stations/{first.identity}").status_code == 204
        body = {
            "identity": first.identity,
            "serial_number": first.serial_number,
            "security_profile": 2,
        }
        answer = product.api("POST", "/api/v1/stations", body)
        assert answer.status_code == 201, answer.text
        again = ProductStation(
            product, first.identity, first.serial_number, answer.json()["password"]
        )
        assert refused(again, text(again, key)).startswith("key_reused")
    with row.attempt():
        assert enrolled(again, text(again, ec.generate_private_key(ec.SECP256R1())))


@pytest.mark.timeout(60)
def test_a_certificate_that_is_over_gives_its_key_no_second_life(
    product: Product, scoreboard: Scoreboard
) -> None:
    """C11: rejected is final until somebody acts; that it is asked for again is seen."""
    row = scoreboard.row("C06 C11", "the key of a certificate that the station rejected, revoked")
    rejected, revoked = register(product, 2)
    key = ec.generate_private_key(ec.SECP256R1())
    first = text(rejected, key)
    enrolled(rejected, first, answer="Rejected")
    with row.attempt():
        assert refused(rejected, text(rejected, key)) == (
            "key_reused: the key's certificate is rejected"
        )
    with row.attempt(), rejected.connected() as wire:
        # The very same text: told so while it waits.
        answer = rejected.sign(wire, first)
        assert answer[2]["status"] == "Rejected"
    other = ec.generate_private_key(ec.SECP256R1())
    enrolled(revoked, text(revoked, other))
    revoke(revoked, "superseded")
    with row.attempt():
        assert refused(revoked, text(revoked, other)).startswith("key_reused")
