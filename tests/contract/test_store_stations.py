"""Stations: registration, what a connection adds to it, and the read that admits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from csms.domain.station import (
    RegistrationStatus,
    SecurityProfile,
    Station,
    StationIdentity,
    parse_identity,
)
from csms.ports.records import ConnectorStatus, StationFilter
from csms.ports.store import AlreadyExists, CursorInvalid, StoreError, Superseded
from csms.store.unit_of_work import SqlStore
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store


def test_a_station_reads_back_as_it_was_registered(store_url: str) -> None:
    station = records.station(
        groups=("north", "depot"),
        blocked=True,
        passwords=(records.password(), records.password(b"\xff", pending=True)),
    )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.stations.by_identity(parse_identity("cs001")) == station
            assert await unit.stations.by_id(station.id) == station
            assert await unit.stations.by_id(uuid4()) is None
            assert await unit.stations.by_identity(parse_identity("cs002")) is None

    run_with_store(store_url, act)


@pytest.mark.parametrize(
    "twin",
    [
        records.station("cs001", serial_number="OTHER"),
        records.station("CS002", serial_number="SN-CS001"),
        replace(records.station("CS003", serial_number="X"), identity=StationIdentity("CS001")),
    ],
    ids=["identity in another letter case", "serial number", "identity not canonical"],
)
def test_a_taken_name_is_refused_and_the_unit_can_still_record_it(
    store_url: str, twin: Station
) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(records.station("CS001"))
            await unit.commit()
        async with store.writing() as unit:
            with pytest.raises(AlreadyExists):
                await unit.stations.add(twin)
            await unit.audit.add(records.audit_record(reason="already_exists"))
            await unit.commit()
        async with store.reading() as unit:
            page = await unit.audit.page(after_index=None, limit=9, action=None, subject=None)
            assert [entry.record.reason for entry in page.items] == ["already_exists"]
            assert await unit.stations.by_id(twin.id) is None

    run_with_store(store_url, act)


def test_update_writes_the_registration_and_refuses_a_taken_serial(store_url: str) -> None:
    first, second = records.station("CS001"), records.station("CS002")
    changed = replace(
        second,
        blocked=True,
        minimum_security_profile=SecurityProfile.TLS_CERTIFICATE,
        registration_status=RegistrationStatus.PENDING,
        groups=("south",),
    )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(first)
            await unit.stations.add(second)
            await unit.commit()
        async with store.writing() as unit:
            with pytest.raises(AlreadyExists):
                await unit.stations.update(
                    replace(second, serial_number=first.serial_number), was=second
                )
            await unit.stations.update(changed, was=second)
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.stations.by_id(second.id) == changed
            assert await unit.stations.by_id(first.id) == first

    run_with_store(store_url, act)


def test_an_update_leaves_what_others_have_changed_meanwhile(store_url: str) -> None:
    """A worker raises the profile from what it read before an operator blocked the station."""
    station = records.station()

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            await unit.commit()
        async with store.writing() as unit:
            await unit.stations.update(replace(station, blocked=True), was=station)
            await unit.commit()
        highest = SecurityProfile.TLS_CERTIFICATE
        async with store.writing() as unit:
            await unit.stations.update(
                replace(station, minimum_security_profile=highest, security_profile=highest),
                was=station,
            )
            await unit.stations.update(station, was=station)
            await unit.commit()
        async with store.reading() as unit:
            after = await unit.stations.by_id(station.id)
        assert after is not None
        assert after.blocked
        assert after.minimum_security_profile is highest

    run_with_store(store_url, act)


def test_a_deleted_station_is_gone_with_its_session_and_cannot_be_acted_for(store_url: str) -> None:
    station = records.station()

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            await unit.stations.record_boot(station.id, records.boot())
            await unit.commit()
        async with store.writing() as unit:
            await unit.stations.delete(station.id)
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.stations.by_id(station.id) is None
        async with store.writing() as unit:
            with pytest.raises(Superseded):
                await unit.stations.record_boot(station.id, records.boot())

    run_with_store(store_url, act)


def test_a_boot_and_a_session_show_in_the_station_and_update_leaves_them(store_url: str) -> None:
    station = records.station()

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            await unit.stations.record_boot(
                station.id, records.boot(status=RegistrationStatus.PENDING)
            )
            await unit.stations.record_boot(station.id, records.boot())
            session, _ = await unit.sessions.claim(
                station_id=station.id,
                node="node-1",
                profile=SecurityProfile.TLS_CERTIFICATE,
                certificate_id=None,
                peer="192.0.2.1",
                at=NOW,
            )
            await unit.stations.update(replace(station, blocked=True), was=station)
            await unit.commit()
        async with store.reading() as unit:
            overview = await unit.stations.overview(station.identity)
            assert overview is not None
            assert overview.session == session
            assert overview.station == replace(
                station,
                blocked=True,
                booted_as=RegistrationStatus.ACCEPTED,
                proven_profile=SecurityProfile.TLS_CERTIFICATE,
                last_seen_at=NOW,
            )
            assert await unit.stations.overview(parse_identity("nobody")) is None

    run_with_store(store_url, act)


def test_the_newest_report_of_a_connector_wins_whatever_order_they_come_in(store_url: str) -> None:
    station = records.station()

    def status(word: str, seconds: int, connector: int = 1) -> ConnectorStatus:
        return ConnectorStatus(
            station_id=station.id,
            evse_id=1,
            connector_id=connector,
            status=word,
            reported_at=NOW + timedelta(seconds=seconds),
            received_at=NOW,
        )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            for report in (
                status("Available", 0, 2),
                status("Available", 0),
                status("Occupied", 9),
                status("Faulted", 5),
            ):
                await unit.stations.record_connector(report)
            await unit.commit()
        async with store.reading() as unit:
            found = await unit.stations.connectors(station.id)
            assert found == [status("Occupied", 9), status("Available", 0, 2)]
            assert await unit.stations.connectors(uuid4()) == []

    run_with_store(store_url, act)


def test_admission_reads_station_and_certificate_whosever_it_is(store_url: str) -> None:
    station, other = records.station("CS001"), records.station("CS002")
    certificate = records.certificate(other.id)
    fingerprint = certificate.fingerprint_sha256

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            await unit.certificates.add(certificate)
            await unit.commit()
        async with store.reading() as unit:
            read = unit.stations.for_admission
            unknown = parse_identity("unknown")
            assert await read(station.identity, fingerprint) == (station, certificate)
            assert await read(station.identity, None) == (station, None)
            assert await read(station.identity, "00" * 32) == (station, None)
            assert await read(unknown, fingerprint) == (None, certificate)
            assert await read(unknown, None) == (None, None)

    run_with_store(store_url, act)


def test_replacing_passwords_touches_nothing_else(store_url: str) -> None:
    station = records.station()
    passwords = (records.password(b"\x07"), records.password(b"\x08", pending=True))

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.stations.add(station)
            await unit.stations.replace_passwords(station.id, passwords)
            await unit.commit()
        async with store.reading() as unit:
            found = await unit.stations.by_id(station.id)
            assert found == replace(station, passwords=passwords)

    run_with_store(store_url, act)


def test_pages_go_through_all_stations_by_identity_and_filter(store_url: str) -> None:
    names = [f"CS{number:02d}" for number in range(7)]
    stations = [
        records.station(name, groups=("even",) * (n % 2 == 0)) for n, name in enumerate(names)
    ]

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for station in reversed(stations):
                await unit.stations.add(station)
            await unit.sessions.claim(
                station_id=stations[3].id,
                node="n",
                profile=SecurityProfile.TLS_BASIC,
                certificate_id=None,
                peer="p",
                at=NOW,
            )
            await unit.commit()
        async with store.reading() as unit:
            found, cursor = [], None
            while True:
                page = await unit.stations.page(StationFilter(), limit=3, cursor=cursor)
                found += [overview.station.registered_as for overview in page.items]
                cursor = page.next
                if cursor is None:
                    break
            assert found == names

            async def named(**where: Any) -> list[str]:
                page = await unit.stations.page(StationFilter(**where), limit=99, cursor=None)
                return [overview.station.registered_as for overview in page.items]

            assert await named(group="even") == names[::2]
            assert await named(group="eve") == []
            assert await named(connected=True) == [names[3]]
            assert await named(connected=False) == names[:3] + names[4:]

    run_with_store(store_url, act)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "WyJzdGF0aW9ucyJd",  # ["stations"]
        "WyJzdGF0aW9ucyIsMV0",  # ["stations",1]
        "WyJzdGF0aW9ucyIsImEvYiJd",  # ["stations","a/b"]
        "WyJjZXJ0aWZpY2F0ZXMiLCJhIl0",  # ["certificates","a"]
        "e30",  # {}
        "W10",  # []
        "W" * 5000,
        "WyJzdGF0aW9ucyIsImNzMDAxIl0\n",
    ],
)
def test_a_cursor_we_did_not_make_is_refused(sqlite_store_url: str, cursor: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.reading() as unit:
            with pytest.raises(CursorInvalid):
                await unit.stations.page(StationFilter(), limit=1, cursor=cursor)

    run_with_store(sqlite_store_url, act)


def test_a_reading_unit_cannot_write(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.reading() as unit:
            with pytest.raises(StoreError):
                await unit.stations.add(records.station())
        async with store.reading() as unit:
            assert await unit.stations.by_identity(parse_identity("cs001")) is None

    run_with_store(store_url, act)
