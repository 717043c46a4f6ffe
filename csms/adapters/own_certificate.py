"""Our own certificates: keys made here, issued by our own PKI, renewed before they end.

`for_listener` keeps what stations and browsers see (A00.FR.510, 701); `for_caller` keeps the client
certificate by which a role of ours calls a PKI in another process.

The private key is made in this process and never leaves it but for one file of mode 0600, so that
a restart while Vault is sealed finds a certificate that still works. Key and chain lie in the same
file, replaced in one rename: a crash leaves the old pair or the new one, never half of each.
A certificate lives less than 24 h; it is renewed with a third of its life left, and a warning is
logged from 8 h before its end.

For certification runs a listener has a second certificate, with an RSA key (`for_listener`): a file
and a keeper of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from csms.ports.clock import Clock, Randomness
from pki.wire import (
    CallerCertificateRequest,
    IssuedCertificate,
    PkiError,
    PkiService,
    ServerCertificateRequest,
)

log = structlog.get_logger()

ALARM_REMAINING: Final = timedelta(hours=8)
RETRY_SECONDS: Final = 60.0  # after a refusal or an outage; also bounds the harm of a clock step


_RSA_BITS: Final = 3072  # A00.FR.502, 504
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


NewKey = Callable[[], Awaitable[PrivateKey]]


async def p256_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def rsa_key() -> PrivateKey:
    """In a thread: it takes a good part of a second."""
    make = partial(rsa.generate_private_key, public_exponent=65537, key_size=_RSA_BITS)
    return await asyncio.to_thread(make)


@dataclass(frozen=True, slots=True)
class _Validity:
    not_before: datetime
    not_after: datetime

    @property
    def renew_at(self) -> datetime:
        return self.not_after - (self.not_after - self.not_before) / 3


Ask = Callable[[str], Awaitable[IssuedCertificate]]  # a CSR in PEM; raises PkiError


class CertificateKeeper:
    """One key and its certificate in one file. Made by `for_listener` or `for_caller`."""

    def __init__(
        self,
        file: Path,
        *,
        common_name: str,
        ask: Ask,
        fits: Callable[[x509.Certificate], bool],
        clock: Clock,
        new_key: NewKey = p256_key,
    ) -> None:
        self._file = file
        self._new_key = new_key
        self._common_name = common_name
        self._ask = ask
        self._fits = fits
        self._clock = clock
        self._callbacks: list[Callable[[], None]] = []
        self._validity: _Validity | None = None

    @property
    def chain_file(self) -> Path:
        """Leaf and issuing CA, PEM; the root is not sent."""
        return self._file

    @property
    def key_file(self) -> Path:
        """The same file: one rename replaces the pair."""
        return self._file

    @property
    def not_after(self) -> datetime | None:
        return self._validity.not_after if self._validity else None

    def on_renewed(self, callback: Callable[[], None]) -> None:
        """Call this after every later renewal; listeners reload their contexts (M10)."""
        self._callbacks.append(callback)

    async def ensure(self) -> None:
        """Have a usable certificate on disk. Raises PkiError when there is none and none comes."""
        self._validity = self._on_disk()
        if self._validity is None:
            await self.renew()

    async def renew(self) -> None:
        """A new key and a certificate for it. The old pair stays when this raises PkiError, or
        OSError because the new one cannot be written.
        """
        key = await self._new_key()
        issued = await self._ask(self._signing_request(key))
        self._write(key, issued.chain_pem)
        self._validity = _Validity(issued.not_before, issued.not_after)
        log.info(
            "own_certificate_renewed",
            name=self._common_name,
            serial=issued.serial,
            not_after=str(issued.not_after),
        )
        for callback in self._callbacks:
            callback()

    async def run(self) -> None:
        """Renew for ever; ends only by cancellation."""
        while True:
            await asyncio.sleep(self._pause())
            if self._validity is None or self._clock.now() >= self._validity.renew_at:
                try:
                    await self.renew()
                except (PkiError, OSError) as error:  # OSError: a full disk must not end us
                    log.warning("own_certificate_not_renewed", why=str(error))
            self._alarm()

    def _pause(self) -> float:
        """Never long: the wall clock may step, and a sleep does not notice."""
        if self._validity is None:
            return RETRY_SECONDS
        due = (self._validity.renew_at - self._clock.now()).total_seconds()
        return min(due, RETRY_SECONDS) if due > 0 else RETRY_SECONDS

    def _alarm(self) -> None:
        if self._validity is None:
            return
        remaining = self._validity.not_after - self._clock.now()
        if remaining < ALARM_REMAINING:
            hours = round(remaining.total_seconds() / 3600, 1)
            log.warning("own_certificate_ends_soon", remaining_hours=hours)

    def _signing_request(self, key: PrivateKey) -> str:
        """Only the public key counts; names come from the request, as for everybody."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._common_name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return csr.public_bytes(serialization.Encoding.PEM).decode()

    def _write(self, key: PrivateKey, chain_pem: str) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),  # a pass phrase beside the file would protect nothing
        )
        new = self._file.with_name(f".{self._file.name}.new")
        with suppress(FileNotFoundError):
            new.unlink()  # of a crash
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key_pem + chain_pem.encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.chain_file)

    def _on_disk(self) -> _Validity | None:
        """The pair of an earlier run, when it fits this one's names and has not ended."""
        try:
            pem = self.chain_file.read_bytes()
            key = serialization.load_pem_private_key(pem, password=None)
            leaf = x509.load_pem_x509_certificates(pem)[0]
            fits = leaf.public_key() == key.public_key() and self._fits(leaf)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, x509.ExtensionNotFound):
            log.warning("own_certificate_unreadable")
            return None
        now = self._clock.now()
        if not fits or not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
            return None
        return _Validity(leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def for_listener(
    pki: PkiService,
    directory: Path,
    *,
    host_names: Sequence[str],
    ip_addresses: Sequence[str],
    clock: Clock,
    randomness: Randomness,
    with_rsa_key: bool = False,
) -> CertificateKeeper:
    """The listener's certificate for these names; the first is the FQDN that becomes CN.

    One with an RSA key is issued under the RSA root, where the PKI has one.
    """
    addresses = {ip_address(text) for text in ip_addresses}

    async def ask(csr_pem: str) -> IssuedCertificate:
        return await pki.issue_server_certificate(
            ServerCertificateRequest(
                request_id=randomness.uuid(),
                host_names=list(host_names),
                ip_addresses=list(ip_addresses),
                csr_pem=csr_pem,
            )
        )

    def fits(leaf: x509.Certificate) -> bool:
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = set(san.get_values_for_type(x509.DNSName))
        return set(host_names) <= names and addresses <= set(
            san.get_values_for_type(x509.IPAddress)
        )

    return CertificateKeeper(
        directory / ("listener-rsa.pem" if with_rsa_key else "listener.pem"),
        common_name=host_names[0],
        ask=ask,
        fits=fits,
        clock=clock,
        new_key=rsa_key if with_rsa_key else p256_key,
    )


CallerRequest = Callable[[CallerCertificateRequest], Awaitable[IssuedCertificate]]


def for_caller(
    issue: CallerRequest, directory: Path, *, role: str, clock: Clock, randomness: Randomness
) -> CertificateKeeper:
    """The client certificate of a role, `directory/{role}.pem`."""

    async def ask(csr_pem: str) -> IssuedCertificate:
        return await issue(
            CallerCertificateRequest(request_id=randomness.uuid(), role=role, csr_pem=csr_pem)
        )

    def fits(leaf: x509.Certificate) -> bool:
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [name.value for name in names] == [role]

    return CertificateKeeper(
        directory / f"{role}.pem", common_name=role, ask=ask, fits=fits, clock=clock
    )
