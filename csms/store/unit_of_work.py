"""Units of work on SQLite or PostgreSQL: `csms.ports.store.Store` made real.

One unit is one transaction on one connection. Leaving it without `commit` rolls it back, whatever
happened inside; what is done after a commit belongs to the next one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
        transaction = Transaction(connection, writable=writable)
        self.stations = StationRepository(transaction)
        self.sessions = SessionRepository(transaction)
        self.certificates = CertificateRepository(transaction)
        self.certificate_requests = CertificateRequestRepository(transaction)
        self.security_events = SecurityEventRepository(transaction)
        self.connection_attempts = ConnectionAttemptRepository(transaction)
        self.audit = AuditRepository(transaction)
        self.jobs = JobRepository(transaction)
        self.operations = OperationRepository(transaction)
        self.outbox = OutboxRepository(transaction)
        self.oauth_clients = OAuthClientRepository(transaction)
        self.idempotency_keys = IdempotencyKeyRepository(transaction)

    async def commit(self) -> None:
        """What has waited for the order lock is written last, so that the lock is held briefly."""
        await self.audit.write_waiting()
        await self.outbox.write_waiting()
        with store_errors():
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

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlUnitOfWork]:
        async with self._unit(writable=True) as unit:
            yield unit

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlUnitOfWork]:
        async with self._unit(writable=False) as unit:
            yield unit

    async def close(self) -> None:
        self._closed = True
        await self._database.close()

    @asynccontextmanager
    async def _unit(self, *, writable: bool) -> AsyncIterator[SqlUnitOfWork]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        with store_errors():
            connection = await self._database.connect(writable=writable)
        try:
            yield SqlUnitOfWork(connection, writable=writable)
        finally:
            with store_errors():
                await connection.close()
