"""OAuth clients and idempotency keys."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from csms.ports.records import IdempotentAnswer
from csms.ports.store import AlreadyExists, CursorInvalid
from csms.store.unit_of_work import SqlStore
from tests.fixtures import records
from tests.fixtures.records import NOW
from tests.fixtures.stores import run_with_store


def test_a_client_reads_back_once_added_and_not_once_removed(store_url: str) -> None:
    client = records.oauth_client()

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            await unit.oauth_clients.add(client)
            with pytest.raises(AlreadyExists):
                await unit.oauth_clients.add(records.oauth_client(name="Another"))
            await unit.commit()
        async with store.writing() as unit:
            assert await unit.oauth_clients.by_id("client-1") == client
            assert await unit.oauth_clients.by_id("CLIENT-1") is None
            assert await unit.oauth_clients.remove("client-1") is True
            assert await unit.oauth_clients.remove("client-1") is False
            assert await unit.oauth_clients.by_id("client-1") is None
            await unit.commit()

    run_with_store(store_url, act)


def test_clients_are_paged_by_id(store_url: str) -> None:
    clients = [records.oauth_client(f"client-{number}") for number in range(4)]

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            for client in reversed(clients):
                await unit.oauth_clients.add(client)
            await unit.commit()
        async with store.reading() as unit:
            page = await unit.oauth_clients.page(limit=3, cursor=None)
            rest = await unit.oauth_clients.page(limit=3, cursor=page.next)
            assert [*page.items, *rest.items] == clients
            with pytest.raises(CursorInvalid):
                await unit.oauth_clients.page(limit=3, cursor=f"{page.next}=")

    run_with_store(store_url, act)


def test_an_answer_is_kept_for_its_client_and_key_alone(store_url: str) -> None:
    answer = IdempotentAnswer(request_sha256="ab" * 32, status=201, body={"id": str(uuid4())})
    other = IdempotentAnswer(request_sha256="cd" * 32, status=409, body={})

    async def act(store: SqlStore) -> None:
        async with store.writing() as unit:
            keys = unit.idempotency_keys
            await keys.keep("client-1", "key", answer, at=NOW)
            await keys.keep("client-2", "key", other, at=NOW)
            with pytest.raises(AlreadyExists):
                await keys.keep("client-1", "key", other, at=NOW)
            await unit.commit()
        async with store.reading() as unit:
            find = unit.idempotency_keys.find
            assert await find("client-1", "key") == answer
            assert await find("client-2", "key") == other
            assert await find("client-1", "other") is None

    run_with_store(store_url, act)


def test_of_two_requests_with_one_key_at_once_one_gets_there_first(store_url: str) -> None:
    async def act(store: SqlStore) -> None:
        async def keep(number: int) -> int | None:
            answer = IdempotentAnswer(request_sha256="ab" * 32, status=200, body={"n": number})
            try:
                async with store.writing() as unit:
                    await unit.idempotency_keys.keep("client", "key", answer, at=NOW)
                    await asyncio.sleep(0.02)
                    await unit.commit()
            except AlreadyExists:
                return None
            return number

        results = await asyncio.gather(*(keep(number) for number in range(4)))
        [won] = [result for result in results if result is not None]
        async with store.reading() as unit:
            found = await unit.idempotency_keys.find("client", "key")
            assert found is not None
            assert found.body == {"n": won}

    run_with_store(store_url, act)
