"""C15: revoking the wrong certificate is impossible: the CA's key is (issuer, number), the API's an
id that no one else has.

Spellings of one number, and what is none: tests/unit/pki/authority/test_pki_revocation.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority.service import Authority
from pki.wire import (
    PkiRefused,
    Revocation,
    ServerCertificateRequest,
    StationCertificateRequest,
    StationRegistration,
)
from tests.attacks.product_station import pages, register
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.test_C06_key_reuse import certificates, enrolled, text
from tests.fixtures.pki_memory import NOW, csr_pem, memory_authority, memory_store
from tests.fixtures.product import Product

NUMBER = bytes.fromhex("00" * 18 + "1010")  # its decimal form is another serial in hexadecimal


def test_one_number_under_two_issuers_is_two_certificates(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C15", "one serial number under two issuers, in every spelling")

    async def revoke(authority: Authority, issuer: str, serial: str) -> bool:
        try:
            await authority.revoke(Revocation(issuer, serial, "superseded", NOW))
        except PkiRefused:
            return False
        return True

    async def main() -> None:
        async with (
            memory_store(tmp_path) as store,
            memory_authority(store, random_bytes=lambda _: NUMBER) as authority,
        ):
            await authority.register_station(StationRegistration(UUID(int=1), "CS001"))
            asked = StationCertificateRequest(uuid4(), UUID(int=1), csr_pem())
            ours = (await authority.issue_station_certificate(asked)).issued
            theirs = await authority.issue_server_certificate(
                ServerCertificateRequest(uuid4(), ["csms.example.com"], [], csr_pem(None))
            )
            assert ours.serial == theirs.serial
            assert ours.issuer != theirs.issuer

            async def is_revoked(issuer: str) -> bool:
                found = await store.find_certificate(issuer=issuer, serial=ours.serial)
                return found is not None and found.revoked_at is not None

            number = int(ours.serial, 16)
            pairs = ":".join(ours.serial[at : at + 2] for at in range(0, 40, 2))
            for issuer, serial in [
                (ours.issuer, str(number)),
                (ours.issuer, pairs),
                (ours.issuer, "0x" + ours.serial),
                (ours.issuer, ours.serial[1:]),
                (ours.issuer, ours.serial + "0"),
                (ours.issuer, f"-{ours.serial}"),
                (ours.issuer.upper(), ours.serial),
                (ours.issuer + " ", ours.serial),
                ("root", ours.serial),
                ("", ours.serial),
            ]:
                with row.attempt():
                    assert not await revoke(authority, issuer, serial), (issuer, serial)
                    assert not await is_revoked(ours.issuer)
                    assert not await is_revoked(theirs.issuer)
            with row.attempt():
                assert await revoke(authority, ours.issuer, "00" + ours.serial.upper())
                assert await is_revoked(ours.issuer)
                assert not await is_revoked(theirs.issuer)

    asyncio.run(main())


def test_the_api_revokes_by_id_and_by_nothing_else(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C15", "the API with a serial number, a fingerprint, another's id")
    mine, other = register(product, 2)
    chains = [
        enrolled(station, text(station, ec.generate_private_key(ec.SECP256R1())))
        for station in (mine, other)
    ]
    leaf = x509.load_pem_x509_certificate(chains[0].encode())
    (record,) = certificates(mine)
    body: Any = {"reason": "superseded"}
    for name in (
        f"{leaf.serial_number:x}",
        str(leaf.serial_number),
        f"{record['issuer']}:{record['serial']}",
        record["fingerprint_sha256"],
        str(uuid4()),
        mine.identity,
        "*",
    ):
        with row.attempt():
            answer = product.api("POST", f"/api/v1/certificates/{name}/revocation", body)
            assert answer.status_code in {404, 422}, (name, answer.text)
    for more in ({"serial": record["serial"]}, {"station": mine.identity}):
        with row.attempt():
            path = f"/api/v1/certificates/{record['id']}/revocation"
            assert product.api("POST", path, body | more).status_code == 422
    assert certificates(mine)[0]["status"] == certificates(other)[0]["status"] == "accepted"
    with row.attempt():
        path = f"/api/v1/certificates/{record['id']}/revocation"
        assert product.api("POST", path, body).status_code == 200
        assert certificates(mine)[0]["status"] == "revoked"
        assert certificates(other)[0]["status"] == "accepted"
    ids = [one["id"] for one in pages(product, "certificates")]
    assert len(ids) == len(set(ids))
