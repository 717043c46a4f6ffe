"""The PKI's composition root: the only module here that knows every concrete class.

`open_authority` gives a ready authority, in-process for `csms up` and behind mutual TLS for
`csms pki` (`pki.api.server.serve`). `run_ceremony` makes the hierarchy once, with the credentials
of the ceremony identity, which no running role holds.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from pki.authority.hierarchy import (
    ISSUERS,
    CeremonyConfig,
    Hierarchy,
    HierarchyInvalid,
    IssuerName,
    has_rsa,
    hold_ceremony,
    hold_rsa_ceremony,
    load_ceremony,
    read_hierarchy,
)
from pki.authority.issuance import IssuanceBroken
from pki.authority.records import AlreadyThere, AuditAction, AuditEntry, StoredAuthority, StoreError
from pki.authority.service import Authority
from pki.settings import AuthoritySettings, VaultSettings
from pki.signing.signer import Signer, SignerError, SignerUnavailable
from pki.signing.vault_session import VaultAccess, VaultSession
from pki.signing.vault_transit import TransitSigner, open_signer, parse_key_id
from pki.store.migrate import migrate
from pki.store.repository import SQLStore, open_store
from pki.wire import PkiUnavailable, TrustAnchors
from pki.x509.lint import LintFailed
from pki.x509.profile import load_profiles
from pki.x509.template import PublicLocations

log = structlog.get_logger()

# Several PKI processes on one PostgreSQL: an intent is another one's work for that long.
_SHARED_DATABASE_PATIENCE: Final = timedelta(minutes=2)


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_authority(
    settings: AuthoritySettings, *, now: Callable[[], datetime] = utc_now
) -> AsyncIterator[Authority]:
    """Migrates the schema, reads policy and hierarchy, asks Vault for the keys, reconciles.

    Without Vault it opens all the same: the anchors are in the database, and what needs a signature
    is PkiUnavailable until Vault is back. Raises ProfileInvalid, HierarchyInvalid (no ceremony was
    held, or Vault's keys are others), PkiUnavailable (no database).
    """
    profiles = load_profiles(settings.profiles_file.read_bytes())
    await _migrated(settings)
    async with open_store(settings.database_url) as store:
        hierarchy = await _hierarchy(store, settings)
        session = VaultSession(_access(settings.vault, connections=settings.threads))
        threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="pki")
        try:
            signers = await asyncio.to_thread(_signers, session, hierarchy)
            authority = Authority(
                store=store,
                hierarchy=hierarchy,
                signers=signers,
                profiles=profiles,
                organization=settings.organization,
                locations=PublicLocations(base_url=settings.public_base_url),
                threads=threads,
                thread_count=settings.threads,
                patience=_patience(settings),
                now=now,
                random_bytes=secrets.token_bytes,
                check_available=session.check_available,
                check_token=session.check_token,
            )
            await _reconciled(authority)
            yield authority
        finally:
            # Whatever still signs ends within the signer's own time limit.
            await asyncio.to_thread(threads.shutdown)
            session.close()


async def run_ceremony(
    settings: AuthoritySettings,
    ceremony_vault: VaultSettings,
    *,
    now: Callable[[], datetime] = utc_now,
) -> TrustAnchors:
    """Roots and issuing CAs, each made once: what is stored is kept. Returns the anchors.

    Raises HierarchyInvalid, PkiUnavailable.
    """
    config = load_ceremony(settings.ceremony_file.read_bytes())
    await _migrated(settings)
    async with open_store(settings.database_url) as store:
        ceremonies = _missing(await _stored_hierarchy(store), settings)
        if ceremonies:
            session = VaultSession(_access(ceremony_vault, connections=1))
            room = _Room(config, session, settings, ceremony_vault, now())
            try:
                for ceremony in ceremonies:
                    await _save(store, await asyncio.to_thread(_held, ceremony, room), room.now)
            finally:
                session.close()
        return (await _hierarchy(store, settings)).anchors


async def read_trust_anchors(settings: AuthoritySettings) -> TrustAnchors:
    """The public certificates alone: no Vault is needed. Raises HierarchyInvalid."""
    await _migrated(settings)
    async with open_store(settings.database_url) as store:
        return (await _hierarchy(store, settings)).anchors


@dataclass(frozen=True, slots=True)
class _Room:
    """What a ceremony needs."""

    config: CeremonyConfig
    session: VaultSession
    settings: AuthoritySettings
    vault: VaultSettings
    now: datetime

    def signer(self, key: str) -> Signer:
        return open_signer(self.session, mount=self.vault.transit_mount, name=key)

    @property
    def locations(self) -> PublicLocations:
        return PublicLocations(base_url=self.settings.public_base_url)


_Ceremony = Callable[[_Room], list[StoredAuthority]]


def _missing(stored: Sequence[StoredAuthority], settings: AuthoritySettings) -> list[_Ceremony]:
    ceremonies: list[_Ceremony] = [] if stored else [_ceremony]
    if settings.with_rsa and not has_rsa(stored):
        ceremonies.append(_rsa_ceremony)
    return ceremonies


def _ceremony(room: _Room) -> list[StoredAuthority]:
    return hold_ceremony(
        room.config,
        organization=room.settings.organization,
        root_signer=room.signer(room.config.root.key),
        issuer_signers={name: room.signer(room.config.issuer(name).key) for name in ISSUERS},
        locations=room.locations,
        random_bytes=secrets.token_bytes,
        now=room.now,
    )


def _rsa_ceremony(room: _Room) -> list[StoredAuthority]:
    config = room.config
    try:
        root, servers = room.signer(config.root_rsa.key), room.signer(config.servers_rsa.key)
    except SignerError as error:
        raise PkiUnavailable(
            f"{config.root_rsa.key} or {config.servers_rsa.key} is not to be had: {error}; "
            "`csms vault apply` makes both under the TLS policy ocpp-certification"
        ) from error
    return hold_rsa_ceremony(
        config,
        organization=room.settings.organization,
        root_signer=root,
        servers_signer=servers,
        locations=room.locations,
        random_bytes=secrets.token_bytes,
        now=room.now,
    )


def _held(ceremony: _Ceremony, room: _Room) -> list[StoredAuthority]:
    try:
        return ceremony(room)
    except (SignerError, IssuanceBroken, LintFailed) as error:
        raise PkiUnavailable(f"the ceremony was not held: {error}") from error


async def _save(store: SQLStore, made: list[StoredAuthority], now: datetime) -> None:
    audit = AuditEntry(
        at=now,
        action=AuditAction.HOLD_CEREMONY,
        subject="hierarchy",
        details={authority.name: authority.key_id for authority in made},
    )
    try:
        await store.save_hierarchy(made, audit=audit)
        log.info("ceremony_held", authorities=[str(authority.name) for authority in made])
    except AlreadyThere:
        log.info("ceremony_held_elsewhere")  # the other one's hierarchy is the one that counts
    except StoreError as error:
        raise PkiUnavailable("the PKI's database is away") from error


def _signers(session: VaultSession, hierarchy: Hierarchy) -> dict[IssuerName, Signer]:
    """The keys that the issuing certificates name. Whether Vault's are the same is seen now, or, as
    long as it is away, by the verification of each signature (6 of the cycle).
    """
    signers: dict[IssuerName, Signer] = {}
    for name, issuer in hierarchy.issuers.items():
        mount, key, version = parse_key_id(issuer.key_id)
        try:
            signers[name] = open_signer(session, mount=mount, name=key, version=version)
        except SignerUnavailable as error:
            log.warning("signing_key_not_seen", issuer=name, why=str(error))
            signers[name] = TransitSigner(session, mount, key, version, issuer.public_key)
        except SignerError as error:
            raise PkiUnavailable(f"the key of {name} is not to be had: {error}") from error
    return signers


def _access(vault: VaultSettings, *, connections: int) -> VaultAccess:
    return VaultAccess(
        addr=vault.addr,
        role_id=vault.role_id,
        read_secret_id=vault.read_secret_id,
        ca_file=vault.ca_file,
        namespace=vault.namespace,
        transit_mount=vault.transit_mount,
        approle_mount=vault.approle_mount,
        timeout_seconds=vault.timeout_seconds,
        connections=connections,
    )


def _patience(settings: AuthoritySettings) -> timedelta:
    if settings.intent_patience_seconds is not None:
        return timedelta(seconds=settings.intent_patience_seconds)
    if settings.database_url.startswith("sqlite"):
        return timedelta(0)
    return _SHARED_DATABASE_PATIENCE


async def _migrated(settings: AuthoritySettings) -> None:
    try:
        await migrate(settings.database_url)
    except StoreError as error:
        raise PkiUnavailable("the PKI's database is away") from error


async def _reconciled(authority: Authority) -> None:
    try:
        await authority.reconcile()
    except StoreError as error:
        raise PkiUnavailable("the PKI's database is away") from error


async def _stored_hierarchy(store: SQLStore) -> Sequence[StoredAuthority]:
    try:
        return await store.hierarchy()
    except StoreError as error:
        raise PkiUnavailable("the PKI's database is away") from error


async def _hierarchy(store: SQLStore, settings: AuthoritySettings) -> Hierarchy:
    return read_hierarchy(await _stored_hierarchy(store), with_rsa=settings.with_rsa)


__all__ = ["HierarchyInvalid", "open_authority", "read_trust_anchors", "run_ceremony", "utc_now"]
