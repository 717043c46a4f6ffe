"""Names that may stand in a certificate, each with its refusal twins."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from pki.x509 import names


@pytest.mark.parametrize("text", ["A", "CS001", "12345678", "a" * 25, "SN-1_x"])
def test_a_serial_number_is_accepted(text: str) -> None:
    assert names.parse_serial_number(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a" * 26, "cs.example.com", "10.0.0.1", "::1", "http://x", "a b", "CS\n", "ä",
     "localhost", "LOCALHOST", "xn--sn-via", "0x7f000001", "*"],
)  # fmt: skip
def test_what_looks_like_a_host_or_address_is_no_serial_number(text: str) -> None:
    """A00.FR.511."""
    with pytest.raises(names.NameInvalid):
        names.parse_serial_number(text)


def test_an_organization_is_accepted() -> None:
    assert names.parse_organization("Example CSO") == "Example CSO"


@pytest.mark.parametrize("text", ["", " x", "x ", "x" * 65, "Ä", "a\tb"])
def test_an_organization_that_cannot_be_compared_byte_by_byte_is_refused(text: str) -> None:
    with pytest.raises(names.NameInvalid):
        names.parse_organization(text)


def test_a_host_name_is_lowered() -> None:
    assert names.parse_host_name("CSMS.Example.com") == "csms.example.com"


@pytest.mark.parametrize(
    "text", ["", "*.example.com", "10.0.0.1", "a..b", "-a", "x" * 64 + ".a", "a_b"]
)
def test_wildcards_and_addresses_are_no_host_names(text: str) -> None:
    """A00.FR.510."""
    with pytest.raises(names.NameInvalid):
        names.parse_host_name(text)


def test_addresses_of_both_families_are_accepted() -> None:
    assert [str(names.parse_ip_address(a)) for a in ("127.0.0.1", "::1")] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("text", ["localhost", "fe80::1%eth0", "1.2.3", ""])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(names.NameInvalid):
        names.parse_ip_address(text)


@pytest.mark.parametrize("role", ["gateway", "api"])
def test_a_caller_role_is_accepted(role: str) -> None:
    assert names.parse_caller_role(role) == role


@pytest.mark.parametrize("role", ["", "Gateway", "a b", "x" * 33, "api\n"])
def test_other_text_is_no_caller_role(role: str) -> None:
    with pytest.raises(names.NameInvalid):
        names.parse_caller_role(role)


def test_an_attribute_that_stands_twice_is_refused() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in ("a", "b")])
    with pytest.raises(names.NameInvalid, match="more than once"):
        names.single_attribute(name, NameOID.COMMON_NAME)


def test_an_attribute_of_bits_is_no_text() -> None:
    name = x509.Name(
        [x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x01", _ASN1Type.BitString)]
    )
    with pytest.raises(names.NameInvalid, match="no text"):
        names.single_attribute(name, NameOID.X500_UNIQUE_IDENTIFIER)


def test_an_absent_attribute_is_none() -> None:
    assert names.single_attribute(x509.Name([]), NameOID.COMMON_NAME) is None
