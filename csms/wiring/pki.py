"""`csms pki`: the certification authority as a process of its own.

It starts (or reaches) Vault like the product does, serves the authority over mutual TLS, and
leaves a client certificate for every caller of policies/callers.toml in its data directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from csms.adapters.vault import Role
from csms.settings import Settings
from csms.wiring.errors import one_line
from csms.wiring.product import own_addresses
from csms.wiring.vault import authority_settings, open_vault
from pki.api.callers import load_callers
from pki.api.server import ListenerSettings, serve
from pki.wiring import open_authority


async def run_pki(settings: Settings, *, ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises StartFailed."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with one_line():
        async with AsyncExitStack() as stack:
            port = settings.pki.public_port
            identities = await open_vault(settings, stack, port)
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
            ready(f"https://{settings.hostname}:{listening.port}")
            await stop.wait()
