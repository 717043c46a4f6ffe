"""P01, P30, C09: certificates rotate while the product is killed, at every step and at any time.

Each fault point of `crashing` is one life of the product: started on the same data directory,
asked to rotate every station, dead by SIGKILL inside that step. Then lives that end at any moment.
The stations are the simulator in a process of its own; what is checked is read from their key
stores and histories, from the databases, and from OpenBao's audit file.
"""

from __future__ import annotations

import importlib
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks import books
from tests.attacks.crashing import FAULT_POINTS, PROCEDURES
from tests.attacks.lives import Lives, as_audited, lives, rotate, rows_of, stations, within
from tests.attacks.rotating import Plan
from tests.attacks.scoreboard import Row, Scoreboard
from tests.attacks.sizes import SIZES

SEED = 1
PATIENCE = 60  # P01: the books balance, and everybody is back, within so many seconds


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_there_is_a_fault_point_at_every_numbered_step(procedure: str) -> None:
    module, _, function = PROCEDURES[procedure].partition(":")
    documented = importlib.import_module(module)
    text = str((getattr(documented, function) if function else documented).__doc__)
    written = {int(number) for number in re.findall(r"^ *(\d+)\. ", text, re.MULTILINE)}
    covered = {
        number for point in FAULT_POINTS if point.procedure == procedure for number in point.numbers
    }
    assert written
    assert covered == written


def test_fault_points_have_names_of_their_own() -> None:
    names = [point.name for point in FAULT_POINTS]
    assert len(set(names)) == len(names) >= 16
    assert {point.procedure for point in FAULT_POINTS} == set(PROCEDURES)


@pytest.mark.timeout(900)
def test_rotation_survives_kill_9_at_every_step(tmp_path: Path, scoreboard: Scoreboard) -> None:
    """OpenBao lives on, as an operator's own does."""
    dice = random.Random(SEED)
    row = scoreboard.row(
        "P01 C09",
        f"kill -9 at each of {len(FAULT_POINTS)} steps of {SIZES.rotating_stations} rotations",
    )
    with _rotating(tmp_path, scoreboard, row, bundled=False) as (product, plan):
        for point in dice.sample(FAULT_POINTS, len(FAULT_POINTS)):
            with row.attempt():
                _die_at(product, plan, point.name, dice.randint(1, SIZES.crash_latest_pass))
        killed = [
            line.removeprefix("killed ")
            for line in product.record.read_text().splitlines()
            if line.startswith("killed ")
        ]
        assert sorted(killed) == sorted(point.name for point in FAULT_POINTS)


@pytest.mark.timeout(900)
def test_rotation_survives_kill_9_at_any_time(tmp_path: Path, scoreboard: Scoreboard) -> None:
    """The bundled OpenBao dies, too, and comes back with the product."""
    dice = random.Random(SEED)
    row = scoreboard.row(
        "P01 C09", f"kill -9 every 1 to 3 s, Vault as well, of {SIZES.rotating_stations} rotations"
    )
    with _rotating(tmp_path, scoreboard, row, bundled=True) as (product, plan):
        for number in range(SIZES.crashes_at_any_time):
            with row.attempt():
                _die_after(product, plan, dice.uniform(1, 3), serving=number % 2 == 0)


@contextmanager
def _rotating(
    directory: Path, scoreboard: Scoreboard, row: Row, *, bundled: bool
) -> Iterator[tuple[Lives, Plan]]:
    """Stations on profile 3 and a product that does not live; afterwards everything is checked."""
    with lives(directory, bundled=bundled) as product:
        _start(product)
        count = SIZES.rotating_stations
        with stations(product.product, count, directory / "stations") as plan:
            _enrol(product, plan)
            product.kill()
            yield product, plan
            _come_to_rest(product, plan, row)
            _compare_with_vault(product, row)
            product.stop()
            _check_books(product, plan, scoreboard, row)


def _start(product: Lives) -> None:
    product.begin()
    assert product.ready(), product.log()


def _identities(plan: Plan) -> list[str]:
    return [identity for identity, _, _ in plan.stations]


def _enrol(product: Lives, plan: Plan) -> None:
    rows = rows_of(product.product)
    rotate(product.product, _identities(plan))
    within(PATIENCE, lambda: books.on_profile_3(rows, Path(plan.data)))


def _die_at(product: Lives, plan: Plan, point: str, times: int) -> None:
    """One life, at work until it dies in that step."""
    product.begin(point, times)
    began = time.monotonic()
    if product.ready():
        while not product.over:
            assert time.monotonic() - began < PATIENCE, f"{point} was not passed {times} times"
            rotate(product.product, _identities(plan))
            time.sleep(0.05)
    product.died(10)
    assert books.without_credential(rows_of(product.product), Path(plan.data)) == [], point


def _die_after(product: Lives, plan: Plan, seconds: float, *, serving: bool) -> None:
    """So long after it serves, or after it began to start."""
    product.begin()
    if serving:
        assert product.ready(), product.log()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rotate(product.product, _identities(plan))
        time.sleep(0.05)
    product.kill()
    assert books.without_credential(rows_of(product.product), Path(plan.data)) == []


def _come_to_rest(product: Lives, plan: Plan, row: Row) -> None:
    """Left alone, everybody ends on profile 3 with the newest certificate.

    Not all by the same start: a station whose connection the kill broke off may have gone back to
    its old certificate (A02.FR.28), and tries the new one when it connects the next time.
    """
    rows, data = rows_of(product.product), Path(plan.data)
    _start(product)
    first = within(PATIENCE, lambda: books.jobs_left(rows) or books.not_connected(rows, data))
    assert books.without_credential(rows, data) == []
    product.stop()
    _start(product)
    second = within(PATIENCE, lambda: books.on_profile_3(rows, data) or books.renewals_left(rows))
    row.measure(f"{product.count} lives, all jobs done {first:.1f} s after the last kill's restart")
    row.measure(f"everybody on the newest certificate {second:.1f} s after the next")


def _compare_with_vault(product: Lives, row: Row) -> None:
    """Every signature that OpenBao's audit file tells of is one that the PKI knows of."""
    intents = rows_of(product.product)(
        "pki", "select tbs_sha256, outcome from intents where kind = 'station'"
    )
    inputs = {books.sign_input(digest): digest for digest, _ in intents}
    written = as_audited(product.administrator, inputs)
    times, unknown = books.signed(
        product.vault.server.audit_file,
        {inputs[value]: line for value, line in written.items()},
    )
    assert unknown == [], "signatures that no intent foresaw"
    assert {digest: count for digest, count in times.items() if count > 1} == {}
    issued = {digest for digest, outcome in intents if outcome == "issued"}
    abandoned = {digest for digest, outcome in intents if outcome == "abandoned"}
    assert set(times) - abandoned == issued
    lost = len(set(times) & abandoned)
    row.measure(
        f"{sum(times.values())} signatures = {len(issued)} certificates + {lost} of "
        f"{len(abandoned)} abandoned intents"
    )


def _check_books(product: Lives, plan: Plan, scoreboard: Scoreboard, row: Row) -> None:
    rows = rows_of(product.product)
    data, told = Path(plan.data), books.history(Path(plan.history))
    assert books.inventory(rows) == []
    assert books.without_credential(rows, data) == []
    sequence = scoreboard.row("P30", f"both audit logs after: {row.injected}")
    with sequence.attempt():
        assert books.audit(rows) == []
    installed = books.installed(told)
    assert [key for key, count in installed.items() if count > 1] == [], "delivered twice"
    assert set(installed) <= set(books.serials(rows))
    assert books.false_alarms(rows) == []
    assert books.refused_in_vain(rows) == []
    once_too_often = len(books.refused_credentials(told))
    row.measure(f"{sum(installed.values())} delivered once each")
    row.measure(f"{once_too_often} times refused with a predecessor whose successor had been seen")
