"""The registration authority's table: what is known, what was asked, what is decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority.records import Ask, Known, StoredCertificate
from pki.authority.registration import (
    Issue,
    Refuse,
    Repeat,
    check_own_subject,
    check_station_subject,
    decide,
)
from pki.wire import CertificateKind, RefusalReason
from pki.x509.csr import CSRRejected, VerifiedCSR
from tests.fixtures.pki_memory import NOW, ORGANIZATION

R = RefusalReason
KEY, OTHER_KEY = "a" * 64, "b" * 64
STATION = Ask(
    request_id=UUID(int=1),
    kind=CertificateKind.STATION,
    holder="station:1",
    content_sha256="c" * 64,
)
SERVER = replace(STATION, kind=CertificateKind.SERVER, holder="server:localhost")
NOTHING = Known(
    request=None,
    request_certificate=None,
    key_holder=None,
    key_blocked=False,
    key_certificate=None,
)
CERTIFICATE = StoredCertificate(
    request_id=STATION.request_id,
    kind=STATION.kind,
    holder=STATION.holder,
    issuer="stations",
    serial="ab",
    fingerprint_sha256="f" * 64,
    public_key_sha256=KEY,
    common_name="CS001",
    not_before=NOW - timedelta(minutes=10),
    not_after=NOW + timedelta(days=90),
    der=b"",
)
REVOKED = replace(CERTIFICATE, revoked_at=NOW, revocation_reason="superseded")
EXPIRED = replace(CERTIFICATE, not_after=NOW)


def decided(ask: Ask = STATION, **known: Any) -> Any:
    outcome = decide(ask, public_key_sha256=KEY, known=replace(NOTHING, **known), now=NOW)
    return outcome.reason if isinstance(outcome, Refuse) else outcome


MINE = {"request": STATION, "key_holder": STATION.holder}
THEIRS = {"request": SERVER, "key_holder": SERVER.holder}


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        ({}, Issue()),
        # An earlier attempt of the same ask left its marks, and no certificate.
        (MINE, Issue()),
        ({"key_holder": STATION.holder}, Issue()),
        # Asked and answered: by request id, or by key under a new request id (C07).
        (MINE | {"request_certificate": CERTIFICATE}, Repeat(CERTIFICATE)),
        ({"key_holder": STATION.holder, "key_certificate": CERTIFICATE}, Repeat(CERTIFICATE)),
        # The id was used before.
        ({"request": SERVER}, R.REQUEST_CONFLICT),
        ({"request": replace(STATION, content_sha256="d" * 64)}, R.REQUEST_CONFLICT),
        ({"request": replace(STATION, holder="station:2")}, R.REQUEST_CONFLICT),
        (
            MINE | {"request_certificate": replace(CERTIFICATE, public_key_sha256=OTHER_KEY)},
            R.REQUEST_CONFLICT,
        ),
        # C06: somebody else's key, a blocked one, one whose certificate is over.
        ({"key_holder": "station:2"}, R.KEY_REUSED),
        ({"key_holder": "station:11"}, R.KEY_REUSED),
        ({"key_holder": SERVER.holder}, R.KEY_REUSED),
        ({"key_holder": STATION.holder, "key_blocked": True}, R.KEY_REUSED),
        (MINE | {"request_certificate": CERTIFICATE, "key_blocked": True}, R.KEY_REUSED),
        (MINE | {"request_certificate": REVOKED}, R.KEY_REUSED),
        ({"key_holder": STATION.holder, "key_certificate": REVOKED}, R.KEY_REUSED),
        (MINE | {"request_certificate": EXPIRED}, R.KEY_REUSED),
        ({"key_holder": STATION.holder, "key_certificate": EXPIRED}, R.KEY_REUSED),
    ],
)
def test_what_a_station_is_answered(known: dict[str, Any], outcome: Any) -> None:
    assert decided(**known) == outcome


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        ({}, Issue()),
        # A listener renews with the key it has: new request, new certificate.
        ({"key_holder": SERVER.holder, "key_certificate": CERTIFICATE}, Issue()),
        ({"key_holder": SERVER.holder, "key_certificate": EXPIRED}, Issue()),
        (THEIRS | {"request_certificate": CERTIFICATE}, Repeat(CERTIFICATE)),
        (THEIRS | {"request_certificate": REVOKED}, R.KEY_REUSED),
        ({"key_holder": STATION.holder}, R.KEY_REUSED),
        ({"key_holder": SERVER.holder, "key_blocked": True}, R.KEY_REUSED),
    ],
)
def test_what_a_listener_is_answered(known: dict[str, Any], outcome: Any) -> None:
    assert decided(SERVER, **known) == outcome


def test_a_used_request_id_is_named_before_anything_about_the_key() -> None:
    """Whoever reuses an id learns nothing of keys."""
    assert decided(request=SERVER, key_holder="station:2") is R.REQUEST_CONFLICT


# --- subjects -------------------------------------------------------------------------------------


def csr(common_name: str | None, organization: str | None = None) -> VerifiedCSR:
    return VerifiedCSR(
        public_key=ec.generate_private_key(ec.SECP256R1()).public_key(),
        public_key_sha256=KEY,
        common_name=common_name,
        organization=organization,
        anomalies=(),
    )


@pytest.mark.parametrize("organization", [None, ORGANIZATION])
def test_a_stations_own_subject_passes(organization: str | None) -> None:
    check_station_subject(
        csr("CS001", organization), serial_number="CS001", organization=ORGANIZATION
    )


@pytest.mark.parametrize(
    ("common_name", "organization", "rule"),
    [
        ("CS002", None, "A00.FR.511"),
        ("cs001", None, "A00.FR.511"),
        ("CS001 ", None, "A00.FR.511"),
        ("xCS001", None, "A00.FR.511"),
        ("", None, "A00.FR.511"),
        (None, None, "A00.FR.511"),
        ("CS001", "Evil Inc", "A00.FR.509"),
        ("CS001", ORGANIZATION.lower(), "A00.FR.509"),
        ("CS001", "", "A00.FR.509"),
    ],
)
def test_another_subject_is_refused_by_its_rule(
    common_name: str | None, organization: str | None, rule: str
) -> None:
    """C01."""
    with pytest.raises(CSRRejected, match=rule) as caught:
        check_station_subject(
            csr(common_name, organization), serial_number="CS001", organization=ORGANIZATION
        )
    assert caught.value.reason is R.WRONG_SUBJECT


@pytest.mark.parametrize("common_name", [None, "localhost", "LocalHost"])
def test_a_listener_may_name_itself_or_not(common_name: str | None) -> None:
    check_own_subject(csr(common_name), common_name="localhost")


@pytest.mark.parametrize("common_name", ["", "localhost.", "other", "local"])
def test_a_listener_may_not_name_another(common_name: str) -> None:
    with pytest.raises(CSRRejected) as caught:
        check_own_subject(csr(common_name), common_name="localhost")
    assert caught.value.reason is R.WRONG_SUBJECT
