"""Stations: the registration, and what is joined to it of boots and sessions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, literal, select, update

from csms.domain.certificate import CertificateRecord
from csms.domain.password import PasswordRecord
from csms.domain.station import (
    RegistrationStatus,
    SecurityProfile,
    SerialNumber,
    Station,
    StationIdentity,
    parse_identity,
)
from csms.ports.records import Boot, ConnectorStatus, StationFilter, StationOverview
from csms.ports.store import Page
from csms.store import tables
from csms.store.certificates import CERTIFICATE_COLUMNS, certificate_of
from csms.store.pages import Listing, guarded, reader
from csms.store.prepared import DialectInsert, Prepared, insertion
from csms.store.sessions import SESSION_COLUMNS, session_of
from csms.store.transaction import Transaction

_S, _B, _L = tables.stations, tables.station_boots, tables.station_sessions
_STATION_COLUMNS: Final[tuple[ColumnElement[Any], ...]] = (
    _S.c.id,
    _S.c.identity,
    _S.c.registered_as,
    _S.c.serial_number,
    _S.c.security_profile,
    _S.c.minimum_security_profile,
    _S.c.registration_status,
    _B.c.status,
    _S.c.blocked,
    _S.c.passwords,
    _L.c.proven_profile,
    _S.c.groups,
    _S.c.created_at,
    _L.c.last_seen_at,
)
_WIDTH: Final = len(_STATION_COLUMNS)
_JOINED: Final = _S.outerjoin(_B, _B.c.station_id == _S.c.id).outerjoin(
    _L, _L.c.station_id == _S.c.id
)
_STATION: Final = select(*_STATION_COLUMNS).select_from(_JOINED)
_ONE_BY_ID: Final = Prepared(_STATION.where(_S.c.id == bindparam("its_id")))
_ONE_BY_IDENTITY: Final = Prepared(_STATION.where(_S.c.identity == bindparam("its_identity")))
_OVERVIEW: Final = select(*_STATION_COLUMNS, *SESSION_COLUMNS).select_from(_JOINED)
# Decision 2, the one read of an upgrade: a row comes back whichever of the two is known.
_ANCHOR: Final = select(literal(1).label("one")).subquery()
_ADMISSION: Final = Prepared(
    select(*_STATION_COLUMNS, *CERTIFICATE_COLUMNS).select_from(
        _ANCHOR.outerjoin(_S, _S.c.identity == bindparam("identity", type_=_S.c.identity.type))
        .outerjoin(_B, _B.c.station_id == _S.c.id)
        .outerjoin(_L, _L.c.station_id == _S.c.id)
        .outerjoin(
            tables.certificates,
            tables.certificates.c.fingerprint_sha256
            == bindparam("fingerprint", type_=_S.c.identity.type),
        )
    )
)
_BY_IDENTITY: Final = Listing(name="stations", order=(_S.c.identity,), key=(parse_identity,))
_BOOT: Final = (
    "vendor_name",
    "model",
    "serial_number",
    "firmware_version",
    "reason",
    "status",
    "at",
)
_K: Final = tables.connector_statuses
_CONNECTOR: Final = ("station_id", "evse_id", "connector_id")
_REPORT: Final = ("status", "reported_at", "received_at")


def _last_boot(insert: DialectInsert) -> DialectInsert:
    return insert.on_conflict_do_update(
        index_elements=["station_id"], set_=_excluded(insert, *_BOOT)
    )


def _newest_report(insert: DialectInsert) -> DialectInsert:
    return insert.on_conflict_do_update(
        index_elements=_CONNECTOR,
        set_=_excluded(insert, *_REPORT),
        where=insert.excluded.reported_at >= _K.c.reported_at,
    )


def _excluded(insert: DialectInsert, *names: str) -> dict[str, Any]:
    """The values that the conflicting INSERT wanted."""
    return {name: insert.excluded[name] for name in names}


_RECORD_BOOT: Final = insertion(_B, "station_id", *_BOOT, then=_last_boot)
_RECORD_CONNECTOR: Final = insertion(_K, *_CONNECTOR, *_REPORT, then=_newest_report)


class StationRepository:
    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, station: Station) -> None:
        values = {
            "id": station.id,
            "identity": station.identity.lower(),
            "created_at": station.created_at,
            **_registration(station),
        }
        await self._transaction.add(_S, values)
        await self._write_groups(station)

    async def by_identity(self, identity: StationIdentity) -> Station | None:
        return await self._one(_ONE_BY_IDENTITY, its_identity=identity)

    async def by_id(self, station_id: UUID) -> Station | None:
        return await self._one(_ONE_BY_ID, its_id=station_id)

    async def update(self, station: Station, *, was: Station) -> None:
        before, after = _registration(was), _registration(station)
        changed = {name: value for name, value in after.items() if value != before[name]}
        changed.pop("passwords", None)
        if not changed:
            return
        await self._transaction.change_or_clash(
            update(_S).where(_S.c.id == station.id).values(changed)
        )
        if "groups" in changed:
            groups = tables.station_groups
            await self._transaction.execute(delete(groups).where(groups.c.station_id == station.id))
            await self._write_groups(station)

    async def delete(self, station_id: UUID) -> None:
        await self._transaction.execute(delete(_S).where(_S.c.id == station_id))

    async def overview(self, identity: StationIdentity) -> StationOverview | None:
        row = await self._transaction.first(_OVERVIEW.where(_S.c.identity == identity))
        return None if row is None else _readable_overview(row)

    async def page(
        self, where: StationFilter, *, limit: int, cursor: str | None
    ) -> Page[StationOverview]:
        statement = _OVERVIEW
        if where.connected is not None:
            connected = _L.c.node.is_not(None)
            statement = statement.where(connected if where.connected else _L.c.node.is_(None))
        if where.group is not None:
            groups = tables.station_groups
            member = and_(groups.c.station_id == _S.c.id, groups.c.name == where.group)
            statement = statement.where(select(groups.c.name).where(member).exists())
        return await _BY_IDENTITY.page(
            self._transaction, statement, _readable_overview, limit=limit, cursor=cursor
        )

    async def record_boot(self, station_id: UUID, boot: Boot) -> None:
        values = {name: getattr(boot, name) for name in _BOOT}
        await self._transaction.change(_RECORD_BOOT, station_id=station_id, **values)

    async def record_connector(self, status: ConnectorStatus) -> None:
        values = {name: getattr(status, name) for name in (*_CONNECTOR, *_REPORT)}
        await self._transaction.change(_RECORD_CONNECTOR, **values)

    async def connectors(self, station_id: UUID) -> Sequence[ConnectorStatus]:
        statement = (
            select(_K)
            .where(_K.c.station_id == station_id)
            .order_by(_K.c.evse_id, _K.c.connector_id)
        )
        rows = await self._transaction.rows(statement)
        return [status for row in rows if (status := _readable_connector(row)) is not None]

    async def for_admission(
        self, identity: StationIdentity, fingerprint_sha256: str | None
    ) -> tuple[Station | None, CertificateRecord | None]:
        row = await self._transaction.fetch_one(
            _ADMISSION, identity=identity, fingerprint=fingerprint_sha256
        )
        if row is None:  # the anchor makes one row, always
            return None, None
        station, certificate = row[:_WIDTH], row[_WIDTH:]
        return (
            guarded("stations", _station_of, station) if station[0] else None,
            guarded("certificates", certificate_of, certificate) if certificate[0] else None,
        )

    async def replace_passwords(
        self, station_id: UUID, passwords: Sequence[PasswordRecord]
    ) -> None:
        statement = update(_S).where(_S.c.id == station_id)
        await self._transaction.execute(statement.values(passwords=_kept(passwords)))

    async def _one(self, prepared: Prepared, **values: Any) -> Station | None:
        row = await self._transaction.fetch_one(prepared, **values)
        return None if row is None else guarded("stations", _station_of, row)

    async def _write_groups(self, station: Station) -> None:
        rows = [{"station_id": station.id, "name": name} for name in sorted(set(station.groups))]
        if rows:
            await self._transaction.execute(
                self._transaction.insert(tables.station_groups).on_conflict_do_nothing(), rows
            )


def _registration(station: Station) -> dict[str, Any]:
    return {
        "registered_as": station.registered_as,
        "serial_number": station.serial_number,
        "security_profile": int(station.security_profile),
        "minimum_security_profile": int(station.minimum_security_profile),
        "registration_status": station.registration_status,
        "blocked": station.blocked,
        "passwords": _kept(station.passwords),
        "groups": list(station.groups),
    }


def _station_of(values: Sequence[Any]) -> Station:
    (
        station_id,
        identity,
        registered_as,
        serial_number,
        profile,
        minimum,
        status,
        booted_as,
        blocked,
        passwords,
        proven,
        groups,
        created_at,
        last_seen_at,
    ) = values
    return Station(
        id=station_id,
        identity=StationIdentity(identity),
        registered_as=registered_as,
        serial_number=SerialNumber(serial_number),
        security_profile=SecurityProfile(profile),
        minimum_security_profile=SecurityProfile(minimum),
        registration_status=RegistrationStatus(status),
        booted_as=None if booted_as is None else RegistrationStatus(booted_as),
        blocked=blocked,
        passwords=tuple(_password_of(document) for document in passwords),
        proven_profile=None if proven is None else SecurityProfile(proven),
        groups=tuple(groups),
        created_at=created_at,
        last_seen_at=last_seen_at,
    )


def _overview_of(values: Sequence[Any]) -> StationOverview:
    session = values[_WIDTH : _WIDTH + len(SESSION_COLUMNS)]
    return StationOverview(station=_station_of(values[:_WIDTH]), session=session_of(session))


def _readable_overview(row: Row[Any]) -> StationOverview | None:
    return guarded("stations", _overview_of, row)


def _kept(passwords: Sequence[PasswordRecord]) -> list[dict[str, Any]]:
    return [
        {
            "salt": base64.b64encode(record.salt).decode(),
            "digest": base64.b64encode(record.digest).decode(),
            "pepper_version": record.pepper_version,
            "pending": record.pending,
        }
        for record in passwords
    ]


def _password_of(document: Mapping[str, Any]) -> PasswordRecord:
    return PasswordRecord(
        salt=base64.b64decode(document["salt"]),
        digest=base64.b64decode(document["digest"]),
        pepper_version=document["pepper_version"],
        pending=document["pending"],
    )


def _connector_of(row: Mapping[str, Any]) -> ConnectorStatus:
    return ConnectorStatus(**row)


_readable_connector: Final = reader("connector_statuses", _connector_of)
