"""csms.gateway.authorization: exactly one Basic credential, or none."""

import base64

import pytest

from csms.domain.admission import BasicCredentials, MalformedCredentials
from csms.gateway.authorization import read_authorization


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_no_header_is_no_credential() -> None:
    assert read_authorization([]) is None


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_scheme_is_case_insensitive(scheme: str) -> None:
    value = f"{scheme} {encoded(b'cs1:secret')}"
    assert read_authorization([value]) == BasicCredentials("cs1", "secret")


def test_the_first_colon_divides() -> None:
    """RFC 7617: the password may hold colons, the user name none."""
    value = f"Basic {encoded(b'cs1:a:b:')}"
    assert read_authorization([value]) == BasicCredentials("cs1", "a:b:")


def test_credentials_are_utf_8() -> None:
    password = "p\u00e4ss"
    value = f"Basic {encoded(f'cs1:{password}'.encode())}"
    assert read_authorization([value]) == BasicCredentials("cs1", password)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer abc",
        encoded(b"cs1:secret"),
        f"Basic,{encoded(b'cs1:secret')}",
        f"Basic\t{encoded(b'cs1:secret')}",
        f"Basic {encoded(b'cs1 secret')}",
        f"Basic {encoded(b'cs1:secret!').rstrip('=')}",
        f"Basic {encoded(b'cs1:secret')}!",
        f"Basic {encoded(b'cs1:')} {encoded(b'secret')}",
        f"Basic {encoded(b'cs1:p' + bytes([0xE4]))}",
        "Basic \udcff\udcfe",
        f"Basic {encoded(b'cs1:' + b'x' * 400)}",
    ],
)
def test_anything_else_is_malformed(value: str) -> None:
    assert read_authorization([value]) == MalformedCredentials()


def test_two_headers_are_malformed_even_if_equal() -> None:
    """A01: two readers might choose differently."""
    value = f"Basic {encoded(b'cs1:secret')}"
    assert read_authorization([value, value]) == MalformedCredentials()
