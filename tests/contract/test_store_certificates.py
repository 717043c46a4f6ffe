"""Certificates and requests: unique where two would be one too many, changed only by comparison."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from csms.domain.certificate import CertificateStatus, CertificateUse, RequestStatus
from csms.ports.store import AlreadyExists, CursorInvalid, Superseded
from csms.store.unit_of_work import SqlStore, SqlUnitOfWork
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store

STATION = uuid4()


def test_a_certificate_reads_back_by_id_and_by_request(store_url: str) -> None:
    request_id = uuid4()
    record = records.certificate(
        STATION, request_id=request_id, first_seen_at=NOW, revoked_at=NOW, revocation_reason="x"
    )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.certificates.add(record)
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.certificates.by_id(record.id) == record
            assert await unit.certificates.by_request(request_id) == record
            assert await unit.certificates.by_id(uuid4()) is None
            assert await unit.certificates.by_request(uuid4()) is None

    run_with_store(store_url, act)


@pytest.mark.parametrize("shared", ["id", "fingerprint_sha256", "serial", "request_id"])
def test_a_second_certificate_with_the_same_key_is_refused(store_url: str, shared: str) -> None:
    first = records.certificate(STATION, request_id=uuid4())
    twin = replace(records.certificate(uuid4()), **{shared: getattr(first, shared)})

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.certificates.add(first)
            with pytest.raises(AlreadyExists):
                await unit.certificates.add(twin)
            await unit.commit()

    run_with_store(store_url, act)


def test_the_same_serial_of_another_issuer_is_another_certificate(store_url: str) -> None:
    first = records.certificate(STATION)
    other = records.certificate(STATION, serial=first.serial, issuer="CN=Other")

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.certificates.add(first)
            await unit.certificates.add(other)
            await unit.commit()

    run_with_store(store_url, act)


def test_certificates_of_a_station_come_newest_first_and_by_status(store_url: str) -> None:
    old = records.certificate(STATION, created_at=NOW - timedelta(days=9))
    new = records.certificate(STATION, status=CertificateStatus.ACTIVE)
    foreign = records.certificate(uuid4())

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for record in (old, new, foreign):
                await unit.certificates.add(record)
            await unit.commit()
        async with store.reading() as unit:
            of_station = unit.certificates.of_station
            assert await of_station(STATION) == [new, old]
            assert await of_station(STATION, [CertificateStatus.ACTIVE]) == [new]
            assert await of_station(STATION, [CertificateStatus.REVOKED]) == []

    run_with_store(store_url, act)


def test_a_status_changes_only_from_what_it_was_believed_to_be(store_url: str) -> None:
    record = records.certificate(STATION, status=CertificateStatus.DELIVERED)

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.certificates.add(record)
            await unit.certificates.update_status(
                record.id,
                was=CertificateStatus.DELIVERED,
                becomes=CertificateStatus.ACTIVE,
                first_seen_at=NOW,
            )
            with pytest.raises(Superseded):
                await unit.certificates.update_status(
                    record.id,
                    was=CertificateStatus.DELIVERED,
                    becomes=CertificateStatus.REJECTED,
                )
            await unit.commit()
        async with store.writing() as unit:
            await unit.certificates.update_status(
                record.id,
                was=CertificateStatus.ACTIVE,
                becomes=CertificateStatus.REVOKED,
                revoked_at=NOW,
                revocation_reason="keyCompromise",
            )
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.certificates.by_id(record.id) == replace(
                record,
                status=CertificateStatus.REVOKED,
                first_seen_at=NOW,
                revoked_at=NOW,
                revocation_reason="keyCompromise",
            )

    run_with_store(store_url, act)


def test_of_two_who_change_a_status_at_once_one_wins(store_url: str) -> None:
    record = records.certificate(STATION)

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.certificates.add(record)
            await unit.commit()

        async def change(becomes: CertificateStatus) -> CertificateStatus | None:
            try:
                async with store.writing() as unit:
                    await unit.certificates.update_status(
                        record.id, was=CertificateStatus.SIGNED, becomes=becomes
                    )
                    await unit.commit()
            except Superseded:
                return None
            return becomes

        results = await asyncio.gather(
            change(CertificateStatus.DELIVERED), change(CertificateStatus.REVOKED)
        )
        won = [result for result in results if result is not None]
        assert len(won) == 1
        async with store.reading() as unit:
            found = await unit.certificates.by_id(record.id)
            assert found is not None
            assert found.status is won[0]

    run_with_store(store_url, act)


def test_pages_of_certificates_filter_and_go_on_where_they_stopped(store_url: str) -> None:
    mine = [
        records.certificate(STATION, not_after=NOW + timedelta(days=number // 2))
        for number in range(7)
    ]
    other = records.certificate(uuid4(), status=CertificateStatus.REVOKED, not_after=NOW)

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for record in (*mine, other):
                await unit.certificates.add(record)
            await unit.commit()
        async with store.reading() as unit:

            async def walk(limit: int, **where: Any) -> list[Any]:
                wanted = {"station_id": None, "status": None, "expires_before": None, **where}
                found: list[Any] = []
                cursor = None
                while True:
                    page = await unit.certificates.page(**wanted, limit=limit, cursor=cursor)
                    assert len(page.items) <= limit
                    found += page.items
                    cursor = page.next
                    if cursor is None:
                        return found

            everything = await walk(3)
            assert everything == sorted([*mine, other], key=lambda c: (c.not_after, c.id))
            assert await walk(2, station_id=STATION) == sorted(
                mine, key=lambda c: (c.not_after, c.id)
            )
            assert await walk(2, status=CertificateStatus.REVOKED) == [other]
            soon = await walk(2, station_id=STATION, expires_before=NOW + timedelta(days=1))
            assert sorted(c.id for c in soon) == sorted(c.id for c in mine[:2])
            with pytest.raises(CursorInvalid):
                await walk_from(unit, "WyJjZXJ0aWZpY2F0ZXMiLCJ4IiwieCJd")

    async def walk_from(unit: SqlUnitOfWork, cursor: str) -> None:
        await unit.certificates.page(
            station_id=None, status=None, expires_before=None, limit=1, cursor=cursor
        )

    run_with_store(store_url, act)


def test_a_station_has_one_open_request_per_use(store_url: str) -> None:
    first = records.request(STATION, certificate_type="ChargingStationCertificate")

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            requests = unit.certificate_requests
            await requests.add(first)
            with pytest.raises(AlreadyExists):
                await requests.add(records.request(STATION))
            v2g = records.request(STATION, use=CertificateUse.V2G)
            await requests.add(v2g)
            assert await requests.open_of(STATION, CertificateUse.CHARGING_STATION) == first
            assert await requests.open_of(STATION, CertificateUse.V2G) == v2g
            await requests.set_status(first.id, RequestStatus.SUPERSEDED, "another CSR")
            assert await requests.open_of(STATION, CertificateUse.CHARGING_STATION) is None
            second = records.request(STATION)
            await requests.add(second)
            # Two open ones cannot come about by a change of status either.
            with pytest.raises(AlreadyExists):
                await requests.set_status(first.id, RequestStatus.OPEN)
            await unit.commit()
        async with store.reading() as unit:
            assert await unit.certificate_requests.by_id(first.id) == replace(
                first, status=RequestStatus.SUPERSEDED, detail="another CSR"
            )
            assert await unit.certificate_requests.by_id(uuid4()) is None

    run_with_store(store_url, act)


def test_open_requests_are_counted_up_to_what_is_enough(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            requests = unit.certificate_requests
            assert await requests.count_open(enough=9) == 0
            for _ in range(5):
                await requests.add(records.request(uuid4()))
            await requests.add(records.request(uuid4(), status=RequestStatus.ISSUED))
            assert await requests.count_open(enough=9) == 5
            assert await requests.count_open(enough=3) == 3
            await unit.commit()

    run_with_store(store_url, act)


def test_a_request_is_found_by_its_csr_and_only_for_its_station(store_url: str) -> None:
    older = records.request(STATION, status=RequestStatus.ISSUED)
    newer = records.request(
        STATION, csr_sha256=older.csr_sha256, received_at=NOW + timedelta(seconds=1)
    )

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.certificate_requests.add(older)
            await unit.certificate_requests.add(newer)
            await unit.commit()
        async with store.reading() as unit:
            by_csr = unit.certificate_requests.by_csr
            assert await by_csr(STATION, older.csr_sha256) == newer
            assert await by_csr(uuid4(), older.csr_sha256) is None
            page = await unit.certificate_requests.page(status=None, limit=1, cursor=None)
            assert page.items == [newer]
            page = await unit.certificate_requests.page(status=None, limit=1, cursor=page.next)
            assert (page.items, page.next) == ([older], None)
            page = await unit.certificate_requests.page(
                status=RequestStatus.OPEN, limit=9, cursor=None
            )
            assert page.items == [newer]

    run_with_store(store_url, act)
