"""The station's keys and certificates, in memory or in a directory of its own.

Holds root certificates by type, station certificates with their keys, and the keys of CSRs nobody
has answered yet. On disk private keys lie 0600 in a 0700 directory and never leave it; a restart
finds everything again. It decides nothing about trust: `chain_check` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from station.chain_check import ChainFault, ChainRefused
from station.signing_request import StationKey, new_key

# Field lessons 4: EVerest's DEFAULT_CSR_EXPIRY. A later answer finds no key any more.
PENDING_KEY_LIFE: Final = 3600.0

CSMS_ROOT: Final = "CSMSRootCertificate"
ROOT_TYPES: Final = (
    CSMS_ROOT,
    "ManufacturerRootCertificate",
    "V2GRootCertificate",
    "MORootCertificate",
)


class CertificateChoice(StrEnum):
    """Which of several valid certificates is shown to the CSMS."""

    LATEST_INSTALLED = "latest-installed"
    LATEST_NOT_AFTER = "latest-not-after"  # what EVerest does (field lessons 11)


class KeyStoreInvalid(Exception):
    """The directory holds something that is no key store."""


@dataclass(frozen=True, slots=True)
class StationCertificate:
    """A certificate chain (leaf first) and the key it was issued for."""

    chain: tuple[x509.Certificate, ...]
    key: StationKey

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def serial(self) -> str:
        return f"{self.leaf.serial_number:x}"

    def chain_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)


@dataclass(slots=True)
class PendingKey:
    key: StationKey
    made_at: float | None  # protocol seconds; None after a restart, until the clock is first seen


@dataclass(slots=True)
class KeyStore:
    """In memory when `directory` is None; `certificates` stand in the order of installation."""

    directory: Path | None = None
    make_key: Callable[[], StationKey] = new_key
    roots: dict[str, list[x509.Certificate]] = field(default_factory=dict)
    certificates: list[StationCertificate] = field(default_factory=list)
    pending: list[PendingKey] = field(default_factory=list)
    _installations: int = 0

    def __post_init__(self) -> None:
        if self.directory is not None:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._load(self.directory)

    # Roots

    @property
    def csms_roots(self) -> list[x509.Certificate]:
        return self.roots.get(CSMS_ROOT, [])

    def csms_roots_pem(self) -> str:
        return "".join(root.public_bytes(Encoding.PEM).decode() for root in self.csms_roots)

    def count_roots(self) -> int:
        return sum(map(len, self.roots.values()))

    def install_root(self, use: str, root: x509.Certificate) -> None:
        """M05.FR.17: installing one again replaces it."""
        kept = self.roots.setdefault(use, [])
        if root not in kept:
            kept.append(root)
            self._write(f"root-{use}-{_fingerprint(root)}.pem", root.public_bytes(Encoding.PEM))

    def delete_root(self, use: str, root: x509.Certificate) -> None:
        self.roots[use].remove(root)
        self._unlink(f"root-{use}-{_fingerprint(root)}.pem")

    # Keys of unanswered CSRs

    def new_pending_key(self, *, now: float) -> StationKey:
        key = self.make_key()
        self.pending.append(PendingKey(key, now))
        self._write(f"pending-{_key_name(key)}.key", _key_pem(key))
        return key

    def forget_old_keys(self, *, now: float) -> int:
        """Deletes the keys of CSRs unanswered for `PENDING_KEY_LIFE`; how many."""
        old = []
        for item in self.pending:
            # Protocol seconds do not outlive the process: a stored key starts its hour again.
            item.made_at = now if item.made_at is None else item.made_at
            if now - item.made_at >= PENDING_KEY_LIFE:
                old.append(item)
        for item in old:
            self._drop_pending(item)
        return len(old)

    def pending_key_of(self, leaf: x509.Certificate) -> StationKey:
        """The key this certificate was asked for with, or `ChainRefused`."""
        for item in self.pending:
            if item.key.public_key() == leaf.public_key():
                return item.key
        raise ChainRefused(ChainFault.UNKNOWN_KEY)

    # Station certificates

    def install(self, certificate: StationCertificate) -> None:
        for item in [item for item in self.pending if _same(item, certificate)]:
            self._drop_pending(item)
        self.certificates.append(certificate)
        self._installations += 1
        name = f"station-{self._installations:06d}-{_fingerprint(certificate.leaf)}"
        self._write(f"{name}.key", _key_pem(certificate.key))
        self._write(f"{name}.pem", certificate.chain_pem())

    def discard(self, certificate: StationCertificate) -> None:
        self.certificates.remove(certificate)
        for suffix in ("pem", "key"):
            self._unlink(f"station-*-{_fingerprint(certificate.leaf)}.{suffix}")

    def by_preference(self, choice: CertificateChoice) -> list[StationCertificate]:
        """First the one to use, then the fallbacks (A02.FR.28)."""
        newest_first = self.certificates[::-1]
        if choice is CertificateChoice.LATEST_NOT_AFTER:
            newest_first.sort(key=lambda item: item.leaf.not_valid_after_utc, reverse=True)
        return newest_first

    # Files

    def _drop_pending(self, item: PendingKey) -> None:
        self.pending.remove(item)
        self._unlink(f"pending-{_key_name(item.key)}.key")

    def _write(self, name: str, data: bytes) -> None:
        if self.directory is not None:
            write_private(self.directory / name, data)

    def _unlink(self, pattern: str) -> None:
        if self.directory is not None:
            for path in self.directory.glob(pattern):
                path.unlink()

    def _load(self, directory: Path) -> None:
        try:
            for use in ROOT_TYPES:
                for path in sorted(directory.glob(f"root-{use}-*.pem")):
                    root = x509.load_pem_x509_certificate(path.read_bytes())
                    self.roots.setdefault(use, []).append(root)
            for path in sorted(directory.glob("station-*.pem")):
                chain = tuple(x509.load_pem_x509_certificates(path.read_bytes()))
                key = _load_key(path.with_suffix(".key"))
                self.certificates.append(StationCertificate(chain, key))
                self._installations = int(path.name.split("-")[1])
            for path in sorted(directory.glob("pending-*.key")):
                self.pending.append(PendingKey(_load_key(path), None))
        except (ValueError, OSError) as error:
            raise KeyStoreInvalid(f"{directory}: not a readable key store") from error


def write_private(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Whole or not at all, and never readable by anybody else, not even for a moment."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def as_files(certificate: StationCertificate) -> Iterator[tuple[Path, Path]]:
    """Chain and key as files for `SSLContext.load_cert_chain`, which takes nothing else."""
    with TemporaryDirectory(prefix="station-") as name:
        chain, key = Path(name, "chain.pem"), Path(name, "key.pem")
        write_private(chain, certificate.chain_pem(), durable=False)
        write_private(key, _key_pem(certificate.key), durable=False)
        yield chain, key


def _same(item: PendingKey, certificate: StationCertificate) -> bool:
    return item.key.public_key() == certificate.leaf.public_key()


def _key_pem(key: StationKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path) -> StationKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an EC key")  # noqa: TRY004 - one error for every bad file
    return key


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex()[:16]


def _key_name(key: StationKey) -> str:
    bits = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return bits[1:9].hex()
