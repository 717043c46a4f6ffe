"""Which Vault, and who each role is there; the ceremony; `csms vault apply|verify`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

import structlog
from cryptography.hazmat.primitives import serialization

from csms.adapters.openbao import BundledOpenBao, OnFirstStart, OpenBaoFailed
from csms.adapters.vault import (
    Networks,
    Role,
    TransitAuditSigner,
    VaultConnection,
    VaultCredentials,
    VaultError,
    VaultRefused,
    VaultSession,
    VaultSettings,
    VaultUnavailable,
    apply,
    ceremony_credentials,
    read_pepper,
    settings_from,
    verify,
)
from csms.domain.password import Peppers
from csms.settings import Settings
from csms.wiring.errors import StartFailed, one_line
from csms.wiring.supervision import Roles
from pki.settings import AuthoritySettings, public_base_url
from pki.settings import VaultSettings as PkiVaultSettings
from pki.wiring import run_ceremony

log = structlog.get_logger()
RESTART_SECONDS: Final = 1.0
ASK_SECONDS: Final = 1.0
T = TypeVar("T")
Identities = Callable[[Role], VaultSettings]


async def open_vault(
    settings: Settings, stack: AsyncExitStack, roles: Roles, public_port: int
) -> Identities:
    """Where each role finds its own identity. The bundled server holds the ceremony once, and is
    started again whenever it ends.
    """
    if settings.vault.addr is not None:
        return partial(_external_identity, settings)
    openbao = BundledOpenBao(
        settings.data_dir / "openbao",
        policies_dir=settings.policies_dir / "vault",
        certification=settings.for_certification,
    )

    async def first_start(credentials: VaultCredentials) -> None:
        if settings.pki.url is not None:
            return  # the hierarchy is the other process's
        authority = authority_settings(settings, public_port, credentials)
        await run_ceremony(authority, authority.vault)

    stack.push_async_callback(openbao.stop)
    await openbao.start(first_start)
    roles.start("openbao", _kept_running(openbao, first_start))
    return openbao.settings


async def _kept_running(openbao: BundledOpenBao, first_start: OnFirstStart) -> None:
    """Stations stay connected without it, so its end is not ours; but nobody else starts it."""
    while True:
        log.error("openbao_ended", code=await openbao.wait())
        await asyncio.sleep(RESTART_SECONDS)
        await openbao.stop()
        try:
            await openbao.start(first_start)
        except (OpenBaoFailed, VaultError) as error:
            log.error("openbao_not_restarted", why=str(error))  # noqa: TRY400 -- one line says it


def _external_identity(settings: Settings, role: Role) -> VaultSettings:
    vault = settings.vault
    if vault.addr is None:
        raise StartFailed("vault.addr is not set: where is your Vault?")
    if vault.secrets_dir is not None:
        return settings_from(
            vault.secrets_dir,
            role,
            addr=vault.addr,
            ca_file=vault.ca_file,
            namespace=vault.namespace,
        )
    if vault.role_id is None or vault.secret_id_file is None:
        raise StartFailed("set vault.secrets_dir, or vault.role_id and vault.secret_id_file")
    return VaultSettings(
        addr=vault.addr,
        role_id=vault.role_id,
        secret_id_file=vault.secret_id_file,
        ca_file=vault.ca_file,
        namespace=vault.namespace,
    )


def authority_settings(
    settings: Settings, public_port: int, identity: VaultSettings | VaultCredentials
) -> AuthoritySettings:
    database = settings.database_url
    return AuthoritySettings(
        database_url=database or f"sqlite+aiosqlite:///{settings.data_dir.resolve()}/pki.db",
        organization=settings.organization,
        public_base_url=public_base_url(settings.hostname, public_port),
        vault=_pki_vault(identity),
        profiles_file=settings.policies_dir / "certificate-profiles.toml",
        ceremony_file=settings.policies_dir.parent / "certs" / "ceremony.toml",
        with_rsa=settings.for_certification,
    )


def _pki_vault(identity: VaultSettings | VaultCredentials) -> PkiVaultSettings:
    """The PKI shares no code with csms, so the identity is handed over field by field."""
    common = {
        "addr": identity.addr,
        "role_id": identity.role_id,
        "ca_file": identity.ca_file,
        "namespace": identity.namespace,
    }
    if isinstance(identity, VaultCredentials):
        return PkiVaultSettings.model_validate({**common, "secret_id": identity.secret_id})
    return PkiVaultSettings.model_validate({**common, "secret_id_file": identity.secret_id_file})


async def now_or_when_vault_is_there(
    what: str,
    identity: VaultSettings,
    read: Callable[[VaultSession], Awaitable[T]],
    use: Callable[[T], None],
    roles: Roles,
    *,
    now: bool = True,
) -> bool:
    """Read it as that role and use it: at once, or from a role of its own until it has come. So a
    product with its data starts while Vault is sealed, away, or refuses it. Whether it was at once;
    not `now`: Vault was found away already, and each silence of it costs five seconds.

    Raises VaultRejected: Vault is there, and what it says is wrong.
    """
    why = "Vault was away a moment ago"
    if now:
        try:
            async with VaultSession(identity) as session:
                use(await read(session))
        except (VaultUnavailable, VaultRefused) as error:
            why = str(error)
        else:
            return True
    log.warning("started_without_vault", missing=what, why=why)
    roles.start(what, _when_vault_is_there(what, identity, read, use), may_return=True)
    return False


async def _when_vault_is_there(
    what: str,
    identity: VaultSettings,
    read: Callable[[VaultSession], Awaitable[T]],
    use: Callable[[T], None],
) -> None:
    """The session spaces out logins and says no at once while Vault is away: asking is cheap. What
    is wrong in Vault is told and tried again, since stations are being served.
    """
    async with VaultSession(identity) as session:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            try:
                use(await read(session))
            except VaultError as error:
                log.info("vault_still_away", missing=what, why=str(error))
            else:
                log.info("vault_is_there", read=what)
                return


async def read_peppers(session: VaultSession) -> Peppers:
    read = await read_pepper(session)
    return Peppers(current=read.current, by_version=read.by_version)


async def read_audit_key(session: VaultSession) -> str:
    """The public half of the newest audit key, for `audit.pub`."""
    keys = await TransitAuditSigner(session).public_keys()
    newest = keys[max(keys)]
    return newest.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def own_addresses(settings: Settings) -> list[str]:
    """Addresses people may type instead of the host name; a wildcard bind names none."""
    addresses = {ip_address(settings.bind), ip_address(settings.api_bind)}
    return sorted(str(address) for address in addresses if not address.is_unspecified)


# --- csms vault


async def vault_apply(
    settings: Settings, *, secrets_dir: Path | None, ceremony: bool
) -> list[dict[str, str]]:
    """What was done to each item. Raises StartFailed."""
    with one_line():
        connection = await asyncio.to_thread(_connection, settings)
        try:
            report = await asyncio.to_thread(
                apply,
                connection,
                policies_dir=settings.policies_dir / "vault",
                secrets_dir=secrets_dir,
                networks=_networks(settings),
                tune_login=settings.vault.addr is not None,
                certification=settings.for_certification,
            )
            if ceremony:
                credentials = await asyncio.to_thread(ceremony_credentials, connection)
                authority = authority_settings(settings, settings.pki.public_port, credentials)
                await run_ceremony(authority, authority.vault)
        finally:
            connection.close()
    return [
        {"what": item.what, "outcome": item.outcome.value, "why": item.why} for item in report.items
    ]


async def vault_verify(settings: Settings) -> list[dict[str, str]]:
    """What is not as it should be. Raises StartFailed."""
    with one_line():
        connection = await asyncio.to_thread(_connection, settings)
        try:
            findings = await asyncio.to_thread(
                verify,
                connection,
                policies_dir=settings.policies_dir / "vault",
                networks=_networks(settings),
                login_tuned=settings.vault.addr is not None,
                certification=settings.for_certification,
            )
        finally:
            connection.close()
    return [
        {"what": finding.what, "problem": finding.problem.value, "detail": finding.detail}
        for finding in findings
    ]


def _networks(settings: Settings) -> Networks:
    """The bundled server's roles may log in from this machine alone."""
    return Networks() if settings.vault.addr is not None else Networks(("127.0.0.1/32",))


def _connection(settings: Settings) -> VaultConnection:
    """An administrator's token from the environment, else the provisioner."""
    vault = settings.vault
    if vault.addr is None:
        openbao = BundledOpenBao(
            settings.data_dir / "openbao", policies_dir=settings.policies_dir / "vault"
        )
        return VaultConnection.log_in_as(openbao.running_settings(Role.PROVISIONER))
    token = os.environ.get("VAULT_TOKEN")
    if token:
        return VaultConnection(
            vault.addr, token=token, ca_file=vault.ca_file, namespace=vault.namespace
        )
    return VaultConnection.log_in_as(_external_identity(settings, Role.PROVISIONER))
