"""What is refused after the guard has let a request pass leaves a row in the audit log, too."""

from datetime import timedelta
from uuid import uuid4

import pytest

from csms.domain.access import Scope
from csms.domain.audit import AuditAction, Outcome
from csms.domain.certificate import CertificateRecord, CertificateStatus, CertificateUse
from pki.wire import PkiRefused
from pki.wire import RefusalReason as PkiReason
from tests.fixtures.api_room import ApiRoom, room

NEW = {"identity": "CS-1", "serial_number": "SN-1", "security_profile": 2}


async def refused(api: ApiRoom) -> list[tuple[str, str | None]]:
    """Subject and reason of every refusal by the API."""
    records = [entry.record for entry in await api.audited(AuditAction.API_ACCESS)]
    assert all(one.outcome is Outcome.REFUSED for one in records)
    assert all(one.actor.startswith("client:") for one in records)
    return [(one.subject, one.reason) for one in records]


async def certified(api: ApiRoom) -> CertificateRecord:
    station, now = await api.house.station("CS-1"), api.house.clock.now()
    record = CertificateRecord(
        id=uuid4(),
        station_id=station.id,
        use=CertificateUse.CHARGING_STATION,
        issuer="stations",
        serial="ab",
        fingerprint_sha256="cd" * 32,
        status=CertificateStatus.ACTIVE,
        not_before=now,
        not_after=now + timedelta(days=90),
        certificate_pem="leaf",
        chain_pem="chain",
        created_at=now,
    )
    async with api.house.store.writing() as work:
        await work.certificates.add(record)
        await work.commit()
    return record


def test_a_duplicate_registration_is_recorded(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        assert (await api.call("POST", "/stations", NEW)).status_code == 201
        assert await refused(api) == []
        client, secret = await api.client(*Scope)
        token = (await api.ask_token((client.client_id, secret))).json()["access_token"]
        assert (await api.call("POST", "/stations", NEW, token=token)).status_code == 409
        assert await refused(api) == [("route:POST /stations", "conflict")]
        (entry,) = await api.audited(AuditAction.API_ACCESS)
        assert entry.record.actor == f"client:{client.client_id}"

    room(sqlite_store_url, scene)


def test_a_second_revocation_is_recorded(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        record = await certified(api)
        path, body = f"/certificates/{record.id}/revocation", {"reason": "keyCompromise"}
        assert (await api.call("POST", path, body)).status_code == 200
        assert (await api.call("POST", path, body)).status_code == 409
        route = "route:POST /certificates/{certificate_id}/revocation"
        assert await refused(api) == [(route, "conflict")]
        assert len(await api.audited(AuditAction.CERTIFICATE_REVOKE)) == 1

    room(sqlite_store_url, scene)


def test_a_password_change_on_an_offline_station_is_recorded(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        assert (await api.call("POST", "/stations/CS-1/password")).status_code == 409
        assert await refused(api) == [("route:POST /stations/{identity}/password", "conflict")]

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("POST", "/stations", NEW | {"identity": "a/b"}, "invalid"),
        ("POST", "/stations", NEW | {"blocked": True}, "invalid"),
        ("POST", "/stations", None, "invalid"),
        ("POST", "/stations?force=1", NEW, "invalid"),
        ("PATCH", "/stations/CS-1", {"minimum_security_profile": 1}, "invalid"),
        ("PATCH", "/stations/NOBODY", {"blocked": True}, "not_found"),
        ("DELETE", "/stations/NOBODY", None, "not_found"),
        ("DELETE", "/oauth-clients/nobody", None, "not_found"),
        ("POST", "/stations/NOBODY/commands/Reset", {"type": "OnIdle"}, "not_found"),
        ("POST", "/stations/CS-1/commands/Reset", [], "invalid"),
    ],
)
def test_each_refusal_has_its_word(
    sqlite_store_url: str, method: str, path: str, body: object, reason: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        assert (await api.call(method, path, body)).is_client_error
        ((subject, word),) = await refused(api)
        assert subject.startswith(f"route:{method} /")
        assert "NOBODY" not in subject
        assert word == reason

    room(sqlite_store_url, scene)


def test_what_the_pki_refuses_has_a_word_of_its_own(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        api.house.pki.fails = [PkiRefused(PkiReason.REQUEST_CONFLICT)]
        assert (await api.call("POST", "/stations", NEW)).status_code == 409
        assert await refused(api) == [("route:POST /stations", "pki_refused")]

    room(sqlite_store_url, scene)


def test_a_key_that_belongs_to_another_request_is_recorded(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token, headers = await api.token(*Scope), {"Idempotency-Key": "k"}
        await api.call("POST", "/stations", NEW, token=token, headers=headers)
        other = NEW | {"serial_number": "SN-2"}
        answer = await api.call("POST", "/stations", other, token=token, headers=headers)
        assert answer.status_code == 422
        assert await refused(api) == [("route:POST /stations", "conflict")]

    room(sqlite_store_url, scene)


def test_a_command_has_its_own_row_and_no_second_one(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        answer = await api.call("POST", "/stations/CS-1/commands/Reset", {"type": "Now"})
        assert answer.status_code == 422
        (entry,) = await api.audited(AuditAction.COMMAND_SEND)
        assert entry.record.outcome is Outcome.REFUSED
        assert await refused(api) == []

    room(sqlite_store_url, scene)


def test_looking_in_vain_is_no_act(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        assert (await api.call("GET", "/stations/NOBODY")).status_code == 404
        assert (await api.call("GET", "/stations?limit=0")).status_code == 422
        assert await refused(api) == []

    room(sqlite_store_url, scene)
