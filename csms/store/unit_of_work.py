"""Units of work on SQLite or PostgreSQL: `csms.ports.store.Store` made real.

One unit is one transaction on one connection. Leaving it without `commit` rolls it back, whatever
happened inside; what is done after a commit belongs to the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property

from csms.ports.store import StoreUnavailable
from csms.store.audit import AuditRepository
from csms.store.certificates import CertificateRepository, CertificateRequestRepository
from csms.store.connection_attempts import ConnectionAttemptRepository
from csms.store.database import Database, DatabaseConnection, database_url, is_sqlite
from csms.store.idempotency_keys import IdempotencyKeyRepository
from csms.store.jobs import JobRepository
from csms.store.migrate import migrate
from csms.store.oauth_clients import OAuthClientRepository
from csms.store.operations import OperationRepository
from csms.store.outbox import OutboxRepository
from csms.store.postgresql import PostgreSQLDatabase
from csms.store.security_events import SecurityEventRepository
from csms.store.sessions import SessionRepository
from csms.store.sqlite import SQLiteDatabase
from csms.store.stations import StationRepository
from csms.store.transaction import Transaction, store_errors


class SqlUnitOfWork:
    """One transaction and the repositories that live in it."""

    def __init__(self, connection: DatabaseConnection, *, writable: bool) -> None:
        self._connection = connection
        self._transaction = transaction = Transaction(connection, writable=writable)
        self.audit = AuditRepository(transaction)
        self.outbox = OutboxRepository(transaction)

    # Made when asked for: most units ask for two or three.

    @cached_property
    def stations(self) -> StationRepository:
        return StationRepository(self._transaction)

    @cached_property
    def sessions(self) -> SessionRepository:
        return SessionRepository(self._transaction)

    @cached_property
    def certificates(self) -> CertificateRepository:
        return CertificateRepository(self._transaction)

    @cached_property
    def certificate_requests(self) -> CertificateRequestRepository:
        return CertificateRequestRepository(self._transaction)

    @cached_property
    def security_events(self) -> SecurityEventRepository:
        return SecurityEventRepository(self._transaction)

    @cached_property
    def connection_attempts(self) -> ConnectionAttemptRepository:
        return ConnectionAttemptRepository(self._transaction)

    @cached_property
    def jobs(self) -> JobRepository:
        return JobRepository(self._transaction)

    @cached_property
    def operations(self) -> OperationRepository:
        return OperationRepository(self._transaction)

    @cached_property
    def oauth_clients(self) -> OAuthClientRepository:
        return OAuthClientRepository(self._transaction)

    @cached_property
    def idempotency_keys(self) -> IdempotencyKeyRepository:
        return IdempotencyKeyRepository(self._transaction)

    async def commit(self) -> None:
        """What has waited for the order lock is written last, so that the lock is held briefly."""
        await self.audit.write_waiting()
        await self.outbox.write_waiting()
        with store_errors:
            await self._connection.commit()


class SqlStore:
    """Implements `csms.ports.store.Store`. Belongs to one event loop; close it there."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """`pool_size`: PostgreSQL connections that write, and as many that read."""
        self._url = database_url(url)
        self._database: Database = (
            SQLiteDatabase(self._url)
            if is_sqlite(self._url)
            else PostgreSQLDatabase(self._url, pool_size=pool_size)
        )
        self._closed = False

    async def migrate(self) -> None:
        """Bring the schema up to this code; harmless when it is."""
        await migrate(self._url)

    def writing(self) -> AbstractAsyncContextManager[SqlUnitOfWork]:
        return _Unit(self._open_database, writable=True)

    def reading(self) -> AbstractAsyncContextManager[SqlUnitOfWork]:
        return _Unit(self._open_database, writable=False)

    async def close(self) -> None:
        self._closed = True
        await self._database.close()

    def _open_database(self) -> Database:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._database


class _Unit(AbstractAsyncContextManager[SqlUnitOfWork]):
    """From the connection to giving it back, whatever happened between."""

    __slots__ = ("_connection", "_database", "_writable")

    def __init__(self, database: Callable[[], Database], *, writable: bool) -> None:
        self._database = database
        self._writable = writable

    async def __aenter__(self) -> SqlUnitOfWork:
        with store_errors:
            self._connection = await self._database().connect(writable=self._writable)
        return SqlUnitOfWork(self._connection, writable=self._writable)

    async def __aexit__(self, *_what_happened: object) -> None:
        with store_errors:
            await self._connection.close()
