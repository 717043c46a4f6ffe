"""The gateway: the listeners, the door and the sessions of one node, started and stopped.

`start` binds and accepts; `stop` tells every station to come back (1012) and waits for nobody
longer than it takes to abort. The gateway reads no file but the listener's certificate, and knows
no secret but the peppers it is given.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
from websockets.exceptions import ConnectionClosed

from csms.domain.failure_budget import FailureBudget
from csms.domain.password import LatePeppers
from csms.domain.signing_budget import SigningBudget
from csms.domain.station import SecurityProfile
from csms.domain.takeovers import Takeovers
from csms.gateway.attempts import AttemptLog
from csms.gateway.budget import StrangerBudget, source_of_peer
from csms.gateway.connection import Claim, StationConnection, Surroundings
from csms.gateway.descriptors import ceiling
from csms.gateway.handshake import Door, House
from csms.gateway.listener import BACKLOG, Acceptance, HandshakeGate, Listener
from csms.gateway.sessions import Sessions
from csms.gateway.supervisor import Supervisor
from csms.gateway.tls import TLSPolicy, server_context, shrink_read_buffers
from csms.gateway.visitor import Visitor
from csms.gateway.websocket import ABORT_SECONDS, Serving, StationSocket
from csms.ports.bus import Bus, Handler, Json, station_subject
from csms.ports.clock import Clock, Randomness
from csms.ports.store import Store, StoreError
from csms.settings import GatewaySettings

log = structlog.get_logger()

SERVICE_RESTART: Final = 1012
_REPLACED: Final[Json] = {"error": {"kind": "not_connected", "description": "replaced"}}
# Attempts that are read at the start: tenths of a second, and some of each of 10,000 stations.
REMEMBERED: Final = 30_000
# What the kernel keeps for one connection in each direction: two messages of the greatest size. By
# itself it grows to 4-6 MiB for whoever does not read, or sends faster than we read (D12).
KERNEL_BUFFER: Final = 1 << 17
_JITTER: Final = 0.25  # so that 10,000 pings of one storm do not come in one second


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayHealth:
    accepting: bool
    database_available: bool  # False: upgrades are answered 503 for the moment
    sessions: int
    strangers: int
    tasks: int


class Gateway:
    def __init__(
        self,
        *,
        settings: GatewaySettings,
        bind: str,
        node: str,
        organization: str,
        peppers: LatePeppers,
        policy: TLSPolicy,
        chain_file: Path,
        key_file: Path,
        rsa_file: Path | None = None,
        station_issuers_pem: Sequence[str],
        store: Store,
        bus: Bus,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._settings = settings
        self._bind = bind
        self._policy = policy
        self._chain_file = chain_file
        self._key_file = key_file
        self._rsa_file = rsa_file
        self._station_issuers_pem = tuple(station_issuers_pem)
        self._around = Surroundings(
            settings=settings,
            store=store,
            bus=bus,
            clock=clock,
            randomness=randomness,
            signing_budget=SigningBudget(maximum_open=settings.max_open_certificate_requests),
            takeovers=Takeovers(),
        )
        self._house = House(node=node, organization=organization, peppers=peppers)
        self._sessions = Sessions(store=store, bus=bus, clock=clock, node=node)
        self._failures = FailureBudget(
            burst=settings.failures_per_source, seconds_each=settings.failure_recovery_seconds
        )
        self._budget = StrangerBudget(
            total=settings.max_strangers,
            per_source=settings.max_strangers_per_source,
            is_known=self._failures.is_known,
        )
        self._serving = Serving()
        self._serving.serving = False
        self._contexts: list[ssl.SSLContext] = []
        self._listeners: list[Listener] = []

    async def start(self) -> dict[str, int]:
        """Bind and accept. The bound port of each security profile that is on: `{"2": 9002, …}`."""
        shrink_read_buffers()
        # Made here and not before: they belong to the running event loop.
        self._supervisor = Supervisor()
        self._accepting = Supervisor()
        self._attempts = AttemptLog(self._around.store, self._around.clock)
        self._door = Door(self._house, self._around, self._attempts, self._failures)
        await self._sessions.start()
        await self._remember()
        try:
            ports = self._listen()
        except BaseException:
            self._close_listeners()
            self._door.close()
            await self._sessions.stop()
            raise
        self._serving.serving = True
        self._accepting.start(self._attempts.run())
        self._accepting.start(self._sessions.poll())
        self._accepting.start(self._sessions.expire())
        for listener in self._listeners:
            self._accepting.start(listener.run())
        bound = {f"profile_{key}": port for key, port in ports.items()}
        log.info("gateway_accepting", tls_policy=self._policy.name, **bound)
        return ports

    async def _remember(self) -> None:
        """Who was let in lately, and from where: known there again. After a restart all stations
        come back at once, some of them beside others that fail (A09).
        """
        try:
            async with self._around.store.reading() as work:
                lately = await work.connection_attempts.admitted_lately(among=REMEMBERED)
        except StoreError as error:
            log.warning("nobody_remembered", why=type(error).__name__)
            return
        for identity, peer in lately:
            with contextlib.suppress(ValueError):  # no address: then nobody comes from there
                self._failures.admitted(source_of_peer(peer), identity, None)

    async def stop(self) -> None:
        """Close the doors, send everybody away to come back (1012), forget nobody's row."""
        if not self._serving.serving:
            return
        self._serving.serving = False
        await self._accepting.stop()
        self._close_listeners()
        self._sessions.close_all(SERVICE_RESTART, "service restart")
        await self._supervisor.stop(patience=2 * ABORT_SECONDS)
        self._door.close()
        await self._sessions.stop()
        try:
            await self._attempts.flush()
        except StoreError as error:
            log.warning("attempts_lost", why=type(error).__name__)

    def reload_certificate(self) -> None:
        """New handshakes get the renewed certificate, connections live on (M10)."""
        for context in self._contexts:
            context.load_cert_chain(self._chain_file, self._key_file)
            if self._rsa_file is not None:
                context.load_cert_chain(self._rsa_file)

    def health(self) -> GatewayHealth:
        serving = self._serving.serving
        return GatewayHealth(
            accepting=serving,
            database_available=serving and not self._door.database_away,
            sessions=len(self._sessions),
            strangers=self._budget.strangers,
            tasks=len(self._supervisor) if serving else 0,
        )

    # Listeners

    def _listen(self) -> dict[str, int]:
        settings = self._settings
        wanted = {
            SecurityProfile.BASIC: settings.profile1_port,
            SecurityProfile.TLS_BASIC: settings.profile2_port,
            SecurityProfile.TLS_CERTIFICATE: settings.profile3_port,
        }
        shared = Acceptance(
            budget=self._budget,
            failures=self._failures,
            gate=HandshakeGate(settings.max_handshakes),
            attempts=self._attempts,
            supervisor=self._supervisor,
            clock=self._around.clock,
            descriptor_ceiling=ceiling(),
            timeout_seconds=settings.handshake_timeout_seconds,
            make_socket=self._make_socket,
            welcome=self._welcome,
        )
        ports = {}
        for profile, port in wanted.items():
            if port is None:
                continue
            context = self._context(profile)
            listener = Listener(
                profile,
                _bound(self._bind, port),
                context,
                shared,
                networks=settings.profile1_networks,
            )
            self._listeners.append(listener)
            ports[str(profile.value)] = listener.port
        return ports

    def _context(self, profile: SecurityProfile) -> ssl.SSLContext | None:
        if profile is SecurityProfile.BASIC:
            return None
        context = server_context(
            profile=profile,
            policy=self._policy,
            chain_file=self._chain_file,
            key_file=self._key_file,
            rsa_file=self._rsa_file,
            station_issuers_pem=self._station_issuers_pem,
        )
        self._contexts.append(context)
        return context

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._contexts.clear()

    def _make_socket(self) -> StationSocket:
        jitter = self._around.randomness.bytes(1)[0] / 255 * _JITTER
        return StationSocket(self._settings, self._serving, ping_jitter=jitter)

    # Visitors

    async def _welcome(
        self, station_socket: StationSocket, visitor: Visitor, admitted: Callable[[], None]
    ) -> None:
        """The request is there: decide, and serve whoever is let in."""
        try:
            claim = await self._door.upgrade(station_socket, visitor)
        except ConnectionClosed:
            return
        if claim is None:
            return
        admitted()
        try:
            await self._serve(station_socket, claim)
        finally:
            await self._door.leave(claim)

    async def _serve(self, station_socket: StationSocket, claim: Claim) -> None:
        connection = StationConnection(station_socket, claim, self._around)
        if not self._sessions.register(connection):
            await connection.run()  # cut already: let the close frame out
            return
        try:
            subscription = await self._around.bus.respond(
                station_subject(connection.station_id), self._responder(connection)
            )
            try:
                station_socket.start_keepalive()
                await connection.run()
            finally:
                await subscription.close()
        finally:
            self._sessions.unregister(connection)

    def _responder(self, connection: StationConnection) -> Handler:
        """Answers for one session, and only while that session is the station's (A02)."""

        async def respond(message: Json) -> Json:
            if self._sessions.of_station(connection.station_id) is not connection:
                return _REPLACED
            if "disconnect" in message:
                connection.cut(1008, str(message["disconnect"])[:100])
                self._sessions.unregister(connection)
                return {"closed": True}
            # The registry learns of a newer connection a moment after the database, and one on
            # another node later still: the epoch that the caller read decides.
            if message.get("epoch", connection.epoch) != connection.epoch:
                return _REPLACED
            return await connection.call(message)

        return respond


def _bound(bind: str, port: int) -> socket.socket:
    """A listening, non-blocking TCP socket. Raises OSError."""
    family = socket.AF_INET6 if ip_address(bind).version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # every accepted socket has them too
            sock.setsockopt(socket.SOL_SOCKET, buffer, KERNEL_BUFFER)
        sock.bind((bind, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
