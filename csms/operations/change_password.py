"""Change a station's Basic password (A01).

1. The new password is stored as pending beside the current one, before anything is sent: from
   here on the station gets in with either.
2. SetVariables(SecurityCtrlr.BasicAuthPassword) carries it, over TLS only, and to no other session
   than the one looked at in 1 (E05): whoever takes its place meanwhile does not see it.
3. Accepted: the pending one becomes the only one (A01.FR.03).
   Any other status: it is dropped, the old one stays (A01.FR.04).
   No answer, or a reboot still to come: both stay until one of them is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from csms.domain.access import Principal
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.password import (
    GENERATED_LENGTH,
    MOST_SLOTS,
    PasswordRecord,
    Peppers,
    generate_password,
    hash_password,
    settled,
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

_Slots = tuple[PasswordRecord, ...]
_Outcome = Callable[[_Slots], _Slots]


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
    station, epoch = await _beside_the_current(store, identity, record)
    # 2
    try:
        status = await _set(link, station, password, epoch)
    except (NoAnswer, InvalidAnswer) as error:
        await _finish(store, station, _undecided, type(error).__name__, principal, clock)
        raise
    except StationCallError as error:
        dropped = partial(_dropped, salt=record.salt)
        await _finish(store, station, dropped, type(error).__name__, principal, clock)
        raise
    # 3
    outcome: _Outcome = partial(_dropped, salt=record.salt)
    if status == "Accepted":
        outcome = partial(settled, salt=record.salt)
    elif status == "RebootRequired":
        outcome = _undecided
    await _finish(store, station, outcome, status, principal, clock)
    return {"status": status}


async def _beside_the_current(
    store: Store, identity: str, record: PasswordRecord
) -> tuple[Station, int]:
    """The station, and the epoch of the session that may be sent the password."""
    async with store.writing() as work:
        station = await find_station(work, identity)
        session = await work.sessions.current(station.id)
        if session is None:
            raise NotConnected("the station is not connected")
        if session.profile is SecurityProfile.BASIC:
            raise Conflict("a password is never sent over an unencrypted connection")
        # An earlier change may be undecided still: its slot stays until a connection proves one.
        if len(station.passwords) >= MOST_SLOTS:
            raise Conflict("earlier password changes are undecided: the station must reconnect")
        await work.stations.replace_passwords(station.id, (*station.passwords, record))
        await work.commit()
    return station, session.epoch


def _undecided(slots: _Slots) -> _Slots:
    return slots


def _dropped(slots: _Slots, salt: bytes) -> _Slots:
    return tuple(slot for slot in slots if slot.salt != salt or not slot.pending)


async def _set(link: StationLink, station: Station, password: str, epoch: int) -> str:
    data = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": password,
    }
    payload = {"setVariableData": [data]}
    answer = await link.call(station.id, Action.SET_VARIABLES, payload, epoch=epoch)
    results = answer["setVariableResult"]
    return str(results[0]["attributeStatus"])


async def _finish(
    store: Store,
    station: Station,
    outcome: _Outcome,
    status: str,
    principal: Principal,
    clock: Clock,
) -> None:
    """On the slots as they are now: a connection or another change may have settled some."""
    async with store.writing() as work:
        current = await work.stations.by_id(station.id)
        if current is not None:
            await work.stations.replace_passwords(station.id, outcome(current.passwords))
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
