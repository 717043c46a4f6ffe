"""C11: the station does not want its new certificate. The old one goes on; nothing is sent again
until somebody acts; a chain never outgrows what a station must be able to take.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.attacks.csr_corpus import Asker, rsa_key
from tests.attacks.product_station import pages, register, scalar
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.test_C06_key_reuse import certificates, enrolled, text
from tests.fixtures import pki_hostile as h
from tests.fixtures.product import Product

CERTIFICATE_CHAIN = 10_000  # MaxCertificateChainSize at most, and the schema's bound


def leaf_file(directory: Path, key: ec.EllipticCurvePrivateKey, chain: str) -> Path:
    file = directory / "station.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_text(private.decode() + chain)
    return file


@pytest.mark.timeout(60)
def test_a_rejected_certificate_leaves_the_old_one_alone_and_is_not_sent_again(
    product: Product, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C11", "a renewal that the station rejects (A02.FR.20, T14)")
    (station,) = register(product, 1)
    key, newer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    leaf = leaf_file(tmp_path, key, enrolled(station, text(station, key)))

    def statuses() -> list[str]:
        return sorted(str(one["status"]) for one in certificates(station))

    with row.attempt(), station.connected(leaf=leaf) as wire:
        product.eventually(lambda: statuses() == ["active"])
        assert station.sign(wire, text(station, newer))[2] == {"status": "Accepted"}
        message_id, _ = station.expect(wire, "CertificateSigned")
        station.reply(wire, message_id, {"status": "Rejected"})
        product.eventually(lambda: statuses() == ["active", "rejected"])
        station.said_nothing(wire)
    with row.attempt(), station.connected(leaf=leaf) as wire:
        # It comes back with the old one, which wakes whatever waits for it: nothing does.
        station.said_nothing(wire)
        assert statuses() == ["active", "rejected"]
    event = pages(product, "security-events", station=station.identity)[0]
    assert event["type"] == "CertificateNotDelivered"
    with row.attempt():
        name = station.identity.lower()
        known = "select count(*) from stations where identity = ?"
        assert scalar(product, known, name) == 1
        waiting = (
            "select count(*) from jobs where state = 'waiting' and station_id ="
            " (select id from stations where identity = ?)"
        )
        assert scalar(product, waiting, name) == 0
    with row.attempt(), station.connected(leaf=leaf) as wire:
        # Somebody acts: the station makes another key.
        assert station.sign(wire, text(station, ec.generate_private_key(ec.SECP256R1())))[0] == 3
        station.reply(wire, station.expect(wire, "CertificateSigned")[0], {"status": "Accepted"})
        product.eventually(lambda: statuses() == ["accepted", "active", "rejected"])


def test_the_longest_chain_fits(product: Product, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("C11", "certificateChain against MaxCertificateChainSize")
    (station,) = register(product, 1, serial_number="L" * 25)
    key = rsa_key(4096, 99)
    asker = Asker("L" * 25, "Example CSO", ec.generate_private_key(ec.SECP256R1()))
    with row.attempt():
        chain = enrolled(station, h.pem(asker.der(key=key, public_key=h.spki(key))))
        assert len(chain) <= CERTIFICATE_CHAIN
        assert len(x509.load_pem_x509_certificates(chain.encode())) == 2, "without the root"
    row.measure(f"RSA-4096, 25 characters of CN: {len(chain)} of {CERTIFICATE_CHAIN}")
