"""csms.domain.admission: each refusal differs from an admission in one fact."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest

from csms.domain.admission import (
    Admitted,
    BasicCredentials,
    HandshakeFacts,
    MalformedCredentials,
    PresentedCertificate,
    RefusalReason,
    Refused,
    decide,
    identify,
    reconsider,
)
from csms.domain.certificate import (
    ADMISSIBLE,
    CertificateRecord,
    CertificateStatus,
    CertificateUse,
)
from csms.domain.password import Peppers, hash_password
from csms.domain.station import (
    IdentityInvalid,
    RegistrationStatus,
    SecurityProfile,
    Station,
    parse_identity,
    parse_serial_number,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PEPPERS = Peppers(current=1, by_version={1: b"p" * 32})
PASSWORD = hash_password("pass:word", salt=b"s" * 16, peppers=PEPPERS)
STATION = Station(
    id=UUID(int=1),
    identity=parse_identity("cs1"),
    registered_as="CS1",
    serial_number=parse_serial_number("SN1"),
    security_profile=SecurityProfile.TLS_BASIC,
    minimum_security_profile=SecurityProfile.BASIC,
    registration_status=RegistrationStatus.ACCEPTED,
    passwords=(PASSWORD,),
)
RECORD = CertificateRecord(
    id=UUID(int=2),
    station_id=STATION.id,
    use=CertificateUse.CHARGING_STATION,
    issuer="stations",
    serial="1",
    fingerprint_sha256="f1",
    status=CertificateStatus.ACTIVE,
    not_before=NOW - HOUR,
    not_after=NOW + HOUR,
    certificate_pem="",
    chain_pem="",
)
PRESENTED = PresentedCertificate(
    fingerprint_sha256="f1",
    common_names=("SN1",),
    organizations=("CSO",),
    not_before=NOW - HOUR,
    not_after=NOW + HOUR,
    is_ca=False,
    may_authenticate=True,
)
BY_PASSWORD = HandshakeFacts(
    listener=SecurityProfile.TLS_BASIC,
    identity=STATION.identity,
    subprotocols=("ocpp2.0.1",),
    basic=BasicCredentials("CS1", "pass:word"),
    organization="CSO",
)
BY_CERTIFICATE = replace(
    BY_PASSWORD, listener=SecurityProfile.TLS_CERTIFICATE, basic=None, certificate=PRESENTED
)
Change = dict[str, Any]


def decided(
    facts: HandshakeFacts,
    station: Station | None = STATION,
    record: CertificateRecord | None = RECORD,
) -> Admitted | Refused:
    return decide(facts, station, record, now=NOW, peppers=PEPPERS)


@pytest.mark.parametrize("profile", [SecurityProfile.BASIC, SecurityProfile.TLS_BASIC])
def test_the_right_password_opens_profiles_1_and_2(profile: SecurityProfile) -> None:
    outcome = decided(replace(BY_PASSWORD, listener=profile), record=None)
    assert outcome == Admitted(STATION, profile, "ocpp2.0.1", None, PASSWORD)


def test_the_stations_own_certificate_opens_profile_3() -> None:
    outcome = decided(BY_CERTIFICATE)
    assert outcome == Admitted(STATION, SecurityProfile.TLS_CERTIFICATE, "ocpp2.0.1", RECORD, None)


@pytest.mark.parametrize("status", sorted(ADMISSIBLE))
def test_every_certificate_a_station_may_hold_opens(status: CertificateStatus) -> None:
    """A02.FR.28, T14."""
    assert isinstance(decided(BY_CERTIFICATE, record=replace(RECORD, status=status)), Admitted)


def test_the_slot_that_opened_is_named() -> None:
    pending = replace(PASSWORD, pending=True)
    outcome = decided(BY_PASSWORD, replace(STATION, passwords=(pending,)))
    assert isinstance(outcome, Admitted)
    assert outcome.password is pending


def test_the_stations_order_of_subprotocols_counts_and_unknown_ones_are_passed_over() -> None:
    outcome = decided(replace(BY_PASSWORD, subprotocols=("ocpp0.1", "ocpp2.0.1")))
    assert isinstance(outcome, Admitted)
    assert outcome.subprotocol == "ocpp2.0.1"


def test_a_higher_profile_than_registered_is_welcome() -> None:
    low = replace(STATION, security_profile=SecurityProfile.BASIC)
    assert isinstance(decided(BY_CERTIFICATE, low), Admitted)


R = RefusalReason
PASSWORD_REFUSALS: dict[RefusalReason, tuple[Change, Callable[[Station], Station | None]]] = {
    R.CREDENTIALS_MISSING: ({"basic": None}, lambda s: s),
    R.CREDENTIALS_MALFORMED: ({"basic": MalformedCredentials()}, lambda s: s),
    R.USER_NAME: ({"basic": BasicCredentials("cs10", "pass:word")}, lambda s: s),
    R.UNKNOWN_STATION: ({}, lambda _: None),
    R.PASSWORD: ({"basic": BasicCredentials("cs1", "wrong")}, lambda s: s),
    R.BLOCKED: ({}, lambda s: replace(s, blocked=True)),
    R.PROFILE_TOO_LOW: ({}, lambda s: replace(s, proven_profile=SecurityProfile.TLS_CERTIFICATE)),
}


@pytest.mark.parametrize("reason", PASSWORD_REFUSALS)
def test_profile_2_refuses_with_401_whatever_failed(reason: RefusalReason) -> None:
    facts, station = PASSWORD_REFUSALS[reason]
    outcome = decided(replace(BY_PASSWORD, **facts), station(STATION))
    assert outcome == Refused(HTTPStatus.UNAUTHORIZED, reason)


CERTIFICATE_REFUSALS: list[tuple[RefusalReason, Change, Change, Change]] = [
    (R.CERTIFICATE_UNKNOWN, {"fingerprint_sha256": "f2"}, {}, {}),
    (R.CERTIFICATE_OF_ANOTHER_STATION, {}, {"station_id": UUID(int=9)}, {}),
    (R.CERTIFICATE_REVOKED, {}, {"status": CertificateStatus.REVOKED}, {}),
    # Revoked is said first, also of one that has ended.
    (
        R.CERTIFICATE_REVOKED,
        {"not_after": NOW},
        {"status": CertificateStatus.REVOKED, "not_after": NOW},
        {},
    ),
    (R.CERTIFICATE_EXPIRED, {"not_after": NOW}, {}, {}),
    (R.CERTIFICATE_EXPIRED, {}, {"not_after": NOW}, {}),
    (R.CERTIFICATE_NOT_YET_VALID, {"not_before": NOW + HOUR / 60}, {}, {}),
    (R.CERTIFICATE_NOT_YET_VALID, {}, {"not_before": NOW + HOUR / 60}, {}),
    *[
        (R.CERTIFICATE_NOT_ADMISSIBLE, {}, {"status": status}, {})
        for status in sorted(set(CertificateStatus) - ADMISSIBLE - {CertificateStatus.REVOKED})
    ],
    (R.CERTIFICATE_NOT_ADMISSIBLE, {}, {"use": CertificateUse.V2G}, {}),
    (R.CERTIFICATE_IS_CA, {"is_ca": True}, {}, {}),
    (R.CERTIFICATE_PURPOSE, {"may_authenticate": False}, {}, {}),
    *[
        (R.CERTIFICATE_COMMON_NAME, {"common_names": names}, {}, {})
        for names in (
            (),
            ("SN10",),
            ("sn1",),
            ("SN1 ",),
            ("SN1\0",),
            ("SN1", "SN2"),
            ("SN1", "SN1"),
        )
    ],
    *[
        (R.CERTIFICATE_ORGANIZATION, {"organizations": names}, {}, {})
        for names in ((), ("CSO2",), ("cso",), ("CSO", "CSO2"))
    ],
    (R.BLOCKED, {}, {}, {"blocked": True}),
]


@pytest.mark.parametrize(("reason", "presented", "record", "station"), CERTIFICATE_REFUSALS)
def test_profile_3_refuses_with_403_whatever_failed(
    reason: RefusalReason, presented: Change, record: Change, station: Change
) -> None:
    facts = replace(BY_CERTIFICATE, certificate=replace(PRESENTED, **presented))
    outcome = decided(facts, replace(STATION, **station), replace(RECORD, **record))
    assert outcome == Refused(HTTPStatus.FORBIDDEN, reason)


def test_profile_3_needs_a_certificate_a_record_and_a_station() -> None:
    forbidden = HTTPStatus.FORBIDDEN
    without = replace(BY_CERTIFICATE, certificate=None)
    assert decided(without) == Refused(forbidden, R.CERTIFICATE_MISSING)
    assert decided(BY_CERTIFICATE, record=None) == Refused(forbidden, R.CERTIFICATE_UNKNOWN)
    assert decided(BY_CERTIFICATE, None) == Refused(forbidden, R.UNKNOWN_STATION)


def test_a_password_opens_nothing_on_profile_3() -> None:
    facts = replace(BY_CERTIFICATE, certificate=None, basic=BY_PASSWORD.basic)
    assert decided(facts) == Refused(HTTPStatus.FORBIDDEN, R.CERTIFICATE_MISSING)


def test_the_user_name_is_ascii() -> None:
    """The Kelvin sign is a k to Unicode; identifierString has no such letter (A08)."""
    station = replace(STATION, identity=parse_identity("k1"))
    facts = replace(
        BY_PASSWORD, identity=station.identity, basic=BasicCredentials("\u212a1", "pass:word")
    )
    assert decided(facts, station) == Refused(HTTPStatus.UNAUTHORIZED, R.USER_NAME)


def test_a_certificate_opens_nothing_on_profile_2() -> None:
    facts = replace(BY_PASSWORD, basic=None, certificate=PRESENTED)
    assert decided(facts) == Refused(HTTPStatus.UNAUTHORIZED, R.CREDENTIALS_MISSING)


def test_a_target_outside_the_grammar_is_404_before_anything_else() -> None:
    facts = replace(BY_PASSWORD, identity=None, subprotocols=())
    assert decided(facts, None, None) == Refused(HTTPStatus.NOT_FOUND, R.TARGET)


@pytest.mark.parametrize("offered", [(), ("ocpp1.6",), ("OCPP2.0.1",)])
def test_no_common_subprotocol_is_400(offered: tuple[str, ...]) -> None:
    """TC_B_58."""
    facts = replace(BY_PASSWORD, subprotocols=offered)
    assert decided(facts) == Refused(HTTPStatus.BAD_REQUEST, R.SUBPROTOCOL)


@pytest.mark.parametrize(
    ("target", "identity"),
    [
        ("/ocpp/CS001", "cs001"),
        ("/ocpp/cs%30%301", "cs001"),
        ("/ocpp/a%2Bb", "a+b"),
        ("/ocpp/a%7cb", "a|b"),
        ("/ocpp/" + "%41" * 48, "a" * 48),
    ],
)
def test_the_identity_is_decoded_once(target: str, identity: str) -> None:
    assert identify(target) == identity


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "/ocpp",
        "/ocpp/",
        "/OCPP/cs1",
        "/ocpp/cs1/",
        "/ocpp//cs1",
        "//ocpp/cs1",
        "/ocpp/cs1?x",
        "/ocpp/cs1;p",
        "/ocpp/cs1#x",
        "/ocpp/a/b",
        "/ocpp/a%2Fb",
        "/ocpp/..",
        "/ocpp/%2e%2e",
        "/ocpp/%00",
        "/ocpp/cs%0d%0a",
        "/ocpp/a%2541",
        "/ocpp/a%c0%af",
        "/ocpp/a%",
        "/ocpp/a%4",
        "/ocpp/a%zz",
        "/ocpp/a%+1",
        "/ocpp/a%\u0664\u0661",
        "/ocpp/a:b",
        "/ocpp/" + "a" * 49,
        "/ocpp/" + "%41" * 49,
        "http://evil/ocpp/cs1",
        "/ocpp/caf\u00e9",
    ],
)
def test_every_other_target_is_refused(target: str) -> None:
    """A07."""
    with pytest.raises(IdentityInvalid):
        identify(target)


def test_secrets_are_not_printed() -> None:
    assert "pass:word" not in repr(BY_PASSWORD)


@pytest.mark.parametrize(
    ("profile", "status"),
    [
        (SecurityProfile.TLS_BASIC, HTTPStatus.UNAUTHORIZED),
        (SecurityProfile.TLS_CERTIFICATE, HTTPStatus.FORBIDDEN),
    ],
)
def test_an_admission_is_looked_at_again_when_the_session_is_claimed(
    profile: SecurityProfile, status: HTTPStatus
) -> None:
    """Between the decision and the claim a station may be blocked or deleted."""
    admitted = Admitted(STATION, profile, "ocpp2.0.1")
    assert reconsider(admitted, STATION) is None
    blocked = replace(STATION, blocked=True)
    assert reconsider(admitted, blocked) == Refused(status, RefusalReason.BLOCKED)
    assert reconsider(admitted, None) == Refused(status, RefusalReason.UNKNOWN_STATION)


def test_a_lower_profile_loses_to_a_higher_one_that_was_claimed_meanwhile() -> None:
    """A05.FR.07, however the two connections interleave."""
    admitted = Admitted(STATION, SecurityProfile.TLS_BASIC, "ocpp2.0.1")
    proven = replace(STATION, proven_profile=SecurityProfile.TLS_CERTIFICATE)
    expected = Refused(HTTPStatus.UNAUTHORIZED, RefusalReason.PROFILE_TOO_LOW)
    assert reconsider(admitted, proven) == expected
