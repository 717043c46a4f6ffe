"""A hostile station that has credentials: in by the password or by a certificate."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from csms.domain.access import Principal, Scope
from csms.domain.certificate import CertificateRecord
from csms.domain.security_event import SecurityEvent
from csms.domain.station import Station
from csms.operations.send_command import send_command
from csms.ports.bus import Json
from tests.attacks.hostile import HostileStation, basic, client_tls, frame, upgrade
from tests.attacks.keep import Keep
from tests.fixtures.gateway_house import PASSWORD

OPERATOR: Final = Principal(client_id="tester", name="tester", scopes=frozenset(Scope))
BOOT: Final[dict[str, Any]] = {
    "reason": "PowerUp",
    "chargingStation": {"model": "M", "vendorName": "V"},
}


@dataclass(frozen=True)
class Credential:
    """What opens the door of one station; a path to key and chain on profile 3."""

    identity: str
    password: str = PASSWORD
    leaf: Path | None = None
    record: CertificateRecord | None = None

    def headers(self) -> tuple[str, ...]:
        return () if self.leaf else (f"Authorization: {basic(self.identity, self.password)}",)


def certified(fort: Keep, station: Station, **more: Any) -> Credential:
    """A certificate of the station's, on record; `more` as `House.certify` takes it."""
    leaf = fort.home.world.stations.station(station.serial_number)
    record = fort.do(fort.home.certify(station, leaf, **more))
    path = leaf.write(fort.home.directory, f"{uuid4().hex}.pem")
    return Credential(station.identity, leaf=path, record=record)


def tls_of(fort: Keep, credential: Credential, **more: Any) -> ssl.SSLContext:
    return client_tls(fort.trust, leaf=credential.leaf, **more)


def visit(fort: Keep, profile: int, credential: Credential, **more: Any) -> HostileStation:
    """Through TLS, if there is any, and nothing said yet."""
    if profile > 1 and "context" not in more:
        more["context"] = tls_of(fort, credential)
    return fort.visit(profile, **more)


def request_of(credential: Credential, *headers: str, **more: Any) -> bytes:
    return upgrade(f"/ocpp/{credential.identity}", *credential.headers(), *headers, **more)


def enter(
    fort: Keep, profile: int, credential: Credential, *headers: str, **more: Any
) -> HostileStation:
    """Admitted, or the test fails."""
    wire = visit(fort, profile, credential, **more)
    answer = wire.ask(request_of(credential, *headers))
    if answer.status != 101:
        wire.close()
        raise AssertionError(answer.raw)
    return wire


def heard_nothing(wire: HostileStation) -> bool:
    """Not one byte waits to be read, and the peer has not closed."""
    secure = wire.socket
    waits = isinstance(secure, ssl.SSLSocket) and secure.pending() > 0
    return not waits and not wire._buffer and not select.select([secure], [], [], 0)[0]


class Talker(threading.Thread):
    """A station that answers every CALL with its label, until its connection ends."""

    def __init__(self, wire: HostileStation, label: str) -> None:
        super().__init__(name=f"station {label}")
        self.wire = wire
        self.label = label
        self.received: list[str] = []  # the messageId of each DataTransfer, or the action
        self.code: int | None = None
        self.ended_at = 0.0
        self.start()

    def run(self) -> None:
        self.wire.socket.settimeout(60)
        while (got := self.wire.read_frame()) is not None:
            first, payload = got
            if first & 0x0F == 8:
                self.code = int.from_bytes(payload[:2], "big")
                break
            if first & 0x0F == 1:
                self._answer(json.loads(payload))
        self.ended_at = time.monotonic()
        self.wire.close()

    def _answer(self, message: Any) -> None:
        if message[0] != 2:
            return
        _, message_id, action, payload = message
        self.received.append(payload.get("messageId", action))
        answer: dict[str, Any] = {"status": "Accepted"}
        if action == "DataTransfer":
            answer["data"] = self.label
        reply = json.dumps([3, message_id, answer]).encode()
        try:
            self.wire.send(frame(reply))
        except OSError:
            return  # cut meanwhile: the next read says so

    def leave(self) -> None:
        """The socket ends; nothing is said."""
        with contextlib.suppress(OSError):  # cut meanwhile
            self.wire.socket.shutdown(socket.SHUT_RDWR)
        self.ends()

    def ends(self, seconds: float = 10) -> Talker:
        """Wait until the other side has closed it."""
        self.join(seconds)
        assert not self.is_alive(), "the connection lives on"
        return self


async def command(fort: Keep, station: Station, action: str, payload: Json) -> Json:
    """The way of every command of the API."""
    home = fort.home
    return await send_command(
        home.store,
        home.link,
        station.identity,
        action,
        payload,
        principal=OPERATOR,
        clock=home.gateway._around.clock,
    )


def events_of(fort: Keep, station: Station) -> list[SecurityEvent]:
    """All of its security events, newest first."""

    async def read() -> list[SecurityEvent]:
        await fort.home.gateway._attempts.flush()
        found: list[SecurityEvent] = []
        cursor: str | None = None
        while True:
            async with fort.home.store.reading() as work:
                page = await work.security_events.page(
                    station_id=station.id, limit=100, cursor=cursor
                )
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    return fort.do(read())
