"""C09: Vault has signed, and the database refuses the certificate.

Injected as Boulder's `cert_storage_failed_test.go` does it: by a trigger. What was signed stands in
the books from before (the intent), is handed to nobody, and is given up or done once more.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from csms.adapters.vault import Role
from csms.settings import Settings
from csms.wiring.vault import authority_settings
from pki.wire import PkiUnavailable, StationCertificateRequest, StationRegistration
from pki.wiring import open_authority, run_ceremony
from tests.attacks import books
from tests.attacks.lives import as_audited
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.pki_memory import csr_pem
from tests.fixtures.vault import TestVault

ASKS = 6
TIMES = 3


@contextmanager
def storing_refused(database: Path) -> Iterator[None]:
    trigger = "create trigger refused before insert on certificates begin "
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(trigger + "select raise(abort, 'refused'); end")
        try:
            yield
        finally:
            connection.execute("drop trigger refused")


def test_what_was_signed_and_not_stored_is_known_and_given_to_nobody(
    tmp_path: Path, vault: TestVault, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("C09", "the database refuses what Vault has signed")
    audited = vault.server.audit_file.stat().st_size
    database = tmp_path / "pki.db"

    async def scene() -> None:
        csms = Settings(data_dir=tmp_path)
        held = authority_settings(csms, 8080, vault.ceremony())
        await run_ceremony(held, held.vault)
        settings = authority_settings(csms, 8080, vault.credentials(Role.PKI))
        async with open_authority(settings) as authority:
            asks = []
            for number in range(ASKS):
                station, name = uuid4(), f"SN{number}"
                await authority.register_station(
                    StationRegistration(station_id=station, serial_number=name)
                )
                asks.append(
                    StationCertificateRequest(
                        request_id=uuid4(), station_id=station, csr_pem=csr_pem(name)
                    )
                )
            with storing_refused(database):
                for ask in asks * TIMES:
                    with row.attempt(), pytest.raises(PkiUnavailable):
                        await authority.issue_station_certificate(ask)
            # Half of them ask again; the others' stations have made another key meanwhile.
            for ask in asks[::2]:
                with row.attempt():
                    first = await authority.issue_station_certificate(ask)
                    again = await authority.issue_station_certificate(ask)
                    assert again.issued.already_issued
                    assert again.issued.certificate_pem == first.issued.certificate_pem
        async with open_authority(settings):
            pass  # the next start gives up what nobody works on any more

    asyncio.run(scene())
    with closing(sqlite3.connect(database)) as connection:
        query = "select tbs_sha256, outcome, serial from intents"
        intents = connection.execute(query).fetchall()
        stored = {serial for (serial,) in connection.execute("select serial from certificates")}
    assert {outcome for _, outcome, _ in intents} == {"issued", "abandoned"}
    assert {serial for _, outcome, serial in intents if outcome == "issued"} == stored
    assert len({serial for _, _, serial in intents}) == len(intents)
    assert len(stored) == len(range(0, ASKS, 2))
    inputs = {digest: books.sign_input(digest) for digest, _, _ in intents}
    written = as_audited(vault.admin, list(inputs.values()))
    times, unknown = books.signed(
        vault.server.audit_file,
        {digest: written[value] for digest, value in inputs.items()},
        since=audited,
    )
    assert unknown == []
    assert times == dict.fromkeys(inputs, 1), "each was signed, and once"
    row.measure(f"{len(intents)} signatures = {len(stored)} certificates + the rest given up")
