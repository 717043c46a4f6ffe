"""/stations: registration, changes, live session, password, attempts to connect."""

import asyncio
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest

from csms.domain.admission import RefusalReason
from csms.domain.audit import AuditAction
from csms.domain.password import GENERATED_LENGTH, matching_record
from csms.domain.station import SecurityProfile, parse_identity
from csms.ports.bus import SESSIONS_CLOSE, BusError
from csms.ports.records import ConnectionAttempt
from csms.ports.station_link import NotConnected
from pki.wire import PkiRefused, PkiUnavailable
from pki.wire import RefusalReason as PkiReason
from tests.fixtures.api_room import ApiRoom, room
from tests.fixtures.inside import PEPPERS

NEW = {"identity": "CS-001", "serial_number": "SN-001", "security_profile": 2}
FIELDS = {
    "identity",
    "serial_number",
    "security_profile",
    "minimum_security_profile",
    "connected",
    "node",
    "registration_status",
    "blocked",
    "groups",
    "last_seen_at",
}


async def connect(api: ApiRoom, identity: str) -> None:
    async with api.house.store.writing() as work:
        station = await work.stations.by_identity(parse_identity(identity))
        assert station is not None
        await work.sessions.claim(
            station_id=station.id,
            node="node-7",
            profile=SecurityProfile.TLS_BASIC,
            certificate_id=None,
            peer="192.0.2.9",
            at=api.house.clock.now(),
        )
        await work.commit()


def test_registering_shows_the_generated_password_once(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.call("POST", "/stations", NEW | {"groups": ["depot"]})
        assert answer.status_code == 201
        assert answer.headers["location"] == "/api/v1/stations/CS-001"
        created = answer.json()
        password = created.pop("password")
        assert len(password) == GENERATED_LENGTH
        assert set(created) == FIELDS
        assert created["groups"] == ["depot"]
        async with api.house.store.reading() as work:
            station = await work.stations.by_identity(parse_identity("CS-001"))
        assert station is not None
        assert matching_record(password, station.passwords, PEPPERS)
        shown = await api.call("GET", "/stations/cs-001")
        assert shown.json() == created
        assert password not in await api.everything_audited()

    room(sqlite_store_url, scene)


def test_profile_3_has_no_password(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.call("POST", "/stations", NEW | {"security_profile": 3})
        assert answer.status_code == 201
        assert "password" not in answer.json()

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"serial_number": "a.example.com"}, ["/serial_number"]),
        ({"serial_number": "localhost"}, ["/serial_number"]),
        ({"serial_number": "x" * 26}, ["/serial_number"]),
        ({"identity": "a/b"}, ["/identity"]),
        ({"identity": "a:b", "security_profile": 9}, ["/identity", "/security_profile"]),
        ({"security_profile": "2"}, ["/security_profile"]),
        ({"security_profile": True}, ["/security_profile"]),
        ({"security_profile": 2.0}, ["/security_profile"]),
        ({"registration_status": "accepted"}, ["/registration_status"]),
        ({"groups": None}, ["/groups"]),
        ({"groups": [""]}, ["/groups/0"]),
        ({"blocked": True}, ["/blocked"]),
        ({"password": "chosen-by-me-12345"}, ["/password"]),
        ({"a/b~c": 1}, ["/a~1b~0c"]),
    ],
)
def test_what_is_wrong_is_named_by_pointer(
    sqlite_store_url: str, change: dict[str, object], pointers: list[str]
) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.call("POST", "/stations", NEW | change)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == pointers
        assert (await api.call("GET", "/stations")).json() == {"items": [], "next": None}

    room(sqlite_store_url, scene)


def test_a_taken_identity_in_any_case_or_a_taken_serial_number_is_a_conflict(
    sqlite_store_url: str,
) -> None:
    async def scene(api: ApiRoom) -> None:
        assert (await api.call("POST", "/stations", NEW)).status_code == 201
        for taken in ({"identity": "cs-001", "serial_number": "SN-2"}, {"identity": "CS-2"}):
            answer = await api.call("POST", "/stations", NEW | taken)
            assert answer.status_code == 409
        assert len(await api.audited(AuditAction.STATION_REGISTER)) == 1

    room(sqlite_store_url, scene)


def test_nothing_is_registered_when_the_pki_does_not(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        api.house.pki.fails = [PkiRefused(PkiReason.REQUEST_CONFLICT), PkiUnavailable()]
        assert (await api.call("POST", "/stations", NEW)).status_code == 409
        answer = await api.call("POST", "/stations", NEW)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert (await api.call("GET", "/stations/CS-001")).status_code == 404

    room(sqlite_store_url, scene)


def test_pages_follow_each_other_to_the_end(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for number in range(5):
            await api.house.station(f"CS-{number}")
        seen, cursor = [], None
        while True:
            parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = (await api.call("GET", "/stations", params=parameters)).json()
            assert set(page) == {"items", "next"}
            seen += [station["identity"] for station in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == [f"CS-{number}" for number in range(5)]

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("parameters", "parameter"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "forged"}, "cursor"),
        ({"conected": "true"}, "conected"),
        ([("limit", "1"), ("limit", "2")], "limit"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    sqlite_store_url: str, parameters: object, parameter: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        answer = await api.call("GET", "/stations", params=parameters)
        assert answer.status_code == 422
        assert [error["parameter"] for error in answer.json()["errors"]] == [parameter]

    room(sqlite_store_url, scene)


def test_connected_stations_are_shown_with_their_node_and_filtered(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        await api.house.station("CS-2", groups=("depot",))
        await connect(api, "CS-2")
        shown = (await api.call("GET", "/stations/CS-2")).json()
        assert (shown["connected"], shown["node"]) == (True, "node-7")
        assert shown["last_seen_at"] == "2026-11-23T12:00:00.000Z"
        for parameters, expected in (
            ({"connected": "true"}, ["CS-2"]),
            ({"connected": "false"}, ["CS-1"]),
            ({"group": "depot"}, ["CS-2"]),
        ):
            page = (await api.call("GET", "/stations", params=parameters)).json()
            assert [station["identity"] for station in page["items"]] == expected

    room(sqlite_store_url, scene)


def test_a_change_is_kept_and_what_is_left_out_stays(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.call("POST", "/stations", NEW | {"groups": ["a"]})
        answer = await api.call("PATCH", "/stations/CS-001", {"blocked": True})
        assert answer.status_code == 200
        shown = (await api.call("GET", "/stations/CS-001")).json()
        assert shown == answer.json()
        assert (shown["blocked"], shown["groups"]) == (True, ["a"])
        (entry,) = await api.audited(AuditAction.STATION_CHANGE)
        assert entry.record.details == {"blocked": "True"}

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"security_profile": 1}, "/security_profile"),
        ({"minimum_security_profile": 1}, "/minimum_security_profile"),
        ({"blocked": None}, "/blocked"),
        ({"blocked": "true"}, "/blocked"),
        ({"identity": "CS-002"}, "/identity"),
        ({"node": "mine"}, "/node"),
    ],
)
def test_a_change_that_may_not_be_is_refused(
    sqlite_store_url: str, change: dict[str, object], pointer: str
) -> None:
    """A05.FR.07 and mass assignment (F12)."""

    async def scene(api: ApiRoom) -> None:
        await api.call("POST", "/stations", NEW)
        before = (await api.call("GET", "/stations/CS-001")).json()
        answer = await api.call("PATCH", "/stations/CS-001", change)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
        assert (await api.call("GET", "/stations/CS-001")).json() == before

    room(sqlite_store_url, scene)


def test_a_deleted_station_is_gone(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.call("POST", "/stations", NEW)
        answer = await api.call("DELETE", "/stations/CS-001")
        assert (answer.status_code, answer.content) == (204, b"")
        for method in ("GET", "DELETE"):
            assert (await api.call(method, "/stations/CS-001")).status_code == 404

    room(sqlite_store_url, scene)


@pytest.mark.parametrize("identity", ["nobody", "a:b", "..", "x" * 49, "%00", "%C3%A9"])
def test_who_is_not_registered_is_not_found(sqlite_store_url: str, identity: str) -> None:
    async def scene(api: ApiRoom) -> None:
        for path in (f"/stations/{identity}", f"/stations/{identity}/connection-attempts"):
            answer = await api.call("GET", path)
            if identity == "nobody" and path.endswith("attempts"):
                assert answer.status_code == 200
            else:
                assert answer.status_code == 404

    room(sqlite_store_url, scene)


def test_disconnect_says_whether_there_was_a_session(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        for connected in (True, False):
            api.house.link.connected = connected
            answer = await api.call("POST", "/stations/CS-1/disconnect")
            assert (answer.status_code, answer.json()) == (200, {"disconnected": connected})
        assert len(await api.audited(AuditAction.STATION_DISCONNECT)) == 2

    room(sqlite_store_url, scene)


@pytest.mark.parametrize("status", ["Accepted", "Rejected", "RebootRequired"])
def test_a_password_change_answers_the_status_and_never_the_password(
    sqlite_store_url: str, status: str
) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        await connect(api, "CS-1")
        result = {"attributeStatus": status, "component": {}, "variable": {}}
        api.house.link.answers = [{"setVariableResult": [result]}]
        answer = await api.call("POST", "/stations/CS-1/password")
        assert (answer.status_code, answer.json()) == (200, {"status": status})
        ((_, _, payload),) = api.house.link.calls
        password = payload["setVariableData"][0]["attributeValue"]
        assert password not in await api.everything_audited()

    room(sqlite_store_url, scene)


def test_a_password_change_needs_a_connected_station(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        assert (await api.call("POST", "/stations/CS-1/password")).status_code == 409
        await connect(api, "CS-1")
        api.house.link.answers = [NotConnected()]
        assert (await api.call("POST", "/stations/CS-1/password")).status_code == 409

    room(sqlite_store_url, scene)


def test_connection_attempts_say_which_check_failed(sqlite_store_url: str) -> None:
    async def scene(api: ApiRoom) -> None:
        now = api.house.clock.now()
        refused = ConnectionAttempt(
            at=now,
            peer="192.0.2.9",
            listener="2",
            outcome="refused",
            failing_check=RefusalReason.PASSWORD,
            identity="CS-404",
            tls_version="TLSv1.3",
            tls_cipher="TLS_AES_128_GCM_SHA256",
            http_status=HTTPStatus.UNAUTHORIZED,
        )
        later = ConnectionAttempt(
            at=now + timedelta(seconds=1),
            peer="192.0.2.9",
            listener="2",
            outcome="admitted",
            identity="cs-404",
        )
        async with api.house.store.writing() as work:
            await work.connection_attempts.add_all([refused, later])
            await work.commit()
        page = (await api.call("GET", "/stations/CS-404/connection-attempts")).json()
        assert [item["outcome"] for item in page["items"]] == ["admitted", "refused"]
        assert page["items"][1] == {
            "at": "2026-11-23T12:00:00.000Z",
            "peer": "192.0.2.9",
            "listener": "2",
            "outcome": "refused",
            "failing_check": "password",
            "detail": None,
            "http_status": 401,
            "tls_version": "TLSv1.3",
            "tls_cipher": "TLS_AES_128_GCM_SHA256",
            "certificate": None,
        }

    room(sqlite_store_url, scene)


async def heard(api: ApiRoom) -> list[dict[str, Any]]:
    """What gateways are told from now on."""
    orders: list[dict[str, Any]] = []

    async def hear(order: dict[str, Any]) -> dict[str, Any]:
        orders.append(order)
        return {}

    await api.house.bus.subscribe(SESSIONS_CLOSE, hear)
    return orders


@pytest.mark.parametrize(
    ("method", "body", "order"),
    [
        ("PATCH", {"blocked": True}, {"reason": "blocked"}),
        (
            "PATCH",
            {"security_profile": 3, "minimum_security_profile": 3},
            {"reason": "the security profile is too low", "below_profile": 3},
        ),
        (
            "PATCH",
            {"registration_status": "Rejected"},
            {"reason": "the registration status has changed"},
        ),
        ("DELETE", None, {"reason": "deleted"}),
    ],
)
def test_gateways_hear_at_once_whose_session_ends(
    sqlite_store_url: str, method: str, body: object, order: dict[str, object]
) -> None:
    """By the bus, not by their next poll of the outbox."""

    async def scene(api: ApiRoom) -> None:
        station = await api.house.station("CS-1")
        orders = await heard(api)
        assert (await api.call(method, "/stations/CS-1", body)).is_success
        await asyncio.sleep(0)
        assert orders == [order | {"station_id": str(station.id)}]

    room(sqlite_store_url, scene)


@pytest.mark.parametrize(
    "body", [{"groups": ["depot"]}, {"registration_status": "Accepted"}, {"blocked": "yes"}]
)
def test_gateways_hear_nothing_of_what_ends_no_session(sqlite_store_url: str, body: object) -> None:
    async def scene(api: ApiRoom) -> None:
        await api.house.station("CS-1")
        await api.call("PATCH", "/stations/CS-1", {"blocked": True})  # an older order is no news
        orders = await heard(api)
        await api.call("PATCH", "/stations/CS-1", body)
        await asyncio.sleep(0)
        assert orders == []

    room(sqlite_store_url, scene)


def test_a_station_is_blocked_also_when_the_bus_is_away(
    sqlite_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(api: ApiRoom) -> None:
        async def away(topic: str, message: object) -> None:
            raise BusError("away")

        await api.house.station("CS-1")
        monkeypatch.setattr(api.house.bus, "publish", away)
        answer = await api.call("PATCH", "/stations/CS-1", {"blocked": True})
        assert (answer.status_code, answer.json()["blocked"]) == (200, True)
        async with api.house.store.reading() as work:
            (event,) = await work.outbox.after(0, limit=10)
        assert event.payload["reason"] == "blocked"

    room(sqlite_store_url, scene)
