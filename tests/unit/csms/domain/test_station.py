"""csms.domain.station: the two names of a station, earned and never confused."""

from uuid import UUID

import pytest

from csms.domain.station import (
    IdentityInvalid,
    RegistrationStatus,
    SecurityProfile,
    SerialNumberInvalid,
    Station,
    parse_identity,
    parse_serial_number,
)


@pytest.mark.parametrize("text", ["cs1", "c" * 48, "A-B_C=D+E|F@G.H*I", "0"])
def test_an_identity_is_kept_in_one_canonical_form(text: str) -> None:
    """T8: identifierString is case-insensitive."""
    assert parse_identity(text) == parse_identity(text.upper()) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c" * 49,
        "a:b",
        "a/b",
        "a%20",
        "a b",
        ".",
        "..",
        "caf\u00e9",
        "cs1\n",
        "c\x00s",
        "\u0131d",
    ],
)
def test_what_is_no_identifier_string_is_no_identity(text: str) -> None:
    with pytest.raises(IdentityInvalid):
        parse_identity(text)


@pytest.mark.parametrize("text", ["SN001", "s" * 25, "a-b_C", "0"])
def test_a_serial_number_is_kept_as_it_is(text: str) -> None:
    assert parse_serial_number(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s" * 26,
        "a.b",
        "10.0.0.1",
        "::1",
        "a b",
        "SN1 ",
        "SN1\n",
        "localhost",
        "LocalHost",
        "\u00df",
    ],
)
def test_what_could_be_a_host_name_or_address_is_no_serial_number(text: str) -> None:
    """A00.FR.511."""
    with pytest.raises(SerialNumberInvalid):
        parse_serial_number(text)


@pytest.mark.parametrize(
    ("minimum", "proven", "lowest"), [(1, None, 1), (2, None, 2), (1, 3, 3), (3, 2, 3)]
)
def test_the_lowest_admissible_profile_is_the_highest_ever_demanded_or_reached(
    minimum: int, proven: int | None, lowest: int
) -> None:
    station = Station(
        id=UUID(int=1),
        identity=parse_identity("cs1"),
        registered_as="cs1",
        serial_number=parse_serial_number("SN1"),
        security_profile=SecurityProfile.TLS_BASIC,
        minimum_security_profile=SecurityProfile(minimum),
        registration_status=RegistrationStatus.ACCEPTED,
        proven_profile=SecurityProfile(proven) if proven else None,
    )
    assert station.lowest_admissible_profile == lowest
