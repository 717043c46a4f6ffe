"""What a revocation may say: reasons, serial numbers, times (C06, C15)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509

from pki.authority.revocation import REASONS, blocks_key, check_reason, normalised_serial
from pki.wire import PkiRefused, RefusalReason, Revocation
from pki.x509.hash_data import serial_hex
from pki.x509.template import SERIAL_OCTETS, serial_from
from tests.fixtures.pki_memory import NOW


def revocation(**changes: Any) -> Revocation:
    named = {"issuer": "stations", "serial": "ab", "reason": "superseded", "revoked_at": NOW}
    return Revocation(**{**named, **changes})


@pytest.mark.parametrize("text", ["1af", "1AF", "01af", "0" * 60 + "1aF"])
def test_one_number_has_one_spelling(text: str) -> None:
    assert normalised_serial(text) == "1af"


@pytest.mark.parametrize("octet", [0, 1, 0x7F, 0xFF])
def test_our_own_serials_are_spelt_as_the_certificate_hash_data_spells_them(octet: int) -> None:
    """A00.FR.508; C14: 20 octets, positive, none with a zero to lose."""
    serial = serial_from(bytes([octet]) * SERIAL_OCTETS)
    assert normalised_serial(serial_hex(serial)) == serial_hex(serial)
    assert (len(serial_hex(serial)), 0 < serial < 1 << 159) == (40, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "000",
        "f" * 41,
        "-1",
        "+1",
        "0x1f",
        "AA:BB",
        "1 a",
        " 1a",
        "1a\n",
        "1_0",
        "\u0661",  # a digit to Python, not to DER
        "\uff11",
        "g",
    ],
)
def test_what_names_no_number_is_malformed(text: str) -> None:
    """C15."""
    with pytest.raises(PkiRefused) as caught:
        normalised_serial(text)
    assert caught.value.reason is RefusalReason.MALFORMED


def test_forty_digits_are_the_longest() -> None:
    """RFC 5280 §4.1.2.2: 20 octets."""
    assert normalised_serial("f" * 40) == "f" * 40


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_that_is_for_good_passes(reason: str) -> None:
    check_reason(revocation(reason=reason))
    assert reason in x509.ReasonFlags._value2member_map_


@pytest.mark.parametrize(
    "reason", ["", "certificateHold", "removeFromCRL", "cACompromise", "KeyCompromise", "1"]
)
def test_another_reason_is_malformed(reason: str) -> None:
    with pytest.raises(PkiRefused) as caught:
        check_reason(revocation(reason=reason))
    assert caught.value.reason is RefusalReason.MALFORMED


def test_a_time_has_a_zone() -> None:
    check_reason(revocation(revoked_at=NOW.astimezone(timezone(timedelta(hours=2)))))
    with pytest.raises(PkiRefused):
        check_reason(revocation(revoked_at=NOW.replace(tzinfo=None)))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_a_time_that_utc_cannot_say_is_malformed(moment: datetime) -> None:
    with pytest.raises(PkiRefused) as caught:
        check_reason(revocation(revoked_at=moment))
    assert caught.value.reason is RefusalReason.MALFORMED


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_compromised_key_is_blocked_and_no_other(reason: str) -> None:
    """C06."""
    assert blocks_key(revocation(reason=reason)) is (reason == "keyCompromise")
