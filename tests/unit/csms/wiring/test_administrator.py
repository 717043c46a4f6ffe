"""The first administrator: made once, kept, and not made again behind an operator's back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from csms.adapters.bootstrap import Bootstrap
from csms.adapters.clock import SystemRandomness
from csms.domain.access import Scope
from csms.domain.audit import AuditAction
from csms.operations.oauth_clients import new_client
from csms.ports.records import OAuthClient
from csms.store.unit_of_work import SqlStore
from csms.wiring.administrator import ADMINISTRATOR, first_administrator
from tests.fixtures.inside import MovableClock

T = TypeVar("T")
ENDPOINT = "https://localhost:8443/oauth/token"


class Home:
    """A data directory and a database, over several starts."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self.bootstrap = Bootstrap(directory)

    def start(self, endpoint: str = ENDPOINT) -> list[OAuthClient]:
        """The clients there are after one more start."""

        async def main(store: SqlStore) -> list[OAuthClient]:
            await first_administrator(
                store,
                self.bootstrap,
                token_endpoint=endpoint,
                clock=MovableClock(),
                randomness=SystemRandomness(),
            )
            async with store.reading() as work:
                return list((await work.oauth_clients.page(limit=50, cursor=None)).items)

        return self._with_store(main)

    def operator(self, *scopes: Scope) -> None:
        async def main(store: SqlStore) -> None:
            client, _ = new_client(
                "operator",
                (),
                frozenset(scopes),
                now=MovableClock().now(),
                randomness=SystemRandomness(),
            )
            async with store.writing() as work:
                await work.oauth_clients.add(client)
                await work.commit()

        self._with_store(main)

    def remove(self, client_id: str) -> None:
        async def main(store: SqlStore) -> None:
            async with store.writing() as work:
                await work.oauth_clients.remove(client_id)
                await work.commit()

        self._with_store(main)

    def audited(self) -> int:
        async def main(store: SqlStore) -> int:
            async with store.reading() as work:
                page = await work.audit.page(
                    after_index=None, limit=50, action=AuditAction.CLIENT_ADD, subject=None
                )
            return len(page.items)

        return self._with_store(main)

    def _with_store(self, act: Callable[[SqlStore], Awaitable[T]]) -> T:
        async def main() -> T:
            store = SqlStore(self._url)
            try:
                return await act(store)
            finally:
                await store.close()

        return asyncio.run(main())


def test_the_first_start_makes_one_and_audits_it(sqlite_store_url: str, tmp_path: Path) -> None:
    home = Home(sqlite_store_url, tmp_path)
    (client,) = home.start()
    assert client.name == ADMINISTRATOR
    assert home.bootstrap.administrator() == client.client_id
    assert home.bootstrap.administrator_file.stat().st_mode & 0o777 == 0o600
    assert home.audited() == 1


def test_later_starts_keep_it_and_follow_the_port(sqlite_store_url: str, tmp_path: Path) -> None:
    home = Home(sqlite_store_url, tmp_path)
    first = home.start()
    before = home.bootstrap.administrator_file.read_text()
    assert home.start() == first
    assert home.bootstrap.administrator_file.read_text() == before
    home.start("https://localhost:9/oauth/token")
    assert "localhost:9/" in home.bootstrap.administrator_file.read_text()
    assert home.bootstrap.administrator() == first[0].client_id


def test_a_file_without_its_row_is_replaced(sqlite_store_url: str, tmp_path: Path) -> None:
    """A crash between the two."""
    home = Home(sqlite_store_url, tmp_path)
    home.bootstrap.write_administrator("nobody", "secret", token_endpoint=ENDPOINT)
    (client,) = home.start()
    assert home.bootstrap.administrator() == client.client_id


def test_one_that_an_operator_removed_stays_removed(sqlite_store_url: str, tmp_path: Path) -> None:
    """SECURITY.md: add a client of your own and remove that one."""
    home = Home(sqlite_store_url, tmp_path)
    (first,) = home.start()
    home.operator(*Scope)
    home.remove(first.client_id)
    assert [client.name for client in home.start()] == ["operator"]
    home.bootstrap.administrator_file.unlink()
    assert [client.name for client in home.start()] == ["operator"]


def test_without_anybody_who_manages_clients_there_is_a_new_one(
    sqlite_store_url: str, tmp_path: Path
) -> None:
    """Else nobody could ever manage clients again."""
    home = Home(sqlite_store_url, tmp_path)
    (first,) = home.start()
    home.operator(Scope.STATIONS_READ)
    home.remove(first.client_id)
    names = sorted(client.name for client in home.start())
    assert names == [ADMINISTRATOR, "operator"]
