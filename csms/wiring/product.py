"""`csms up`: all roles in one process on the bundled OpenBao, SQLite and the in-process
bus. The order of the steps is the order of need; whatever was opened is closed in
reverse, whichever step fails.

1  data directory   0700, one process at a time
2  Vault            bundled OpenBao, or the operator's
3  PKI              ceremony at the first start, then the authority (or its client)
4  store            migrated; the pepper through the gateway's own Vault identity
5  certificates     our listeners' own, issued by 3
6  worker           jobs left by the last run go on
7  api, gateway     the doors, last
8  bootstrap files  written when everything is ready, never before

With its data in place, hierarchy and a listener certificate that still lives, it starts without
Vault too (yours may be sealed): profile 3 is served at once, and what needs Vault when it is there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import structlog

from csms.adapters.bootstrap import Bootstrap, Endpoints
from csms.adapters.clock import SystemClock, SystemRandomness
from csms.adapters.own_certificate import CertificateKeeper, for_listener
from csms.adapters.station_link import BusStationLink
from csms.adapters.vault import (
    Role,
    TransitTokenSigner,
    VaultConnection,
    VaultSession,
    VaultSettings,
)
from csms.api.app import create_app
from csms.api.health import create_health_app
from csms.api.resources import api_resources
from csms.api.server import ApiServer, listen
from csms.bus.memory import MemoryBus
from csms.domain.password import LatePeppers
from csms.domain.station import SecurityProfile
from csms.gateway.server import Gateway
from csms.gateway.tls import MODERN, load_policy, server_context
from csms.oauth.endpoints import TOKEN_PATH, authorization_server
from csms.operations.confirm_session import confirm_session
from csms.operations.deliver_certificate import deliver_certificate
from csms.operations.issue_certificate import issue_certificate
from csms.operations.renew_certificate import trigger_renewal
from csms.operations.revoke_certificate import revoke_at_ca
from csms.ports.records import JobKind
from csms.settings import Settings
from csms.store.unit_of_work import SqlStore
from csms.wiring.administrator import first_administrator
from csms.wiring.errors import StartFailed, one_line
from csms.wiring.pki import PkiClients
from csms.wiring.readiness import AskVault, VaultProbe, gauges, readiness
from csms.wiring.supervision import Roles, supervised, unless_stopped
from csms.wiring.vault import (
    Identities,
    authority_settings,
    now_or_when_vault_is_there,
    open_vault,
    own_addresses,
    read_audit_key,
    read_peppers,
)
from csms.worker.runner import JobHandler, JobRunner
from pki.api.public import make_public_app
from pki.settings import public_base_url
from pki.wire import PkiError, PkiService, TrustAnchors
from pki.wiring import open_authority

log = structlog.get_logger()

# Longer than a CALL may wait for its turn and its answer together (30 s each).
_LINK_TIMEOUT_SECONDS: Final = 75.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What several roles share."""

    settings: Settings
    clock: SystemClock
    randomness: SystemRandomness
    bus: MemoryBus
    store: SqlStore
    link: BusStationLink
    pki: PkiOf
    anchors: TrustAnchors
    keeper: CertificateKeeper
    rsa_keeper: CertificateKeeper | None  # for certification runs

    @property
    def keepers(self) -> list[CertificateKeeper]:
        return [self.keeper] if self.rsa_keeper is None else [self.keeper, self.rsa_keeper]

    @property
    def not_after(self) -> datetime | None:
        """When the first of our certificates ends; none while one is missing."""
        ends = [keeper.not_after for keeper in self.keepers]
        return None if None in ends else min(filter(None, ends))


async def run_product(
    settings: Settings, *, ready: Callable[[Endpoints], None], stop: asyncio.Event
) -> None:
    """Run until `stop` is set. Raises StartFailed when it cannot start or a role ends by itself."""
    with one_line():
        async with AsyncExitStack() as stack, supervised(stop) as roles:
            endpoints = await unless_stopped(stop, _start(settings, stack, roles))
            if endpoints is not None:
                ready(endpoints)
                await stop.wait()
            log.info("csms_stopping")


async def _start(settings: Settings, stack: AsyncExitStack, roles: Roles) -> Endpoints:
    stack.enter_context(_only_one(settings.data_dir))  # 1
    bootstrap = Bootstrap(settings.data_dir)
    bootstrap.withdraw()
    public_port, public_socket = _public_port(settings, stack)
    identities = await open_vault(settings, stack, roles, public_port)  # 2, 3
    asks: dict[str, AskVault] = {}
    pki = await _pki(settings, stack, roles, identities, public_port, asks)
    anchors = await pki("gateway").trust_anchors()
    parts = await _parts(settings, stack, pki, anchors)  # 4
    peppers = LatePeppers()
    vault_is_there = await now_or_when_vault_is_there(
        "pepper", identities(Role.GATEWAY), read_peppers, peppers.arrive, roles
    )
    await _own_certificates(parts, roles)  # 5
    roles.start("worker", _worker(parts).run())  # 6
    if public_socket is not None:
        public = ApiServer(make_public_app(anchors), sock=public_socket)
        stack.push_async_callback(public.stop)
        await public.start()
    api_session = await stack.enter_async_context(VaultSession(identities(Role.API)))
    api_url = await _api(parts, stack, peppers, TransitTokenSigner(api_session))  # 7
    gateway, ports = await _gateway(parts, stack, peppers)
    asks["sign tokens"] = api_session.check_token
    metrics = await _metrics(
        parts, stack, gateway, roles, _probe(parts, stack, identities(Role.API), asks), peppers
    )
    await now_or_when_vault_is_there(
        "audit key",
        identities(Role.WORKER),
        read_audit_key,
        bootstrap.publish_audit_key,
        roles,
        now=vault_is_there,
    )
    endpoints = _endpoints(settings, ports, api_url, metrics, public_port)
    await first_administrator(
        parts.store,
        bootstrap,
        token_endpoint=api_url + TOKEN_PATH,
        clock=parts.clock,
        randomness=parts.randomness,
    )
    stack.callback(bootstrap.withdraw)
    bootstrap.publish(endpoints, root_pem=anchors.roots_pem)  # 8
    return endpoints


def _public_port(settings: Settings, stack: AsyncExitStack) -> tuple[int, socket.socket | None]:
    """Bound before anything is issued: its URL stands in every certificate. Not ours to serve
    when the PKI runs in a process of its own.
    """
    if settings.pki.url is not None:
        return settings.pki.public_port, None
    sock = listen(settings.bind, settings.pki.public_port)
    stack.callback(sock.close)
    return sock.getsockname()[1], sock


class _OnlyOne:
    """An advisory lock on the data directory: two products on one directory would corrupt it."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "lock"

    def __enter__(self) -> None:
        self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise StartFailed(
                f"{self._file.parent} is in use by another csms; stop it, or set CSMS_DATA_DIR"
            ) from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _only_one(directory: Path) -> _OnlyOne:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _OnlyOne(directory)


PkiOf = Callable[[str], PkiService]  # by the role that asks


async def _pki(
    settings: Settings,
    stack: AsyncExitStack,
    roles: Roles,
    identities: Identities,
    public_port: int,
    asks: dict[str, AskVault],
) -> PkiOf:
    """The authority in this process, or the clients of one in another, whose Vault is its own."""
    if settings.pki.url is None:
        authority = await stack.enter_async_context(
            open_authority(authority_settings(settings, public_port, identities(Role.PKI)))
        )
        asks["issue certificates"] = authority.check_signing
        return lambda _role: authority
    clients = PkiClients(settings, stack)
    by_role = {role: await clients.of(role) for role in ("gateway", "api", "worker")}
    for keeper in clients.keepers:
        roles.start("caller certificate", keeper.run())
    return by_role.__getitem__


# --- 4 to 7: the roles


async def _parts(
    settings: Settings, stack: AsyncExitStack, pki: PkiOf, anchors: TrustAnchors
) -> _Parts:
    clock, randomness = SystemClock(), SystemRandomness()
    bus = MemoryBus()
    stack.push_async_callback(bus.close)
    store = SqlStore(settings.database)
    stack.push_async_callback(store.close)
    await store.migrate()
    listener = partial(
        for_listener,
        pki("gateway"),
        settings.data_dir / "tls",
        host_names=[settings.hostname],
        ip_addresses=own_addresses(settings),
        clock=clock,
        randomness=randomness,
    )
    return _Parts(
        settings=settings,
        clock=clock,
        randomness=randomness,
        bus=bus,
        store=store,
        link=BusStationLink(bus, _LINK_TIMEOUT_SECONDS),
        pki=pki,
        anchors=anchors,
        keeper=listener(),
        rsa_keeper=listener(with_rsa_key=True) if settings.for_certification else None,
    )


async def _own_certificates(parts: _Parts, roles: Roles) -> None:
    """Raises StartFailed: without a certificate there is no listener."""
    if parts.rsa_keeper is not None and not parts.anchors.rsa_root_pem:
        raise StartFailed(
            "the PKI has no RSA hierarchy: start `csms pki`, too, with the TLS policy "
            "ocpp-certification"
        )
    for keeper in parts.keepers:
        try:
            await keeper.ensure()
        except PkiError as error:
            raise StartFailed(
                f"no listener certificate in {keeper.chain_file} that still lives, and none can be "
                f"issued: {error}"
            ) from error
        roles.start("certificate", keeper.run())


def _worker(parts: _Parts) -> JobRunner:
    pki = parts.pki("worker")
    common: dict[str, Any] = {"store": parts.store, "clock": parts.clock}
    made: dict[str, Any] = {"randomness": parts.randomness}
    handlers: Mapping[JobKind, JobHandler] = {
        JobKind.ISSUE_CERTIFICATE: partial(issue_certificate, pki=pki, **common, **made),
        JobKind.DELIVER_CERTIFICATE: partial(
            deliver_certificate, link=parts.link, **common, **made
        ),
        JobKind.TRIGGER_RENEWAL: partial(trigger_renewal, link=parts.link, **common),
        JobKind.SESSION_SEEN: partial(confirm_session, **common),
        JobKind.REVOKE_AT_CA: partial(revoke_at_ca, store=parts.store, pki=pki),
    }
    return JobRunner(
        store=parts.store,
        bus=parts.bus,
        clock=parts.clock,
        handlers=handlers,
        # A SQLite file in the data directory that we have locked (1): nobody else works on it.
        alone=parts.settings.database_url is None,
    )


async def _api(
    parts: _Parts, stack: AsyncExitStack, peppers: LatePeppers, signer: TransitTokenSigner
) -> str:
    settings = parts.settings
    context = _https_context(parts)
    parts.keeper.on_renewed(partial(_reload, context, parts.keeper))
    sock = listen(settings.api_bind, settings.api.port)
    stack.callback(sock.close)
    url = f"https://{_api_host(settings)}:{sock.getsockname()[1]}"
    tokens = authorization_server(
        issuer=url,
        store=parts.store,
        signer=signer,
        clock=parts.clock,
        randomness=parts.randomness,
    )
    resources = api_resources(
        store=parts.store,
        bus=parts.bus,
        link=parts.link,
        clock=parts.clock,
        randomness=parts.randomness,
        peppers=peppers,
        pki=parts.pki("api"),
        tokens=tokens,
        bearer=settings.oauth.bearer,
    )
    server = ApiServer(create_app(resources), sock=sock, ssl_context=context)
    stack.push_async_callback(server.stop)
    await server.start()
    return url


def _api_host(settings: Settings) -> str:
    """Where the API has an address of its own, the host name leads to another one."""
    if settings.api_bind == settings.bind:
        return settings.hostname
    address = ip_address(settings.api_bind)
    return f"[{address}]" if address.version == 6 else str(address)


def _https_context(parts: _Parts) -> ssl.SSLContext:
    """Never static RSA: that is the stations' need."""
    policy = load_policy(parts.settings.policies_dir / "tls.toml", MODERN)
    return server_context(
        profile=SecurityProfile.TLS_BASIC,
        policy=policy,
        chain_file=parts.keeper.chain_file,
        key_file=parts.keeper.key_file,
    )


def _reload(context: ssl.SSLContext, keeper: CertificateKeeper) -> None:
    context.load_cert_chain(keeper.chain_file, keeper.key_file)


async def _gateway(
    parts: _Parts, stack: AsyncExitStack, peppers: LatePeppers
) -> tuple[Gateway, dict[str, int]]:
    settings = parts.settings
    gateway = Gateway(
        settings=settings.gateway,
        bind=settings.bind,
        node=settings.node,
        organization=settings.organization,
        peppers=peppers,
        policy=load_policy(settings.policies_dir / "tls.toml", settings.tls.policy),
        chain_file=parts.keeper.chain_file,
        key_file=parts.keeper.key_file,
        rsa_file=None if parts.rsa_keeper is None else parts.rsa_keeper.chain_file,
        station_issuers_pem=parts.anchors.station_issuers_pem,
        store=parts.store,
        bus=parts.bus,
        clock=parts.clock,
        randomness=parts.randomness,
    )
    stack.push_async_callback(gateway.stop)
    ports = await gateway.start()
    for keeper in parts.keepers:
        keeper.on_renewed(gateway.reload_certificate)
    return gateway, ports


def _probe(
    parts: _Parts, stack: AsyncExitStack, identity: VaultSettings, asks: Mapping[str, AskVault]
) -> VaultProbe:
    connection = VaultConnection(
        identity.addr, ca_file=identity.ca_file, namespace=identity.namespace
    )
    stack.callback(connection.close)
    return VaultProbe(connection, parts.clock, asks)


async def _metrics(
    parts: _Parts,
    stack: AsyncExitStack,
    gateway: Gateway,
    roles: Roles,
    vault: VaultProbe,
    peppers: LatePeppers,
) -> int:
    checks = readiness(
        store=parts.store,
        gateway=gateway.health,
        roles=roles,
        not_after=lambda: parts.not_after,
        vault=vault,
        peppers=peppers,
        clock=parts.clock,
    )
    metrics = parts.settings.metrics
    app = create_health_app(checks, gauges(gateway.health))
    server = ApiServer(app, metrics.bind, metrics.port)
    stack.push_async_callback(server.stop)
    return await server.start()


# --- 8: what people find in bootstrap/


def _endpoints(
    settings: Settings, ports: Mapping[str, int], api_url: str, metrics: int, public: int
) -> Endpoints:
    scheme = {"1": "ws", "2": "wss", "3": "wss"}
    return Endpoints(
        ocpp={
            profile: f"{scheme[profile]}://{settings.hostname}:{port}/ocpp"
            for profile, port in sorted(ports.items())
        },
        api=api_url,
        metrics=f"http://{settings.metrics.bind}:{metrics}",
        pki=public_base_url(settings.hostname, public),
    )
