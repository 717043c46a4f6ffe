"""B16, T14: two certificates are good until the new one is used, whatever dies in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.attacks.lives import Lives, lives
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.peer import Key
from tests.system.test_A_security import (
    enrolled,
    obtain_certificate,
    on_profile_3,
    refused,
    status_of,
)

Station = dict[str, Any]


def test_the_old_certificate_lets_in_until_the_new_one_has(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """Killed after the station's Accepted, before ours; then in the new one's first use."""
    row = scoreboard.row("B16", "kill -9 between Accepted, the old one, a Rejected and the new one")
    with lives(tmp_path, bundled=False) as product:
        product.begin("CertificateSigned answered by the station", times=2)
        assert product.ready(), product.log()
        station = product.product.station()
        old, new = _key(tmp_path / "old"), _key(tmp_path / "new")
        old = enrolled(product.product, station, old.directory)
        with on_profile_3(product.product, station["identity"], old) as peer:
            peer.boot()
            new.keep(obtain_certificate(product.product, station, peer, new))
            product.died(30)
        _start_again(product)
        with row.attempt():
            _falls_back(product, station, old)
        with row.attempt():
            _comes_with(product, station, new)
            assert refused(product.product, station["identity"], old)
        product.kill()
        _start_again(product)
        with row.attempt():
            _comes_with(product, station, new)
            assert refused(product.product, station["identity"], old)
        product.stop()


def test_a_kill_in_the_first_use_of_the_new_certificate_retires_the_old_one_all_the_same(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("B16", "kill -9 in the first use, before the predecessor is retired")
    with lives(tmp_path, bundled=False) as product:
        product.begin("predecessor retired, not committed", times=2)
        assert product.ready(), product.log()
        station = product.product.station()
        old, new = _key(tmp_path / "old"), _key(tmp_path / "new")
        old = enrolled(product.product, station, old.directory)
        with on_profile_3(product.product, station["identity"], old) as peer:
            peer.boot()
            new.keep(obtain_certificate(product.product, station, peer, new))
        with on_profile_3(product.product, station["identity"], new):
            product.died(30)
        _start_again(product)
        with row.attempt():
            product.product.eventually(
                lambda: sorted(status_of(product.product, station)) == ["active", "superseded"]
            )
            _comes_with(product, station, new)
            assert refused(product.product, station["identity"], old)
        product.stop()


def _key(directory: Path) -> Key:
    directory.mkdir()
    return Key(directory)


def _start_again(product: Lives) -> None:
    product.begin()
    assert product.ready(), product.log()


def _falls_back(product: Lives, station: Station, old: Key) -> None:
    """On the old one it is sent the new one again, and has no pending key for it any more."""
    with on_profile_3(product.product, station["identity"], old) as peer:
        message_id, _ = peer.expect("CertificateSigned")
        peer.reply(message_id, {"status": "Rejected"})
        assert peer.boot()["status"] == "Accepted"
    assert sorted(status_of(product.product, station)) == ["active", "delivered"]


def _comes_with(product: Lives, station: Station, key: Key) -> None:
    with on_profile_3(product.product, station["identity"], key) as peer:
        assert peer.boot()["status"] == "Accepted"
    product.product.eventually(
        lambda: sorted(status_of(product.product, station)) == ["active", "superseded"]
    )
