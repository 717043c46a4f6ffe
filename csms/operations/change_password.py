"""Change a station's Basic password (A01).

1. The new password is stored as pending beside the current one, before anything is sent: from
   here on the station gets in with either.
2. SetVariables(SecurityCtrlr.BasicAuthPassword) carries it, over TLS only (E05).
3. Accepted: the pending one becomes the only one (A01.FR.03).
   Any other status: it is dropped, the old one stays (A01.FR.04).
   No answer, or a reboot still to come: both stay until one of them is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.password import (
    GENERATED_LENGTH,
    PasswordRecord,
    Peppers,
    generate_password,
    hash_password,
)
from csms.domain.station import SecurityProfile, Station
from csms.ocpp.actions import Action
from csms.operations.errors import Conflict
from csms.operations.lookup import find_station
from csms.ports.bus import Json
from csms.ports.clock import Clock, Randomness
from csms.ports.station_link import (
    InvalidAnswer,
    NoAnswer,
    NotConnected,
    StationCallError,
    StationLink,
)
from csms.ports.store import Store

_MOST_SLOTS: Final = 3


async def change_password(
    store: Store,
    link: StationLink,
    identity: str,
    *,
    principal: Principal,
    clock: Clock,
    randomness: Randomness,
    peppers: Peppers,
) -> Json:
    """{"status": the station's attributeStatus}. Raises NotFound, Conflict, StationCallError."""
    password = generate_password(randomness.bytes(GENERATED_LENGTH))
    record = replace(
        hash_password(password, salt=randomness.bytes(16), peppers=peppers), pending=True
    )
    # 1
    async with store.writing() as work:
        station = await find_station(work, identity)
        session = await work.sessions.current(station.id)
        if session is None:
            raise NotConnected("the station is not connected")
        if session.profile is SecurityProfile.BASIC:
            raise Conflict("a password is never sent over an unencrypted connection")
        # An earlier change may be undecided still: its slot stays until a connection proves one.
        current = station.passwords
        if len(current) >= _MOST_SLOTS:
            raise Conflict("earlier password changes are undecided: the station must reconnect")
        await work.stations.replace_passwords(station.id, (*current, record))
        await work.commit()
    # 2
    try:
        status = await _set(link, station, password)
    except (NoAnswer, InvalidAnswer) as error:
        await _finish(store, station, (*current, record), type(error).__name__, principal, clock)
        raise
    except StationCallError as error:
        await _finish(store, station, current, type(error).__name__, principal, clock)
        raise
    # 3
    slots: Sequence[PasswordRecord] = current
    if status == "Accepted":
        slots = (replace(record, pending=False),)
    elif status == "RebootRequired":
        slots = (*current, record)
    await _finish(store, station, slots, status, principal, clock)
    return {"status": status}


async def _set(link: StationLink, station: Station, password: str) -> str:
    data = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": password,
    }
    answer = await link.call(station.id, Action.SET_VARIABLES, {"setVariableData": [data]})
    results = answer["setVariableResult"]
    return str(results[0]["attributeStatus"])


async def _finish(
    store: Store,
    station: Station,
    slots: Sequence[PasswordRecord],
    status: str,
    principal: Principal,
    clock: Clock,
) -> None:
    async with store.writing() as work:
        await work.stations.replace_passwords(station.id, slots)
        await work.audit.add(
            AuditRecord(
                at=clock.now(),
                actor=principal.actor,
                action=AuditAction.STATION_PASSWORD_CHANGE,
                subject=f"station:{station.identity}",
                outcome=Outcome.SUCCESS if status == "Accepted" else Outcome.FAILED,
                reason=None if status == "Accepted" else status,
            )
        )
        await work.commit()
