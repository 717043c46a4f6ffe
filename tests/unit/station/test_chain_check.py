"""Each bad chain is bad for one reason."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from station.chain_check import ChainFault, ChainRefused, check_chain, parse_chain
from tests.unit.station.csms_double import Issuer, pem

ROOT = Issuer.root()
ISSUING = ROOT.issuing_ca()
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
LEAF = ISSUING.sign("SN001", KEY)
NOW = datetime.now(UTC)


def fault(text: str, *, roots: tuple[Issuer, ...] = (ROOT,), now: datetime = NOW) -> ChainFault:
    with pytest.raises(ChainRefused) as caught:
        check_chain(
            parse_chain(text),
            roots=[root.certificate for root in roots],
            serial_number="SN001",
            now=now,
        )
    return caught.value.fault


@pytest.mark.parametrize("with_root", [False, True])
def test_leaf_and_issuing_ca_under_a_known_root_pass(*, with_root: bool) -> None:
    chain = [LEAF, ISSUING.certificate, *([ROOT.certificate] if with_root else [])]
    check_chain(chain, roots=[ROOT.certificate], serial_number="SN001", now=NOW)


def test_no_pem_is_malformed() -> None:
    assert fault("no certificate") is ChainFault.MALFORMED


def test_six_certificates_are_too_many() -> None:
    assert fault(pem(*[LEAF] * 6)) is ChainFault.TOO_LONG


def test_another_stations_serial_number_is_the_wrong_subject() -> None:
    other = ISSUING.sign("SN0011", KEY)
    assert fault(pem(other, ISSUING.certificate)) is ChainFault.WRONG_SUBJECT


def test_certificate_that_starts_in_the_future_is_not_yet_valid() -> None:
    early = NOW - timedelta(days=2)
    assert fault(pem(LEAF, ISSUING.certificate), now=early) is ChainFault.NOT_YET_VALID


def test_certificate_past_its_end_is_expired() -> None:
    late = NOW + timedelta(days=91)
    assert fault(pem(LEAF, ISSUING.certificate), now=late) is ChainFault.EXPIRED


def test_missing_intermediate_leaves_no_root_above() -> None:
    assert fault(pem(LEAF)) is ChainFault.UNKNOWN_ROOT


def test_foreign_root_is_unknown() -> None:
    foreign = Issuer.root("Foreign Root")
    text = pem(LEAF, ISSUING.certificate)
    assert fault(text, roots=(foreign,)) is ChainFault.UNKNOWN_ROOT
    assert fault(text, roots=()) is ChainFault.UNKNOWN_ROOT


def test_chain_out_of_order_is_broken() -> None:
    stranger = ROOT.issuing_ca("Stranger CA")
    assert fault(pem(LEAF, stranger.certificate)) is ChainFault.BROKEN_CHAIN


def test_same_name_with_another_key_is_broken() -> None:
    twin = ROOT.issuing_ca("Test Issuing CA")
    assert fault(pem(LEAF, twin.certificate)) is ChainFault.BROKEN_CHAIN


def test_issuer_without_ca_true_is_no_ca() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    impostor = Issuer(ROOT.sign("No CA", key.public_key()), key)
    leaf = impostor.sign("SN001", KEY)
    assert fault(pem(leaf, impostor.certificate)) is ChainFault.NOT_A_CA
