"""Whatever comes in as a CSR, only CSRRejected comes out; names and serials hold their bounds."""

from __future__ import annotations

import base64
import contextlib
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.x509.csr import CSRRejected, verify_csr
from pki.x509.names import NameInvalid, parse_host_name, parse_ip_address, parse_serial_number
from pki.x509.template import serial_from
from tests.fixtures import pki_hostile as h
from tests.fixtures.pki_memory import csr_pem, profiles

KEY = ec.generate_private_key(ec.SECP256R1())
POLICY = profiles().key_policy
DER = base64.b64decode("".join(csr_pem().splitlines()[1:-1]))


def verify(pem: str) -> None:
    with contextlib.suppress(CSRRejected):
        verify_csr(pem, policy=POLICY, today=date(2026, 3, 1))


@given(st.text(max_size=6000))
def test_any_text_is_a_request_or_rejected(text: str) -> None:
    verify(text)


@settings(max_examples=300)
@given(st.integers(0, len(DER) - 1), st.binary(min_size=1, max_size=4), st.integers(0, 3))
def test_any_change_of_a_request_is_a_request_or_rejected(at: int, new: bytes, cut: int) -> None:
    changed = DER[:at] + new + DER[at + cut :]
    body = base64.encodebytes(changed).decode()
    verify(f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([h.COMMON_NAME, h.ORGANIZATION_NAME, h.COUNTRY_NAME, h.UNKNOWN]),
    st.sampled_from([h.UTF8, h.PRINTABLE, h.T61, h.IA5, h.UNIVERSAL, h.BMP, 0x03, 0x04, 0x30]),
    st.binary(max_size=80),
    st.binary(max_size=24),
    st.integers(0, 2),
)
@pytest.mark.filterwarnings("ignore:Attribute's length", "ignore:Parsed a serial number")
def test_a_request_that_is_really_signed_over_nonsense_is_a_request_or_rejected(
    oid: bytes, tag: int, text: bytes, value: bytes, version: int
) -> None:
    """What lies behind the signature is reached only by a request whose possession is proven."""
    wished = [
        h.extensions(h.extension(wish, value))
        for wish in (h.SUBJECT_ALT_NAME, h.BASIC_CONSTRAINTS)[: version + 1]
    ]
    subject = h.name(h.attribute(oid, text, tag))
    verify(h.pem(h.request(KEY, subject=subject, attributes=wished, version=version // 2)))


@given(st.text(max_size=70))
def test_any_text_is_a_name_or_invalid(text: str) -> None:
    for parse in (parse_serial_number, parse_host_name, parse_ip_address):
        with contextlib.suppress(NameInvalid):
            parse(text)


@given(st.binary(min_size=20, max_size=20))
def test_any_randomness_is_a_serial_of_twenty_octets(random: bytes) -> None:
    assert 1 << 158 <= serial_from(random) < 1 << 159
