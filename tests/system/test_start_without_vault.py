"""A start while an operator's Vault is sealed: on its data the product does what it can at once.

Profile 3 is served from the first moment. A password needs the pepper, which lies in no file: those
who come with one are told to come again, whoever they are. Tokens and certificates wait likewise.
"""

from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.attacks.outage import Scene
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.peer import Key
from tests.system.test_A_security import on_profile_2, on_profile_3


def refused_with(scene: Scene, station: dict[str, str], password: str | None = None) -> int:
    with pytest.raises(InvalidStatus) as refusal:
        on_profile_2(scene.product, station, password)
    response = refusal.value.response
    assert response.status_code != 503 or response.headers["Retry-After"]
    return int(response.status_code)


@pytest.mark.timeout(180)
def test_it_starts_while_vault_is_sealed(
    scene: Scene, scoreboard: Scoreboard, tmp_path: Path
) -> None:
    row = scoreboard.row("P03", "started while Vault is sealed, then unsealed")
    product, vault = scene.product, scene.vault
    (enrolled, key), newcomer = scene.by_certificate[0], scene.spare[0]
    assert product.stop() == 0
    with row.attempt():
        vault.seal()
        try:
            product.start()
            row.measure(f"started in {product.started_in:.1f} s")
            assert set(scene.ready()["degraded"]) == {"vault", "passwords"}
            with on_profile_3(product, enrolled["identity"], key) as peer:
                assert peer.boot(enrolled["serial_number"])["status"] == "Accepted"
                csr = Key(tmp_path).csr(enrolled["serial_number"])
                kind = "ChargingStationCertificate"
                asked = {"csr": csr, "certificateType": kind}
                assert peer.answered("SignCertificate", asked) == {"status": "Accepted"}
                # The same answer to the right password, a wrong one, and to nobody's.
                assert refused_with(scene, newcomer) == 503
                assert refused_with(scene, newcomer, "x" * 40) == 503
                assert refused_with(scene, {"identity": "nobody", "password": "x" * 40}) == 503
                assert scene.ask_for_token()[0] == 503
                vault.unseal()
                message_id, signed = peer.expect("CertificateSigned")
                assert "BEGIN CERTIFICATE" in signed["certificateChain"]
                peer.reply(message_id, {"status": "Accepted"})
                row.measure(f"well in {scene.told(degraded=False):.1f} s")
        finally:
            vault.unseal()
        product.eventually(lambda: not scene.ready()["degraded"])
        with on_profile_2(product, newcomer) as peer:
            assert peer.boot(newcomer["serial_number"])["status"] == "Accepted"
        assert refused_with(scene, newcomer, "x" * 40) == 401
        product.eventually(lambda: scene.ask_for_token()[0] == 200)
        assert product.station()["password"]
    scene.no_secret_is_logged()
