"""Keys and certificates survive a restart, stay private, and are forgotten when due."""

from pathlib import Path

import pytest

from station.chain_check import ChainFault, ChainRefused
from station.keystore import (
    CSMS_ROOT,
    PENDING_KEY_LIFE,
    CertificateChoice,
    KeyStore,
    KeyStoreInvalid,
    StationCertificate,
    as_files,
)
from tests.unit.station.csms_double import Issuer

ROOT = Issuer.root()


def certificate_of(store: KeyStore, *, days: float = 90) -> StationCertificate:
    key = store.new_pending_key(now=0)
    leaf = ROOT.sign("SN001", key.public_key(), days=days)
    return StationCertificate((leaf,), store.pending_key_of(leaf))


def test_second_start_finds_everything_in_its_order(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.install_root(CSMS_ROOT, ROOT.certificate)
    for _ in range(3):
        store.install(certificate_of(store))
    store.discard(store.certificates[0])
    store.install(certificate_of(store))
    waiting = store.new_pending_key(now=5)
    again = KeyStore(tmp_path / "keys")
    assert again.csms_roots == [ROOT.certificate]
    assert [i.serial for i in again.certificates] == [i.serial for i in store.certificates]
    assert again.pending[0].key.private_numbers() == waiting.private_numbers()
    again.install(certificate_of(again))
    third = KeyStore(tmp_path / "keys")
    assert [i.serial for i in third.certificates] == [i.serial for i in again.certificates]


def test_every_file_is_private(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.install_root(CSMS_ROOT, ROOT.certificate)
    store.install(certificate_of(store))
    store.new_pending_key(now=0)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()}
    assert modes == {0o600}


def test_key_of_an_unanswered_csr_is_deleted_after_an_hour(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    leaf = ROOT.sign("SN001", store.new_pending_key(now=100).public_key())
    assert store.forget_old_keys(now=100 + PENDING_KEY_LIFE - 1) == 0
    store.pending_key_of(leaf)
    assert store.forget_old_keys(now=100 + PENDING_KEY_LIFE) == 1
    assert list((tmp_path / "keys").iterdir()) == []
    with pytest.raises(ChainRefused) as caught:
        store.pending_key_of(leaf)
    assert caught.value.fault is ChainFault.UNKNOWN_KEY


def test_stored_pending_key_starts_its_hour_again(tmp_path: Path) -> None:
    KeyStore(tmp_path / "keys").new_pending_key(now=0)
    again = KeyStore(tmp_path / "keys")
    assert again.forget_old_keys(now=1_000_000) == 0
    assert again.forget_old_keys(now=1_000_000 + PENDING_KEY_LIFE) == 1


def test_choice_is_by_installation_or_by_not_after() -> None:
    store = KeyStore()
    long, short = certificate_of(store, days=365), certificate_of(store, days=90)
    store.install(long)
    store.install(short)
    assert store.by_preference(CertificateChoice.LATEST_INSTALLED) == [short, long]
    assert store.by_preference(CertificateChoice.LATEST_NOT_AFTER) == [long, short]
    assert store.pending == []


def test_root_installed_twice_is_there_once(tmp_path: Path) -> None:
    """M05.FR.17."""
    store = KeyStore(tmp_path / "keys")
    store.install_root(CSMS_ROOT, ROOT.certificate)
    store.install_root(CSMS_ROOT, ROOT.certificate)
    assert store.count_roots() == 1
    store.delete_root(CSMS_ROOT, ROOT.certificate)
    assert KeyStore(tmp_path / "keys").count_roots() == 0


def test_key_files_for_tls_are_gone_afterwards() -> None:
    store = KeyStore()
    store.install(certificate_of(store))
    with as_files(store.certificates[0]) as (chain, key):
        assert key.stat().st_mode & 0o777 == 0o600
        assert chain.read_bytes() == store.certificates[0].chain_pem()
    assert not key.exists()


def test_spoilt_directory_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "station-000001-ffff.pem").write_text("spoilt")
    with pytest.raises(KeyStoreInvalid, match=str(tmp_path)):
        KeyStore(tmp_path)


def test_keys_do_not_show_in_repr() -> None:
    store = KeyStore()
    store.new_pending_key(now=0)
    assert "PRIVATE" not in repr(store)
