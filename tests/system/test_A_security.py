"""Block A, Security: certification cases of a CSMS, over the wire against the running product."""

import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.fixtures.peer import Key, Peer, basic, trusting
from tests.fixtures.product import Product

API = ThreadPoolExecutor(4)


def on_profile_2(product: Product, station: dict[str, Any], password: str | None = None) -> Peer:
    return Peer.connect(
        product.ocpp(2),
        station["identity"],
        context=trusting(product.root_pem),
        headers=basic(station["identity"], password or station["password"]),
    )


def on_profile_3(product: Product, identity: str, key: Key) -> Peer:
    return Peer.connect(product.ocpp(3), identity, context=trusting(product.root_pem, key))


def refused(product: Product, identity: str, key: Key) -> bool:
    """Whether profile 3 turns this certificate away, in TLS or at the upgrade."""
    try:
        with on_profile_3(product, identity, key) as peer:
            peer.boot()
    except (InvalidHandshake, ConnectionClosed, ssl.SSLError, ConnectionError, EOFError):
        return True
    return False


def enrolled(product: Product, station: dict[str, Any], directory: Path) -> Key:
    """The station gets its certificate over profile 2 (the steps of TC_A_11)."""
    key = Key(directory)
    with on_profile_2(product, station) as peer:
        peer.boot(station["serial_number"])
        chain = obtain_certificate(product, station, peer, key)
    key.keep(chain)
    return key


def obtain_certificate(product: Product, station: dict[str, Any], peer: Peer, key: Key) -> str:
    asked = API.submit(
        product.api, "POST", f"/api/v1/stations/{station['identity']}/certificates/renewal"
    )
    message_id, trigger = peer.expect("TriggerMessage")
    assert trigger == {"requestedMessage": "SignChargingStationCertificate"}
    peer.reply(message_id, {"status": "Accepted"})
    assert asked.result().status_code == 202
    answer = peer.answered(
        "SignCertificate",
        {
            "csr": key.csr(station["serial_number"]),
            "certificateType": "ChargingStationCertificate",
        },
    )
    assert answer == {"status": "Accepted"}
    message_id, signed = peer.expect("CertificateSigned")
    assert signed["certificateType"] == "ChargingStationCertificate"
    peer.reply(message_id, {"status": "Accepted"})
    return str(signed["certificateChain"])


def test_TC_A_01_valid_credentials_are_let_in(product: Product) -> None:
    with on_profile_2(product, station := product.station()) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Accepted"
        assert peer.connection.subprotocol == "ocpp2.0.1"


@pytest.mark.parametrize("wrong", ["{identity}x", "x{identity}", "", "someone-else"])
def test_TC_A_02_a_user_name_that_is_not_the_identity_is_refused(
    product: Product, wrong: str
) -> None:
    station = product.station()
    user = wrong.format(identity=station["identity"])
    with pytest.raises(InvalidStatus) as refusal:
        Peer.connect(
            product.ocpp(2),
            station["identity"],
            context=trusting(product.root_pem),
            headers=basic(user, station["password"]),
        )
    assert refusal.value.response.status_code == 401


def test_TC_A_03_a_wrong_password_is_refused_and_the_right_one_is_not(product: Product) -> None:
    station = product.station()
    with pytest.raises(InvalidStatus) as refusal:
        on_profile_2(product, station, password="x" * 40)
    assert refusal.value.response.status_code == 401
    on_profile_2(product, station).connection.close()


def test_TC_A_07_and_TC_A_11_a_station_gets_its_certificate_and_comes_back_with_it(
    product: Product, tmp_path: Path
) -> None:
    """The last steps of TC_A_11: on the new certificate, Boot without serialNumber Accepted."""
    station = product.station()
    key = enrolled(product, station, tmp_path)
    assert len(re.findall("BEGIN CERTIFICATE", key.chain_file.read_text())) == 2
    with on_profile_3(product, station["identity"], key) as peer:
        assert peer.boot()["status"] == "Accepted"
        assert peer.answered("Heartbeat", {})["currentTime"]


def test_TC_A_08_every_invalid_certificate_is_refused_and_the_valid_one_right_after(
    product: Product, tmp_path: Path
) -> None:
    station, other = product.station(), product.station()
    (tmp_path / "good").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "forged").mkdir()
    good = enrolled(product, station, tmp_path / "good")
    others = enrolled(product, other, tmp_path / "other")
    forged = Key(tmp_path / "forged")
    forged.keep(self_signed(forged, station["serial_number"]))

    assert refused(product, station["identity"], others), "another station's certificate"
    assert refused(product, station["identity"], forged), "a certificate of nobody's CA"
    assert refused(product, other["identity"], good), "the certificate under another identity"
    assert not refused(product, station["identity"], good)


def self_signed(key: Key, serial_number: str) -> str:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, serial_number)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key.private, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def test_TC_A_09_an_accepted_password_is_the_only_one(product: Product) -> None:
    station = product.station()
    with on_profile_2(product, station) as peer:
        peer.boot(station["serial_number"])
        asked = API.submit(product.api, "POST", f"/api/v1/stations/{station['identity']}/password")
        message_id, request = peer.expect("SetVariables")
        data = request["setVariableData"][0]
        assert data["component"] == {"name": "SecurityCtrlr"}
        assert data["variable"] == {"name": "BasicAuthPassword"}
        peer.reply(message_id, {"setVariableResult": [result_of(data, "Accepted")]})
        assert asked.result().status_code == 200, asked.result().text
    assert data["attributeValue"] not in asked.result().text
    on_profile_2(product, station, password=data["attributeValue"]).connection.close()
    with pytest.raises(InvalidStatus):
        on_profile_2(product, station)


def test_TC_A_10_a_rejected_password_changes_nothing(product: Product) -> None:
    station = product.station()
    with on_profile_2(product, station) as peer:
        peer.boot(station["serial_number"])
        asked = API.submit(product.api, "POST", f"/api/v1/stations/{station['identity']}/password")
        message_id, request = peer.expect("SetVariables")
        data = request["setVariableData"][0]
        peer.reply(message_id, {"setVariableResult": [result_of(data, "Rejected")]})
        assert asked.result().json()["status"] == "Rejected"
    on_profile_2(product, station).connection.close()
    with pytest.raises(InvalidStatus):
        on_profile_2(product, station, password=data["attributeValue"])


def result_of(data: dict[str, Any], status: str) -> dict[str, Any]:
    return {
        "attributeStatus": status,
        "component": data["component"],
        "variable": data["variable"],
    }


def test_TC_A_14_a_rejected_certificate_and_the_event_after_it_are_survived(
    product: Product, tmp_path: Path
) -> None:
    station = product.station()
    key = Key(tmp_path)
    with on_profile_2(product, station) as peer:
        peer.boot(station["serial_number"])
        API.submit(
            product.api, "POST", f"/api/v1/stations/{station['identity']}/certificates/renewal"
        )
        message_id, _ = peer.expect("TriggerMessage")
        peer.reply(message_id, {"status": "Accepted"})
        csr = key.csr(station["serial_number"])
        assert peer.answered("SignCertificate", {"csr": csr}) == {"status": "Accepted"}
        message_id, signed = peer.expect("CertificateSigned")
        # A02.FR.14: none came with the request, so none goes back.
        assert "certificateType" not in signed
        peer.reply(message_id, {"status": "Rejected"})
        event = {
            "type": "InvalidChargingStationCertificate",
            "timestamp": "2026-11-23T12:00:00Z",
        }
        assert peer.answered("SecurityEventNotification", event) == {}
        assert peer.answered("Heartbeat", {})["currentTime"]
    key.keep(signed["certificateChain"])
    product.eventually(lambda: status_of(product, station) == ["rejected"])
    assert refused(product, station["identity"], key), "a rejected certificate opens nothing"


def status_of(product: Product, station: dict[str, Any]) -> list[str]:
    answer = product.api("GET", f"/api/v1/certificates?station={station['identity']}")
    assert answer.status_code == 200, answer.text
    return [item["status"] for item in answer.json()["items"]]


def test_after_profile_3_nothing_less_opens_the_door(product: Product, tmp_path: Path) -> None:
    """A00.FR.002, A05.FR.07: the last step of the issue's walk, and TC_A_19 steps 10 and 11."""
    station = product.station()
    key = enrolled(product, station, tmp_path)
    on_profile_2(product, station).connection.close()
    with on_profile_3(product, station["identity"], key) as peer:
        peer.boot()
        with pytest.raises(InvalidStatus) as refusal:
            on_profile_2(product, station)
        assert refusal.value.response.status_code == 401
        assert peer.answered("Heartbeat", {})["currentTime"], "the good session is untouched"

    def shown() -> tuple[int, int]:
        found = product.api("GET", f"/api/v1/stations/{station['identity']}").json()
        return found["security_profile"], found["minimum_security_profile"]

    product.eventually(lambda: shown() == (3, 3))


def test_rotation_supersedes_the_predecessor_only_when_the_successor_is_seen(
    product: Product, tmp_path: Path
) -> None:
    station = product.station()
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first = enrolled(product, station, tmp_path / "1")
    second = Key(tmp_path / "2")
    with on_profile_3(product, station["identity"], first) as peer:
        peer.boot()
        second.keep(obtain_certificate(product, station, peer, second))
    product.eventually(lambda: sorted(status_of(product, station)) == ["accepted", "active"])
    # T14: it may still come with the old one, as long as the new one has not been used.
    with on_profile_3(product, station["identity"], first) as peer:
        peer.boot()
    with on_profile_3(product, station["identity"], second) as peer:
        peer.boot()
    product.eventually(lambda: sorted(status_of(product, station)) == ["active", "superseded"])
    assert refused(product, station["identity"], first)


def test_revocation_cuts_the_live_session_and_keeps_the_station_out(
    product: Product, tmp_path: Path
) -> None:
    station = product.station()
    key = enrolled(product, station, tmp_path)
    with on_profile_3(product, station["identity"], key) as peer:
        peer.boot()
        page = product.api("GET", f"/api/v1/certificates?station={station['identity']}").json()
        certificate = page["items"][0]["id"]
        began = time.monotonic()
        answer = product.api(
            "POST", f"/api/v1/certificates/{certificate}/revocation", {"reason": "keyCompromise"}
        )
        assert answer.status_code == 200, answer.text
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                peer.connection.recv(timeout=5)
        assert time.monotonic() - began < 5
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    assert refused(product, station["identity"], key)
    again = product.api(
        "POST", f"/api/v1/certificates/{certificate}/revocation", {"reason": "keyCompromise"}
    )
    assert again.status_code == 409


def test_a_station_that_was_revoked_and_deleted_may_be_registered_anew(
    product: Product, tmp_path: Path
) -> None:
    """The way back for a replaced controller: same names, a new password, a new certificate."""
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    station = product.station()
    names = {name: station[name] for name in ("identity", "serial_number")}
    old = enrolled(product, station, tmp_path / "1")
    path = f"/api/v1/stations/{station['identity']}"
    assert product.api("DELETE", path).status_code == 409, "its certificate still opens the door"
    for item in product.api("GET", f"/api/v1/certificates?station={station['identity']}").json()[
        "items"
    ]:
        product.api(
            "POST",
            f"/api/v1/certificates/{item['id']}/revocation",
            {"reason": "cessationOfOperation"},
        )
    assert product.api("DELETE", path).status_code == 204

    def registered_anew() -> dict[str, Any] | None:
        answer = product.api("POST", "/api/v1/stations", names | {"security_profile": 2})
        return answer.json() if answer.status_code == 201 else None

    # The CA hears of the revocation from a job, so its word may come a moment later.
    anew = product.eventually(registered_anew)
    with pytest.raises(InvalidStatus):
        on_profile_2(product, station)
    key = enrolled(product, anew, tmp_path / "2")
    with on_profile_3(product, anew["identity"], key) as peer:
        assert peer.boot(station["serial_number"])["status"] == "Accepted"
    assert refused(product, anew["identity"], old)
