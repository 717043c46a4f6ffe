"""The PKI's books, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from pki.authority.records import (
    AlreadyThere,
    Ask,
    AuditAction,
    Intent,
    IntentClosed,
    SerialTaken,
    StoredAuthority,
    StoredCertificate,
    StoreUnavailable,
)
from pki.store import tables
from pki.store.database import open_database
from pki.store.migrate import migrate
from pki.store.repository import SQLStore, open_store
from pki.wire import CertificateKind, RefusalReason
from tests.fixtures.pki_memory import NOW, audit
from tests.fixtures.pki_parts import free_port


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/pki.db"
    database: str = request.getfixturevalue("postgres_database")
    return database


def run(url: str, talk: Callable[[SQLStore], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        await migrate(url)
        async with open_store(url) as store:
            return await talk(store)

    return asyncio.run(main())


def intent(**changes: Any) -> Intent:
    kind = changes.pop("kind", CertificateKind.STATION)
    asked = Ask(
        request_id=changes.pop("request_id", None) or uuid4(),
        kind=kind,
        holder=changes.pop("holder", "station:1"),
        content_sha256=changes.pop("content", "c" * 64),
    )
    return Intent(
        **{
            "ask": asked,
            "issuer": "stations",
            "serial": uuid4().hex,
            "public_key_sha256": uuid4().hex,
            "tbs_sha256": "d" * 64,
            "opened_at": NOW,
            **changes,
        }
    )


def certificate(of: Intent, **changes: Any) -> StoredCertificate:
    return StoredCertificate(
        **{
            "request_id": of.ask.request_id,
            "kind": of.ask.kind,
            "holder": of.ask.holder,
            "issuer": of.issuer,
            "serial": of.serial,
            "fingerprint_sha256": uuid4().hex,
            "public_key_sha256": of.public_key_sha256,
            "common_name": "CS001",
            "not_before": NOW,
            "not_after": NOW + timedelta(days=90),
            "der": b"\x30\x00",
            **changes,
        }
    )


async def known(store: SQLStore, of: Intent) -> Any:
    return await store.what_is_known(
        request_id=of.ask.request_id, public_key_sha256=of.public_key_sha256
    )


def test_an_intent_becomes_a_certificate_that_is_found_again(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        opened = intent()
        before = await known(store, opened)
        assert (before.request, before.key_holder, before.key_certificate) == (None, None, None)
        await store.open_intent(opened, audit=audit())
        assert await store.open_intents(opened_before=NOW) == [opened]
        stored = certificate(opened)
        await store.store_certificate(stored, audit=audit())
        assert await store.open_intents(opened_before=NOW) == []
        after = await known(store, opened)
        assert after.request == opened.ask
        assert after.request_certificate == after.key_certificate == stored
        assert (after.key_holder, after.key_blocked) == ("station:1", False)
        found = await store.find_certificate(issuer="stations", serial=opened.serial)
        assert found == stored
        assert await store.find_certificate(issuer="servers", serial=opened.serial) is None

    run(url, talk)


def test_a_serial_is_reserved_once_per_issuer(url: str) -> None:
    """C14, C15: the same number under another issuer is another serial."""

    async def talk(store: SQLStore) -> None:
        first = intent(serial="ab")
        await store.open_intent(first, audit=audit())
        await store.abandon_intent(first, audit=audit())
        with pytest.raises(SerialTaken):
            await store.open_intent(intent(serial="ab"), audit=audit())
        await store.open_intent(intent(serial="ab", issuer="servers"), audit=audit())

    run(url, talk)


@pytest.mark.parametrize(
    "clash",
    [
        {"public_key_sha256": "k", "holder": "station:2"},  # somebody else's key
        {"public_key_sha256": "k"},  # the key's intent is open
        {"request_id": UUID(int=7), "content": "e" * 64},  # the id was used for something else
    ],
)
def test_what_is_taken_is_refused_and_leaves_nothing(url: str, clash: dict[str, Any]) -> None:
    async def talk(store: SQLStore) -> None:
        await store.open_intent(
            intent(request_id=UUID(int=7), public_key_sha256="k"), audit=audit()
        )
        with pytest.raises(AlreadyThere) as caught:
            await store.open_intent(intent(**clash), audit=audit())
        assert not isinstance(caught.value, SerialTaken)
        assert len(await store.open_intents(opened_before=NOW)) == 1

    run(url, talk)


def test_a_stations_key_is_certified_once_but_a_listeners_may_be_renewed(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        for kind, holder in ((CertificateKind.STATION, "station:1"), (CertificateKind.SERVER, "s")):
            first = intent(kind=kind, holder=holder)
            await store.open_intent(first, audit=audit())
            await store.store_certificate(certificate(first), audit=audit())
            again = intent(kind=kind, holder=holder, public_key_sha256=first.public_key_sha256)
            if kind is CertificateKind.STATION:
                with pytest.raises(AlreadyThere, match="ask again"):
                    await store.open_intent(again, audit=audit())
            else:
                await store.open_intent(again, audit=audit())
                newer = certificate(again, not_after=NOW + timedelta(days=91))
                await store.store_certificate(newer, audit=audit())
                assert (await known(store, again)).key_certificate == newer

    run(url, talk)


def test_a_closed_intent_delivers_nothing(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        opened = intent()
        await store.open_intent(opened, audit=audit())
        await store.abandon_intent(opened, audit=audit())
        await store.abandon_intent(opened, audit=audit())
        with pytest.raises(IntentClosed):
            await store.store_certificate(certificate(opened), audit=audit())
        found = await store.find_certificate(issuer="stations", serial=opened.serial)
        assert found is None

    run(url, talk)


def test_only_old_intents_are_found(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        await store.open_intent(intent(opened_at=NOW), audit=audit())
        assert await store.open_intents(opened_before=NOW - timedelta(seconds=1)) == []

    run(url, talk)


def test_the_first_revocation_stands_and_the_key_is_blocked(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        opened = intent()
        await store.open_intent(opened, audit=audit())
        stored = certificate(opened)
        await store.store_certificate(stored, audit=audit())
        for reason, block in (("superseded", False), ("keyCompromise", True)):
            await store.revoke(
                stored, reason=reason, revoked_at=NOW, block_key=block, audit=audit()
            )
        found = await store.find_certificate(issuer="stations", serial=opened.serial)
        assert found == replace(stored, revoked_at=NOW, revocation_reason="superseded")
        assert (await known(store, opened)).key_blocked
        with pytest.raises(AlreadyThere):
            await store.open_intent(
                intent(public_key_sha256=opened.public_key_sha256), audit=audit()
            )

    run(url, talk)


def test_a_compromised_key_takes_all_its_certificates_with_it(url: str) -> None:
    """C06: a listener renews with the key it has."""

    async def talk(store: SQLStore) -> list[bool]:
        held = []
        for number in range(2):
            opened = intent(kind=CertificateKind.SERVER, public_key_sha256="k", issuer="servers")
            await store.open_intent(opened, audit=audit())
            held.append(certificate(opened, not_after=NOW + timedelta(days=number + 1)))
            await store.store_certificate(held[-1], audit=audit())
        other = intent(kind=CertificateKind.SERVER, public_key_sha256="o", issuer="servers")
        await store.open_intent(other, audit=audit())
        held.append(certificate(other))
        await store.store_certificate(held[-1], audit=audit())
        await store.revoke(
            held[1], reason="keyCompromise", revoked_at=NOW, block_key=True, audit=audit()
        )
        found = [await store.find_certificate(issuer=c.issuer, serial=c.serial) for c in held]
        return [one is not None and one.revoked_at is not None for one in found]

    assert run(url, talk) == [True, True, False]


def test_of_those_who_write_at_once_one_failure_is_nobody_elses(url: str) -> None:
    """Grouped commits: what is refused leaves nothing, what is not is there."""
    taken = intent(serial="ab")
    crowd = [intent() for _ in range(20)]

    async def talk(store: SQLStore) -> list[Any]:
        await store.open_intent(taken, audit=audit())
        asked = [*crowd[:10], intent(serial="ab"), *crowd[10:]]
        done = await asyncio.gather(
            *(store.open_intent(one, audit=audit()) for one in asked), return_exceptions=True
        )
        still_open = {one.serial for one in await store.open_intents(opened_before=NOW)}
        assert still_open == {taken.serial, *(one.serial for one in crowd)}
        return [type(one) for one in done if one is not None]

    assert run(url, talk) == [SerialTaken]


def test_who_goes_away_takes_nobody_along(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        crowd = [intent() for _ in range(6)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.open_intent(one, audit=audit())) for one in crowd]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[3].cancel()
        still_open = {one.serial for one in await store.open_intents(opened_before=NOW)}
        assert still_open >= {crowd[n].serial for n in (1, 2, 4, 5)}
        assert crowd[3].serial not in still_open  # it had not begun

    run(url, talk)


def test_a_commit_that_fails_is_answered_to_nobody(tmp_path: Path) -> None:
    """The disk is full: of the whole group nothing is stored, and everybody hears it."""
    path = tmp_path / "pki.db"

    async def main() -> None:
        url = f"sqlite+aiosqlite:///{path}"
        await migrate(url)
        async with open_store(url) as store:
            await store.open_intent(intent(), audit=audit())
            async with open_database(url) as other:
                pages = await other.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
            await store._database.write(
                lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()
            )
            crowd = [intent(holder="x" * 4000) for _ in range(12)]
            done = await asyncio.gather(
                *(store.open_intent(one, audit=audit()) for one in crowd), return_exceptions=True
            )
            failed = [type(one) for one in done if one is not None]
            assert StoreUnavailable in failed
            assert set(failed) == {StoreUnavailable}
            stored = {one.serial for one in await store.open_intents(opened_before=NOW)}
            assert stored & {one.serial for one in crowd} == {
                one.serial for one, error in zip(crowd, done, strict=True) if error is None
            }

    asyncio.run(main())


def test_a_transaction_that_is_lost_is_lost_for_the_whole_group(tmp_path: Path) -> None:
    """SQLite may roll back by itself: what went before and after it in the group is not stored."""

    def lose(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.execute("ROLLBACK")

    async def talk(store: SQLStore) -> None:
        crowd = [intent() for _ in range(4)]
        done = await asyncio.gather(
            store.hierarchy(),  # a group of its own, during which the others gather
            store.open_intent(crowd[0], audit=audit()),
            store._database.write(lose),
            store.open_intent(crowd[1], audit=audit()),
            return_exceptions=True,
        )
        assert done[0] == []
        assert [type(one) for one in done[1:]] == [StoreUnavailable] * 3
        assert await store.open_intents(opened_before=NOW) == []
        await store.open_intent(crowd[2], audit=audit())
        assert await store.open_intents(opened_before=NOW) == [crowd[2]]

    run(f"sqlite+aiosqlite:///{tmp_path}/pki.db", talk)


def test_a_fault_of_ours_is_raised_to_whoever_asked(url: str) -> None:
    async def main() -> None:
        await migrate(url)
        async with open_database(url) as database:

            def fault(_connection: Connection) -> None:
                raise KeyError("ours")

            done = await asyncio.gather(
                database.read(lambda _: 1),
                database.read(fault),
                database.read(lambda _: 2),
                return_exceptions=True,
            )
            assert [done[0], type(done[1]), done[2]] == [1, KeyError, 2]

    asyncio.run(main())


def test_a_registration_binds_both_ways_while_a_certificate_speaks_for_it(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        one, two = uuid4(), uuid4()
        await store.register(one, "CS001", audit=audit())
        await store.register(one, "CS001", audit=audit())
        opened = intent(holder=f"station:{one}")
        await store.open_intent(opened, audit=audit())
        for stage in ("an intent is open", "a certificate is valid"):
            for station, serial_number in ((one, "CS002"), (two, "CS001")):
                with pytest.raises(AlreadyThere):
                    await store.register(station, serial_number, audit=audit())
            assert await store.serial_number_of(one) == "CS001", stage
            assert await store.serial_number_of(two) is None, stage
            if stage == "an intent is open":
                await store.store_certificate(certificate(opened), audit=audit())

    run(url, talk)


@pytest.mark.parametrize("ended", ["never certified", "revoked", "expired"])
def test_names_that_no_valid_certificate_carries_are_free_again(url: str, ended: str) -> None:
    """A deleted station is registered anew under another id, and a station may be renamed."""

    async def talk(store: SQLStore) -> None:
        one, two = uuid4(), uuid4()
        await store.register(one, "CS001", audit=audit())
        if ended != "never certified":
            opened = intent(holder=f"station:{one}")
            await store.open_intent(opened, audit=audit())
            ends = NOW if ended == "expired" else NOW + timedelta(days=90)
            stored = certificate(opened, not_after=ends)
            await store.store_certificate(stored, audit=audit())
            if ended == "revoked":
                await store.revoke(
                    stored,
                    reason="keyCompromise",
                    revoked_at=NOW,
                    block_key=False,
                    audit=audit(),
                )
        await store.register(two, "CS001", audit=audit())
        assert await store.serial_number_of(two) == "CS001"
        assert await store.serial_number_of(one) is None, "one serial number, one station"
        await store.register(two, "CS002", audit=audit())
        assert await store.serial_number_of(two) == "CS002"

    run(url, talk)


def test_a_refusal_uses_the_request_id_up(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        opened = intent()
        refused = replace(audit(AuditAction.ISSUE_CERTIFICATE), reason=RefusalReason.MALFORMED)
        await store.refuse(opened.ask, audit=refused)
        await store.refuse(None, audit=refused)
        assert (await known(store, opened)).request == opened.ask

    run(url, talk)


def test_a_hierarchy_is_saved_once_and_altogether(url: str) -> None:
    made = [
        StoredAuthority(name=name, der=b"\x30\x00", key_id="k:v1", created_at=NOW)
        for name in ("root", "stations")
    ]

    async def talk(store: SQLStore) -> None:
        assert await store.hierarchy() == []
        await store.save_hierarchy(made, audit=audit())
        with pytest.raises(AlreadyThere):
            await store.save_hierarchy([replace(made[0], name="new"), made[0]], audit=audit())
        assert await store.hierarchy() == made

    run(url, talk)


def test_two_who_migrate_at_once_and_again_do_no_harm(url: str) -> None:
    async def main() -> None:
        await asyncio.gather(migrate(url), migrate(url))
        await migrate(url)

    asyncio.run(main())


def test_migrations_and_tables_say_the_same(url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        expected: MetaData = tables.metadata
        if connection.dialect.name == "sqlite":
            expected = MetaData(naming_convention=tables.metadata.naming_convention)
            for table in tables.metadata.tables.values():
                table.to_metadata(expected, schema=None)  # type: ignore[arg-type] # None takes it off
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": expected.schema,
                "include_object": lambda _o, _name, kind, _r, _c: kind != "schema",
            },
        )
        return list(compare_metadata(context, expected))

    async def main() -> list[Any]:
        await migrate(url)
        async with open_database(url) as database:
            return await database.read(differences)

    assert asyncio.run(main()) == []


def test_a_time_without_zone_is_not_stored(url: str) -> None:
    async def talk(store: SQLStore) -> None:
        with pytest.raises(StoreUnavailable):
            await store.register(
                uuid4(),
                "CS001",
                audit=replace(audit(), at=datetime(2026, 1, 1)),  # noqa: DTZ001
            )

    run(url, talk)


@pytest.mark.parametrize(
    "away",
    ["sqlite+aiosqlite:////nowhere/at/all/pki.db", "postgresql+asyncpg://x:y@127.0.0.1:{port}/z"],
)
def test_a_database_that_is_away_is_unavailable(away: str) -> None:
    async def main() -> None:
        async with open_store(away.format(port=free_port())) as store:
            with pytest.raises(StoreUnavailable):
                await store.hierarchy()

    asyncio.run(main())
