"""P02, C09: Vault signs, and its answer is lost. No certificate is there that nobody knows of.

The whole product on an OpenBao of its own behind a proxy that lets every request through and, for
a while, no answer out. Every signature was made then, and none arrived.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from tests.attacks import books
from tests.attacks.cutting import Proxy, proxy
from tests.attacks.lives import (
    as_audited,
    ceremony,
    on_vault,
    rotate,
    rows_of,
    stations,
    within,
)
from tests.attacks.rotating import Plan
from tests.attacks.scoreboard import Row, Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.product import Product, make_product
from tests.fixtures.vault import TestVault, start_openbao

ENOUGH = 3  # answers lost; the breaker opens at the first, so that few more are asked for
PATIENCE = 90  # the back-off after the last lost answer is 30 s at most


@pytest.mark.timeout(300)
def test_answers_lost_after_vault_signed_leave_no_certificate_that_nobody_knows(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    seconds = SIZES.lost_answers_seconds
    row = scoreboard.row("P02 C09", f"every answer of Vault lost for {seconds} s after it signed")
    product = make_product(tmp_path / "product")
    product.data_dir.mkdir()
    with start_openbao(tmp_path, ceremony=ceremony(product)) as vault, _before(vault) as between:
        product.environment |= on_vault(vault, f"https://127.0.0.1:{between.port}")
        product.start()
        try:
            with stations(product, SIZES.rotating_stations, tmp_path / "stations") as plan:
                with row.attempt():
                    _rotate_without_answers(product, plan, between, seconds, row)
                _compare(product, vault, plan, row)
                _the_checker_would_have_seen(product, tmp_path)
        finally:
            product.stop()


def _before(vault: TestVault) -> AbstractContextManager[Proxy]:
    return proxy(int(vault.addr.rpartition(":")[2]))


def _rotate_without_answers(
    product: Product, plan: Plan, between: Proxy, seconds: float, row: Row
) -> None:
    rows, data = rows_of(product), Path(plan.data)
    identities = [identity for identity, _, _ in plan.stations]

    def at_rest() -> list[str]:
        return books.renewals_left(rows) + books.jobs_left(rows) + books.on_profile_3(rows, data)

    rotate(product, identities)
    within(PATIENCE, at_rest)
    between.cutting = True
    until = time.monotonic() + seconds
    rotate(product, identities)
    within(PATIENCE, lambda: between.cut < ENOUGH)
    while time.monotonic() < until:
        assert books.without_credential(rows, data) == []
        time.sleep(0.2)
    between.cutting = False
    took = within(PATIENCE, at_rest)
    row.measure(f"{between.cut} answers lost; everybody rotated {took:.1f} s after the last")


def _compare(product: Product, vault: TestVault, plan: Plan, row: Row) -> None:
    rows = rows_of(product)
    intents = rows("pki", "select tbs_sha256, outcome from intents where kind = 'station'")
    inputs = {books.sign_input(digest): digest for digest, _ in intents}
    written = as_audited(vault.admin, inputs)
    times, unknown = books.signed(
        vault.server.audit_file, {inputs[value]: line for value, line in written.items()}
    )
    assert unknown == []
    assert set(times.values()) == {1}, "no TBSCertificate was signed twice"
    signed = set(times)
    issued = {digest for digest, outcome in intents if outcome == "issued"}
    abandoned = {digest for digest, outcome in intents if outcome == "abandoned"}
    assert len(issued) == 2 * len(plan.stations)
    assert issued <= signed <= issued | abandoned, "signed: a certificate, or given up"
    # Others were given up before they were asked for: the breaker had opened meanwhile (P04).
    lost = signed & abandoned
    assert lost, "no answer to a signature was lost"
    row.measure(f"{len(signed)} signatures = {len(issued)} certificates + {len(lost)} given up")
    assert books.inventory(rows) == []
    assert books.audit(rows) == []
    installed = books.installed(books.history(Path(plan.history)))
    assert set(installed.values()) == {1}, "nothing was delivered twice"
    assert set(installed) == set(books.serials(rows))
    assert books.false_alarms(rows) == []
    assert books.refused_in_vain(rows) == []


# What may not be, made so in a copy of the books: who finds it?
WRONG = (
    ("csms", "delete from certificates where status = 'active'", books.inventory),
    ("csms", "update certificates set status = 'active'", books.inventory),
    ("pki", "delete from certificates where kind = 'station'", books.inventory),
    ("pki", "update intents set outcome = null where id = 9", books.inventory),
    ("pki", "update intents set outcome = 'issued'", books.inventory),
    ("pki", "delete from audit where action = 'abandon_intent'", books.audit),
    ("csms", "delete from audit_entries where action = 'certificate.supersede'", books.audit),
    ("csms", "update certificates set first_seen_at = null", books.audit),
)


def _the_checker_would_have_seen(product: Product, directory: Path) -> None:
    for number, (database, change, finds) in enumerate(WRONG):
        copy = Product(data_dir=directory / f"wrong-{number}", environment={})
        copy.data_dir.mkdir()
        for name in ("csms", "pki"):
            source, target = (
                sqlite3.connect(each.data_dir / f"{name}.db") for each in (product, copy)
            )
            with closing(source), closing(target):
                source.backup(target)
                if name == database:
                    _change(target, change)
        assert finds(rows_of(copy)), change


def _change(database: sqlite3.Connection, change: str) -> None:
    query = "select name from sqlite_master where type = 'trigger'"
    for (trigger,) in database.execute(query).fetchall():
        database.execute(f"drop trigger {trigger}")
    assert database.execute(change).rowcount > 0, change
    database.commit()
