"""The PKI's books on SQLite or PostgreSQL: `pki.authority.records.AuthorityStore`.

Holds all SQL of the PKI. Every method is one transaction: a function over a connection, which
`pki.store.database` runs, commits, and frees of the driver's errors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import cache, partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Connection,
    CursorResult,
    Insert,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pki.authority.records import (
    AlreadyThere,
    Ask,
    AuditEntry,
    Intent,
    IntentClosed,
    Known,
    SerialTaken,
    StoredAuthority,
    StoredCertificate,
)
from pki.store import tables
from pki.store.database import Database, open_database
from pki.wire import CertificateKind


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[SQLStore]:
    """The schema must be there: `pki.store.migrate`."""
    async with open_database(url) as database:
        yield SQLStore(database)


class SQLStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, station_id: UUID, serial_number: str, *, audit: AuditEntry) -> None:
        await self._database.write(partial(_register, station_id, serial_number, audit))

    async def serial_number_of(self, station_id: UUID) -> str | None:
        return await self._database.read(partial(_serial_number_of, station_id))

    async def what_is_known(self, *, request_id: UUID, public_key_sha256: str) -> Known:
        return await self._database.read(partial(_what_is_known, request_id, public_key_sha256))

    async def refuse(self, ask: Ask | None, *, audit: AuditEntry) -> None:
        await self._database.write(partial(_refuse, ask, audit))

    async def open_intent(self, intent: Intent, *, audit: AuditEntry) -> None:
        try:
            await self._database.write(partial(_open_intent, intent, audit))
        except AlreadyThere:
            if await self._database.read(partial(_serial_is_taken, intent)):
                raise SerialTaken("the serial number is taken") from None
            raise

    async def store_certificate(self, certificate: StoredCertificate, *, audit: AuditEntry) -> None:
        await self._database.write(partial(_store_certificate, certificate, audit))

    async def abandon_intent(self, intent: Intent, *, audit: AuditEntry) -> None:
        await self._database.write(partial(_abandon_intent, intent, audit))

    async def open_intents(self, *, opened_before: datetime) -> Sequence[Intent]:
        return await self._database.read(partial(_open_intents, opened_before))

    async def find_certificate(self, *, issuer: str, serial: str) -> StoredCertificate | None:
        return await self._database.read(partial(_find_certificate, issuer, serial))

    async def revoke(
        self,
        certificate: StoredCertificate,
        *,
        reason: str,
        revoked_at: datetime,
        block_key: bool,
        audit: AuditEntry,
    ) -> None:
        await self._database.write(
            partial(
                _revoke,
                certificate,
                reason=reason,
                revoked_at=revoked_at,
                block_key=block_key,
                audit=audit,
            )
        )

    async def hierarchy(self) -> Sequence[StoredAuthority]:
        return await self._database.read(_hierarchy)

    async def save_hierarchy(
        self, authorities: Sequence[StoredAuthority], *, audit: AuditEntry
    ) -> None:
        await self._database.write(partial(_save_hierarchy, authorities, audit))


# --- what one issuance asks, built once: building costs more than running ------------------------

_rows = tables.certificates.c
_SERIAL_NUMBER: Final = select(tables.registrations.c.serial_number).where(
    tables.registrations.c.station_id == bindparam("station_id")
)
_REQUEST: Final = select(tables.requests).where(
    tables.requests.c.request_id == bindparam("request_id")
)
_KEY: Final = select(tables.public_keys).where(
    tables.public_keys.c.public_key_sha256 == bindparam("public_key_sha256")
)
_CERTIFICATES: Final = (
    select(tables.certificates)
    .where(
        (_rows.request_id == bindparam("request_id"))
        | (_rows.public_key_sha256 == bindparam("public_key_sha256"))
    )
    .order_by(_rows.not_after.desc())
)
_ISSUED_ALREADY: Final = (
    select(_rows.serial)
    .where(
        (_rows.request_id == bindparam("request_id"))
        | (
            (_rows.public_key_sha256 == bindparam("public_key_sha256"))
            & (_rows.kind == bindparam("kind"))
        )
    )
    .limit(1)
)
_CLOSE: Final = (
    update(tables.intents)
    .where(
        tables.intents.c.issuer == bindparam("its_issuer"),
        tables.intents.c.serial == bindparam("its_serial"),
        tables.intents.c.outcome.is_(None),
    )
    .values(outcome=bindparam("new_outcome"), closed_at=bindparam("at"))
)


def _request(connection: Connection, request_id: UUID) -> Row[Any] | None:
    return connection.execute(_REQUEST, {"request_id": request_id}).one_or_none()


def _key(connection: Connection, public_key_sha256: str) -> Row[Any] | None:
    return connection.execute(_KEY, {"public_key_sha256": public_key_sha256}).one_or_none()


# --- registrations --------------------------------------------------------------------------------


def _register(
    station_id: UUID, serial_number: str, audit: AuditEntry, connection: Connection
) -> None:
    table = tables.registrations
    held = connection.scalar(select(table.c.serial_number).where(table.c.station_id == station_id))
    if held == serial_number:
        return
    holder = connection.scalar(
        select(table.c.station_id).where(table.c.serial_number == serial_number)
    )
    if held is not None and _is_certified(connection, station_id, at=audit.at):
        raise AlreadyThere("the station is certified for another serial number")
    if holder is not None and _is_certified(connection, holder, at=audit.at):
        raise AlreadyThere("another station is certified for the serial number")
    # Names that no valid certificate carries are free again: a station may be renamed, and a
    # deleted one registered anew.
    given_up = [station_id] if holder is None else [station_id, holder]
    connection.execute(delete(table).where(table.c.station_id.in_(given_up)))
    added = _add(
        connection,
        table,
        station_id=station_id,
        serial_number=serial_number,
        registered_at=audit.at,
    )
    if not added:
        raise AlreadyThere("the serial number was registered at the same moment")
    _audit(connection, audit)


def _is_certified(connection: Connection, station_id: UUID, *, at: datetime) -> bool:
    """Whether a certificate, or one being made, could still speak for this station."""
    holder = f"station:{station_id}"
    certificates, intents = tables.certificates, tables.intents
    valid = (
        select(certificates.c.serial)
        .where(certificates.c.holder == holder)
        .where(certificates.c.revoked_at.is_(None))
        .where(certificates.c.not_after > at)
    )
    being_made = (
        select(intents.c.serial)
        .where(intents.c.holder == holder)
        .where(intents.c.outcome.is_(None))
    )
    return any(connection.scalar(query.limit(1)) is not None for query in (valid, being_made))


def _serial_number_of(station_id: UUID, connection: Connection) -> str | None:
    found = connection.scalar(_SERIAL_NUMBER, {"station_id": station_id})
    return None if found is None else str(found)


# --- the cycle ------------------------------------------------------------------------------------


def _what_is_known(request_id: UUID, public_key_sha256: str, connection: Connection) -> Known:
    request = _request(connection, request_id)
    key = _key(connection, public_key_sha256)
    found: list[StoredCertificate] = []
    if request is not None or key is not None:
        theirs = {"request_id": request_id, "public_key_sha256": public_key_sha256}
        found = [_certificate(row) for row in connection.execute(_CERTIFICATES, theirs)]
    return Known(
        request=None if request is None else _ask(request),
        request_certificate=next((c for c in found if c.request_id == request_id), None),
        key_holder=None if key is None else key.holder,
        key_blocked=key is not None and bool(key.blocked),
        key_certificate=next((c for c in found if c.public_key_sha256 == public_key_sha256), None),
    )


def _refuse(ask: Ask | None, audit: AuditEntry, connection: Connection) -> None:
    if ask is not None:
        _add(connection, tables.requests, **_request_values(ask, audit.at))
    _audit(connection, audit)


def _open_intent(intent: Intent, audit: AuditEntry, connection: Connection) -> None:
    _claim_request(connection, intent)
    _claim_key(connection, intent)
    connection.execute(_insert(tables.intents), _intent_values(intent))
    _check_still_wanted(connection, intent)
    _audit(connection, audit)


def _claim_request(connection: Connection, intent: Intent) -> None:
    table, ask = tables.requests, intent.ask
    if _add(connection, table, **_request_values(ask, intent.opened_at)):
        return
    row = _request(connection, ask.request_id)
    if row is None or _ask(row) != ask:
        raise AlreadyThere("the request id is used for something else")


def _claim_key(connection: Connection, intent: Intent) -> None:
    table = tables.public_keys
    added = _add(
        connection,
        table,
        public_key_sha256=intent.public_key_sha256,
        holder=intent.ask.holder,
        blocked=False,
        first_seen_at=intent.opened_at,
    )
    if added:
        return
    row = _key(connection, intent.public_key_sha256)
    if row is None or row.holder != intent.ask.holder or row.blocked:
        raise AlreadyThere("the public key belongs to somebody else or is blocked")


def _check_still_wanted(connection: Connection, intent: Intent) -> None:
    """Another process may have issued it between reading and here; once the intent is in, none
    can, since one key has one open intent.
    """
    # Listeners and callers may renew their keys; of a key of theirs no certificate is a station's.
    found = connection.scalar(
        _ISSUED_ALREADY,
        {
            "request_id": intent.ask.request_id,
            "public_key_sha256": intent.public_key_sha256,
            "kind": str(CertificateKind.STATION),
        },
    )
    if found is not None:
        raise AlreadyThere("another process has just issued it: ask again")


def _serial_is_taken(intent: Intent, connection: Connection) -> bool:
    table = tables.intents
    found = connection.scalar(
        select(table.c.id).where(table.c.issuer == intent.issuer, table.c.serial == intent.serial)
    )
    return found is not None


def _store_certificate(
    certificate: StoredCertificate, audit: AuditEntry, connection: Connection
) -> None:
    closed = _close(
        connection,
        issuer=certificate.issuer,
        serial=certificate.serial,
        outcome="issued",
        at=audit.at,
    )
    if not closed:
        raise IntentClosed("the intent was given up meanwhile")
    connection.execute(_insert(tables.certificates), _certificate_values(certificate))
    _audit(connection, audit)


def _abandon_intent(intent: Intent, audit: AuditEntry, connection: Connection) -> None:
    closed = _close(
        connection, issuer=intent.issuer, serial=intent.serial, outcome="abandoned", at=audit.at
    )
    if closed:
        _audit(connection, audit)


def _open_intents(opened_before: datetime, connection: Connection) -> list[Intent]:
    table = tables.intents
    rows = connection.execute(
        select(table)
        .where(table.c.outcome.is_(None), table.c.opened_at <= opened_before)
        .order_by(table.c.id)
    )
    return [_intent(row) for row in rows]


# --- revocation -----------------------------------------------------------------------------------


def _find_certificate(issuer: str, serial: str, connection: Connection) -> StoredCertificate | None:
    table = tables.certificates
    row = _one(connection, select(table).where(table.c.issuer == issuer, table.c.serial == serial))
    return None if row is None else _certificate(row)


def _revoke(
    certificate: StoredCertificate,
    connection: Connection,
    *,
    reason: str,
    revoked_at: datetime,
    block_key: bool,
    audit: AuditEntry,
) -> None:
    table, keys = tables.certificates, tables.public_keys
    meant = (table.c.issuer == certificate.issuer) & (table.c.serial == certificate.serial)
    if block_key:
        # C06: a listener's or caller's key may stand in several certificates; all of them fall.
        meant = meant | (table.c.public_key_sha256 == certificate.public_key_sha256)
    result = connection.execute(
        update(table)
        .where(meant, table.c.revoked_at.is_(None))
        .values(revoked_at=revoked_at, revocation_reason=reason)
    )
    if block_key:
        # Even when the certificate was revoked before: the key is worse than was known then.
        connection.execute(
            update(keys)
            .where(keys.c.public_key_sha256 == certificate.public_key_sha256)
            .values(blocked=True)
        )
    if _changed(result):
        _audit(connection, audit)


# --- hierarchy ------------------------------------------------------------------------------------


def _hierarchy(connection: Connection) -> list[StoredAuthority]:
    table = tables.authorities
    return [
        StoredAuthority(name=row.name, der=row.der, key_id=row.key_id, created_at=row.created_at)
        for row in connection.execute(select(table).order_by(table.c.id))
    ]


def _save_hierarchy(
    authorities: Sequence[StoredAuthority], audit: AuditEntry, connection: Connection
) -> None:
    rows = [
        {
            "name": authority.name,
            "generation": 1,
            "der": authority.der,
            "key_id": authority.key_id,
            "created_at": authority.created_at,
        }
        for authority in authorities
    ]
    connection.execute(_insert(tables.authorities), rows)
    _audit(connection, audit)


# --- rows and values ------------------------------------------------------------------------------


def _add(connection: Connection, table: Table, **values: object) -> bool:
    """Insert unless a unique value is taken; whether it was inserted."""
    statement = _insert_if_free(table, connection.dialect.name)
    return _changed(connection.execute(statement, values))


@cache
def _insert_if_free(table: Table, dialect_name: str) -> Insert:
    if dialect_name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


@cache
def _insert(table: Table) -> Insert:
    return insert(table)


def _changed(result: CursorResult[Any]) -> bool:
    return result.rowcount > 0


def _one(connection: Connection, statement: Select[Any]) -> Row[Any] | None:
    return (connection.execute(statement)).one_or_none()


def _close(connection: Connection, *, issuer: str, serial: str, outcome: str, at: datetime) -> bool:
    result = connection.execute(
        _CLOSE, {"its_issuer": issuer, "its_serial": serial, "new_outcome": outcome, "at": at}
    )
    return _changed(result)


def _audit(connection: Connection, entry: AuditEntry) -> None:
    connection.execute(
        _insert(tables.audit),
        {
            "at": entry.at,
            "action": str(entry.action),
            "subject": entry.subject[:96],
            "reason": None if entry.reason is None else str(entry.reason),
            "details": dict(entry.details),
        },
    )


def _request_values(ask: Ask, at: datetime) -> Mapping[str, object]:
    return {
        "request_id": ask.request_id,
        "kind": str(ask.kind),
        "holder": ask.holder,
        "content_sha256": ask.content_sha256,
        "received_at": at,
    }


def _intent_values(intent: Intent) -> dict[str, object]:
    return {
        "request_id": intent.ask.request_id,
        "kind": str(intent.ask.kind),
        "holder": intent.ask.holder,
        "content_sha256": intent.ask.content_sha256,
        "issuer": intent.issuer,
        "serial": intent.serial,
        "public_key_sha256": intent.public_key_sha256,
        "tbs_sha256": intent.tbs_sha256,
        "opened_at": intent.opened_at,
    }


def _certificate_values(certificate: StoredCertificate) -> dict[str, object]:
    return {
        "fingerprint_sha256": certificate.fingerprint_sha256,
        "request_id": certificate.request_id,
        "kind": str(certificate.kind),
        "holder": certificate.holder,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "public_key_sha256": certificate.public_key_sha256,
        "common_name": certificate.common_name,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "der": certificate.der,
    }


def _ask(row: Row[Any]) -> Ask:
    return Ask(
        request_id=row.request_id,
        kind=CertificateKind(row.kind),
        holder=row.holder,
        content_sha256=row.content_sha256,
    )


def _intent(row: Row[Any]) -> Intent:
    return Intent(
        ask=_ask(row),
        issuer=row.issuer,
        serial=row.serial,
        public_key_sha256=row.public_key_sha256,
        tbs_sha256=row.tbs_sha256,
        opened_at=row.opened_at,
    )


def _certificate(row: Row[Any]) -> StoredCertificate:
    return StoredCertificate(
        request_id=row.request_id,
        kind=CertificateKind(row.kind),
        holder=row.holder,
        issuer=row.issuer,
        serial=row.serial,
        fingerprint_sha256=row.fingerprint_sha256,
        public_key_sha256=row.public_key_sha256,
        common_name=row.common_name,
        not_before=row.not_before,
        not_after=row.not_after,
        der=row.der,
        revoked_at=row.revoked_at,
        revocation_reason=row.revocation_reason,
    )
