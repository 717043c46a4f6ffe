"""`csms pki`: the certification authority as a process of its own.

It starts (or reaches) Vault like the product does, serves the authority over mutual TLS, and
leaves the first client certificate of every role of policies/callers.toml in `callers/` of its data
directory, for the operator to carry to that role's host. From then on each role renews its own.

`PkiClients` is the other end: one client for each role, with that role's certificate.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from csms.adapters.clock import SystemClock, SystemRandomness
from csms.adapters.own_certificate import CertificateKeeper, for_caller
from csms.adapters.pki_client import PkiClient
from csms.adapters.vault import Role
from csms.settings import Settings
from csms.wiring.errors import StartFailed, one_line
from csms.wiring.supervision import Roles, supervised, unless_stopped
from csms.wiring.vault import authority_settings, open_vault, own_addresses
from pki.api.callers import CallerPolicy, load_callers
from pki.api.server import ListenerSettings, serve
from pki.authority.service import Authority
from pki.wiring import open_authority

ROOT_FILE: Final = "csms-root.pem"


async def run_pki(settings: Settings, *, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises StartFailed."""
    with one_line():
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with AsyncExitStack() as stack, supervised(stop) as roles:
            url = await unless_stopped(stop, _start(settings, stack, roles))
            if url is not None:
                ready(url)
                await stop.wait()


async def _start(settings: Settings, stack: AsyncExitStack, roles: Roles) -> str:
    port = settings.pki.public_port
    identities = await open_vault(settings, stack, roles, port)
    authority = await stack.enter_async_context(
        open_authority(authority_settings(settings, port, identities(Role.PKI)))
    )
    callers = load_callers((settings.policies_dir / "callers.toml").read_bytes())
    listening = await stack.enter_async_context(
        serve(
            authority,
            ListenerSettings(
                bind=settings.bind,
                port=settings.pki.port,
                public_port=port,
                host_names=(settings.hostname,),
                ip_addresses=tuple(own_addresses(settings)),
                organization=settings.organization,
            ),
            callers=callers,
        )
    )
    await _first_certificates(settings, authority, callers)
    return f"https://{settings.hostname}:{listening.port}"


async def _first_certificates(
    settings: Settings, authority: Authority, callers: CallerPolicy
) -> None:
    """A role whose certificate still works keeps it: it renews by itself."""
    directory = settings.data_dir / "callers"
    for role in sorted(frozenset().union(*callers.roles_of.values())):
        keeper = for_caller(
            authority.issue_caller_certificate,
            directory,
            role=role,
            clock=SystemClock(),
            randomness=SystemRandomness(),
        )
        await keeper.ensure()
    anchors = await authority.trust_anchors()
    (directory / ROOT_FILE).write_text(anchors.root_pem, encoding="ascii")


class PkiClients:
    """A client for each role that asks: gateway, api, worker (policies/callers.toml)."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self.keepers: list[CertificateKeeper] = []

    async def of(self, role: str) -> PkiClient:
        """Raises StartFailed without a certificate of that role, PkiError when it has ended."""
        url, directory = self._settings.pki.url, self._settings.pki.callers_dir
        if url is None or directory is None:
            raise StartFailed("pki.url and pki.callers_dir are not set")
        context = ssl.create_default_context(cafile=str(directory / ROOT_FILE))
        client = PkiClient(url, context)
        self._stack.push_async_callback(client.close)
        keeper = for_caller(
            client.issue_caller_certificate,
            directory,
            role=role,
            clock=SystemClock(),
            randomness=SystemRandomness(),
        )
        reload = partial(_reload, context, keeper)
        if not keeper.chain_file.exists():
            raise StartFailed(f"{keeper.chain_file} is missing: copy it from `csms pki`'s callers/")
        reload()
        keeper.on_renewed(reload)
        await keeper.ensure()
        self.keepers.append(keeper)
        return client


def _reload(context: ssl.SSLContext, keeper: CertificateKeeper) -> None:
    context.load_cert_chain(keeper.chain_file)
