"""C08: messages of the certificate cycle where they do not belong: answers that nobody asked for,
answers a second time, from another session, from another station; CALLs in the wrong direction; on
the plaintext port; for certificates we do not make; before the station is accepted.
"""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from csms.domain.station import SecurityProfile
from tests.attacks.hostile import HostileStation, basic, frame, upgrade
from tests.attacks.keep import Witness, keep
from tests.attacks.product_station import ProductStation, pages, register, rows
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.test_C06_key_reuse import certificates, text
from tests.fixtures.gateway_house import PASSWORD, World
from tests.fixtures.pki_memory import csr_pem
from tests.fixtures.product import Product


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def status(station: ProductStation) -> str:
    (certificate,) = certificates(station)
    return str(certificate["status"])


def say(wire: HostileStation, message_id: str, answer: str) -> None:
    wire.send(frame(json.dumps([3, message_id, {"status": answer}]).encode()))


def delivered(station: ProductStation, wire: HostileStation) -> str:
    """Asked for and brought, not yet answered: the message id of CertificateSigned."""
    assert station.sign(wire, text(station, new_key()))[2] == {"status": "Accepted"}
    message_id, _ = station.expect(wire, "CertificateSigned")
    assert status(station) == "delivered"
    return message_id


@pytest.mark.timeout(120)
def test_only_the_answer_that_is_owed_marks_a_certificate(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C08", "CertificateSignedResponse unasked, twice, from elsewhere")
    station, other = register(product, 2)
    with other.connected() as theirs, station.connected() as wire:
        message_id = delivered(station, wire)
        for peer, its_wire, name in (
            (other, theirs, message_id),
            (station, wire, str(uuid4())),
            (station, wire, message_id.upper()),
            (station, wire, message_id + " "),
        ):
            with row.attempt():
                say(its_wire, name, "Accepted")
                assert peer.call(its_wire, "Heartbeat", {})[0] == 3
                assert status(station) == "delivered"
        with row.attempt(), station.connected() as newer:
            # The older session is displaced, and its message with it: brought once more.
            say(newer, message_id, "Accepted")
            again, _ = station.expect(newer, "CertificateSigned")
            assert again != message_id
            assert status(station) == "delivered"
            say(newer, again, "Accepted")
            product.eventually(lambda: status(station) == "accepted")
            for name, answer in ((message_id, "Rejected"), (again, "Rejected")):
                say(newer, name, answer)
            station.said_nothing(newer)
            assert status(station) == "accepted"


@pytest.mark.timeout(60)
def test_a_replayed_accepted_marks_nothing(product: Product, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("C08", "CertificateSignedResponse Rejected, then Accepted replayed")
    (station,) = register(product, 1)
    with station.connected() as wire, row.attempt():
        message_id = delivered(station, wire)
        for answer in ("Rejected", "Accepted"):
            say(wire, message_id, answer)
        product.eventually(lambda: status(station) == "rejected")
        with station.connected() as newer:
            say(newer, message_id, "Accepted")
            station.said_nothing(newer)
        assert status(station) == "rejected"


@pytest.mark.timeout(60)
def test_the_first_answer_stands(product: Product, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("C08", "CertificateSignedResponse Accepted, then others to the same id")
    (station,) = register(product, 1)
    with station.connected() as wire, row.attempt():
        message_id = delivered(station, wire)
        for answer in ("Accepted", "Rejected", "Accepted"):
            say(wire, message_id, answer)
        product.eventually(lambda: status(station) == "accepted")
        station.said_nothing(wire)
        assert status(station) == "accepted", "and not active: no handshake has shown it"


def test_certificates_are_not_signed_by_stations(product: Product, scoreboard: Scoreboard) -> None:
    row = scoreboard.row("C08", "messages of the CSMS, sent to it")
    (station,) = register(product, 1)
    before = rows(product, "certificates")
    with station.connected() as wire:
        for action, payload in (
            ("CertificateSigned", {"certificateChain": "x"}),
            ("InstallCertificate", {"certificateType": "CSMSRootCertificate", "certificate": "x"}),
            ("TriggerMessage", {"requestedMessage": "SignChargingStationCertificate"}),
        ):
            with row.attempt():
                assert station.call(wire, action, payload)[2] == "NotSupported"
    assert (rows(product, "certificates"), certificates(station)) == (before, [])


def test_a_certificate_that_we_do_not_make_is_not_made(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C08", "certificateType V2GCertificate, and one that nobody knows")
    (station,) = register(product, 1)
    csr = text(station, new_key())
    with station.connected() as wire:
        with row.attempt():
            answer = station.sign(wire, csr, certificateType="V2GCertificate")
            assert answer[2] == {"status": "Rejected", "statusInfo": {"reasonCode": "NotEnabled"}}
        with row.attempt():
            assert station.sign(wire, csr, certificateType="CSMSCertificate")[0] == 4
        station.said_nothing(wire)
    audit = pages(product, "audit/entries", action="certificate.request")
    mine = [one for one in audit if one["subject"] == f"station:{station.identity.lower()}"]
    assert [(one["outcome"], one["reason"]) for one in mine] == [("refused", "certificate_type")]


@pytest.mark.timeout(60)
def test_who_is_pending_asks_for_no_certificate(product: Product, scoreboard: Scoreboard) -> None:
    """B02.FR.09: SecurityError, nothing stored."""
    row = scoreboard.row("C08", "SignCertificate while Pending, rejected, not booted")
    (pending,) = register(product, 1, registration_status="Pending")
    (rejected,) = register(product, 1, registration_status="Rejected")
    (new,) = register(product, 1)
    for station, boots in ((pending, True), (rejected, True), (new, False)):
        with row.attempt(), station.connected(boot=False) as wire:
            if boots:
                assert station.boot(wire)[2]["status"] != "Accepted"
            refused = station.sign(wire, text(station, new_key()))
            assert refused[2] == "SecurityError", refused
    requests = pages(product, "certificate-requests")
    names = {pending.identity, rejected.identity, new.identity}
    assert not [one for one in requests if one["station"] in names]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def test_nobody_gets_a_certificate_over_plaintext(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Who reads the password on the way would have a certificate of his own."""
    row = scoreboard.row("C08", "SignCertificate on the plaintext port of profile 1")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    with keep(world, tmp_path, **settings) as fort, Witness(fort):
        station = fort.add(
            "CS001", "SN001", security_profile=SecurityProfile.BASIC, minimum=SecurityProfile.BASIC
        )
        with fort.bounded_lag(), row.attempt(), fort.visit(1) as wire:
            header = f"Authorization: {basic('cs001', PASSWORD)}"
            assert wire.ask(upgrade("/ocpp/cs001", header)).status == 101
            answer = wire.call("SignCertificate", {"csr": csr_pem("SN001")})
            assert answer[2] == {"status": "Rejected", "statusInfo": {"reasonCode": "NotEnabled"}}

        async def audited() -> list[str | None]:
            async with fort.home.store.reading() as work:
                assert (
                    await work.certificate_requests.open_of(
                        station.id, "ChargingStationCertificate"
                    )
                    is None
                )
                page = await work.audit.page(
                    after_index=None, limit=10, action="certificate.request", subject=None
                )
            return [entry.record.reason for entry in page.items]

        assert fort.do(audited()) == ["plaintext"]
