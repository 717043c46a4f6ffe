"""Idempotency-Key: the same request again is answered again, and done once."""

import asyncio
from typing import Any

import pytest

from csms.domain.access import Scope
from csms.domain.audit import AuditAction
from csms.ports.station_link import NoAnswer, NotConnected
from csms.ports.store import StoreUnavailable
from csms.store.idempotency_keys import IdempotencyKeyRepository
from tests.fixtures.api_room import ApiRoom, room

NEW = {"identity": "CS-001", "serial_number": "SN-001", "security_profile": 2}
KEY = {"Idempotency-Key": "first"}


def test_a_repeated_registration_shows_the_station_without_its_password(
    sqlite_store_url: str,
) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        first = await api.call("POST", "/stations", NEW, token=token, headers=KEY)
        again = await api.call("POST", "/stations", NEW, token=token, headers=KEY)
        assert (first.status_code, again.status_code) == (201, 201)
        created = first.json()
        assert created.pop("password")
        assert again.json() == created
        assert again.headers["idempotency-replayed"] == "true"
        assert len(await api.audited(AuditAction.STATION_REGISTER)) == 1

    room(sqlite_store_url, scene)


def test_a_password_in_a_stations_answer_is_not_kept(sqlite_store_url: str) -> None:
    """A01.FR.09: BasicAuthPassword is write-only, and a station may say it all the same."""
    secret = "what-a-station-should-not-say"
    wanted = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
    }
    said = {
        "getVariableResult": [wanted | {"attributeStatus": "Accepted", "attributeValue": secret}]
    }

    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [said]
        token = await api.token(*Scope)
        asked = ("POST", "/stations/CS-1/commands/GetVariables", {"getVariableData": [wanted]})
        first = await api.call(*asked, token=token, headers=KEY)
        again = await api.call(*asked, token=token, headers=KEY)
        assert first.json() == {"status": "answered", "response": said}
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json()["response"]["getVariableResult"][0]["attributeStatus"] == "Accepted"
        assert secret not in again.text

    room(sqlite_store_url, scene)


def test_a_repeated_client_shows_no_secret(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        body = {"name": "a", "roles": ["auditor"]}
        first = await api.call("POST", "/oauth-clients", body, token=token, headers=KEY)
        again = await api.call("POST", "/oauth-clients", body, token=token, headers=KEY)
        assert "client_secret" in first.json()
        assert "client_secret" not in again.json()
        assert first.json()["client_id"] == again.json()["client_id"]

    room(sqlite_store_url, scene)


def test_a_key_belongs_to_one_request(sqlite_store_url: str) -> None:
    """Another body, another path: 422, and nothing happens."""

    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        await api.call("POST", "/stations", NEW, token=token, headers=KEY)
        other = NEW | {"identity": "CS-002", "serial_number": "SN-002"}
        answer = await api.call("POST", "/stations", other, token=token, headers=KEY)
        assert answer.status_code == 422
        answer = await api.call("POST", "/stations/CS-001/disconnect", token=token, headers=KEY)
        assert answer.status_code == 422
        assert (await api.call("GET", "/stations/CS-002")).status_code == 404
        assert await api.audited(AuditAction.STATION_DISCONNECT) == []

    room(sqlite_store_url, scene)


def test_a_key_belongs_to_one_client(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        for _ in range(2):
            answer = await api.call("POST", "/stations/CS-1/disconnect", headers=KEY)
            assert "idempotency-replayed" not in answer.headers

    room(sqlite_store_url, scene)


def test_a_refused_request_uses_up_no_key(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        bad = NEW | {"serial_number": "a.b"}
        assert (
            await api.call("POST", "/stations", bad, token=token, headers=KEY)
        ).status_code == 422
        assert (
            await api.call("POST", "/stations", NEW, token=token, headers=KEY)
        ).status_code == 201

    room(sqlite_store_url, scene)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9"])
def test_a_malformed_key_is_refused(sqlite_store_url: str, key: str) -> None:
    async def scene(api: ApiRoom) -> None:
        headers: Any = {"Idempotency-Key": key.encode("latin-1")}
        answer = await api.call("POST", "/stations", NEW, headers=headers)
        assert answer.status_code == 422

    room(sqlite_store_url, scene)


RESET = ("/stations/CS-1/commands/Reset", {"type": "OnIdle"})


def test_a_repeated_command_is_sent_once(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [{"status": "Accepted"}]
        token = await api.token(*Scope)
        answers = [await api.call("POST", *RESET, token=token, headers=KEY) for _ in range(3)]
        assert [answer.json() for answer in answers] == [answers[0].json()] * 3
        assert len(api.house.link.calls) == 1

    room(sqlite_store_url, scene)


def test_a_command_without_an_answer_is_not_sent_again(sqlite_store_url: str) -> None:
    """It may have been carried out; 504 stays 504 under the same key."""

    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [NoAnswer()]
        token = await api.token(*Scope)
        for _ in range(2):
            answer = await api.call("POST", *RESET, token=token, headers=KEY)
            assert answer.status_code == 504
            assert answer.headers["content-type"] == "application/problem+json"
        assert len(api.house.link.calls) == 1

    room(sqlite_store_url, scene)


def test_a_command_that_never_left_may_be_tried_again(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [NotConnected(), {"status": "Accepted"}]
        token = await api.token(*Scope)
        statuses = [
            (await api.call("POST", *RESET, token=token, headers=KEY)).status_code for _ in range(2)
        ]
        assert statuses == [409, 200]

    room(sqlite_store_url, scene)


def test_the_same_key_at_the_same_time_sends_one_command(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [{"status": "Accepted"}] * 3
        sent, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            sent.set()
            await go_on.wait()

        api.house.link.before_answering = slow
        token = await api.token(*Scope)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(api.call("POST", *RESET, token=token, headers=KEY))
            await sent.wait()
            second = await api.call("POST", *RESET, token=token, headers=KEY)
            go_on.set()
        assert (first.result().status_code, second.status_code) == (200, 409)
        assert len(api.house.link.calls) == 1

    room(sqlite_store_url, scene)


def test_the_same_registration_at_the_same_time_makes_one_station(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(api.call("POST", "/stations", NEW, token=token, headers=KEY))
                for _ in range(4)
            ]
        answers = [task.result() for task in tasks]
        assert [answer.status_code for answer in answers] == [201] * 4
        assert sum("password" in answer.json() for answer in answers) == 1

    room(sqlite_store_url, scene)


def test_an_answer_that_cannot_be_kept_still_goes_out(
    sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CALL was sent: "503, come again" would have it sent twice."""

    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        api.house.link.answers = [{"status": "Accepted"}]
        token = await api.token(*Scope)

        async def away(*_: Any, **__: Any) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(IdempotencyKeyRepository, "keep", away)
        answer = await api.call("POST", *RESET, token=token, headers=KEY)
        assert (answer.status_code, answer.json()["status"]) == (200, "answered")
        # An act of one transaction is undone with its key, and says so.
        answer = await api.call("POST", "/stations", NEW, token=token, headers=KEY)
        assert answer.status_code == 503
        assert (await api.call("GET", "/stations/CS-001", token=token)).status_code == 404

    room(sqlite_store_url, scene)


def test_two_keys_are_no_key(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        token = await api.token(*Scope)
        headers = [
            ("Authorization", f"Bearer {token}"),
            ("Idempotency-Key", "a"),
            ("Idempotency-Key", "b"),
        ]
        answer = await api.http.post("/api/v1/stations", json=NEW, headers=headers)
        assert answer.status_code == 422

    room(sqlite_store_url, scene)
