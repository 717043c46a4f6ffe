"""Station certificates that are right but for one thing, and the stations they claim to be.

`Forge.leaf` makes what our own issuing CA would have made; each argument spoils one part of it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from csms.domain.certificate import CertificateRecord, CertificateStatus, CertificateUse
from csms.domain.station import SecurityProfile, Station
from tests.attacks.hostile import client_tls
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.matrix import Verdict
from tests.fixtures import pki_hostile as der
from tests.fixtures.gateway_house import World
from tests.fixtures.pki_small import ORGANIZATION, SmallCA

HOUR = timedelta(hours=1)
# A station that would sign with anything: it is the server that has to refuse.
ANY_CIPHER = "ALL:@SECLEVEL=0"


def utf8(text: str) -> bytes:
    return der.attribute(der.COMMON_NAME, text)


def organization(text: str = ORGANIZATION) -> bytes:
    return der.attribute(der.ORGANIZATION_NAME, text)


def basic_constraints(*, ca: bool, path_length: int | None = None) -> bytes:
    length = b"" if path_length is None else der.tlv(0x02, bytes([path_length]))
    content = der.sequence(der.TRUE if ca else b"", length)
    return der.extension(der.BASIC_CONSTRAINTS, content, critical=True)


def key_usage(*bits: int) -> bytes:
    """The numbers of RFC 5280 §4.2.1.3: 0 digitalSignature, 4 keyAgreement, 5 keyCertSign."""
    flags = sum(0x80 >> bit for bit in bits)
    content = bytes([7 - max(bits), flags])
    return der.extension(der.KEY_USAGE, der.tlv(0x03, content), critical=True)


def extended_key_usage(*purposes: str) -> bytes:
    """Purposes by the hexadecimal content of their OID."""
    oids = (der.tlv(0x06, bytes.fromhex(purpose)) for purpose in purposes)
    return der.extension(der.EXTENDED_KEY_USAGE, der.sequence(*oids))


SERVER_AUTH, CLIENT_AUTH, CODE_SIGNING = (f"2b0601050507030{n}" for n in (1, 2, 3))
ANY_PURPOSE = "551d2500"
NOT_A_CA = basic_constraints(ca=False)
SIGNS = key_usage(0)
OURS = (NOT_A_CA, SIGNS)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a station presents: a leaf, its key, and certificates beside it."""

    der: bytes = field(repr=False)
    key: Any = field(repr=False)
    beside: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> str:
        return der.pem(self.der, label="CERTIFICATE")

    def write(self, directory: Path) -> Path:
        path = directory / f"{uuid4().hex}.pem"
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        path.write_text(key + self.pem + "".join(self.beside))
        return path


class Forge:
    def __init__(self, world: World) -> None:
        self.world = world
        self.now = datetime.now(UTC).replace(microsecond=0)

    @cached_property
    def elsewhere(self) -> SmallCA:
        return SmallCA("Elsewhere")

    def leaf(
        self,
        serial_number: str,
        *,
        issuer: SmallCA | Shown | None = None,
        key: Any = None,
        names: Sequence[bytes] | None = None,
        starts: timedelta = -HOUR,
        ends: timedelta = 12 * HOUR,
        extensions: Sequence[bytes] = OURS,
        beside: tuple[str, ...] = (),
        **more: Any,
    ) -> Shown:
        """`names`: one relative distinguished name each."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        signer = issuer or self.world.stations
        subject = der.name(*([organization(), utf8(serial_number)] if names is None else names))
        made = der.certificate(
            signer.key,
            issuer=_subject_of(signer),
            subject=subject,
            public_key=der.spki(key),
            validity=(self.now + starts, self.now + ends),
            extensions=extensions,
            **more,
        )
        return Shown(made, key, (signer.pem, *beside))


def _subject_of(signer: SmallCA | Shown) -> bytes:
    if isinstance(signer, SmallCA):
        return signer.certificate.subject.public_bytes()
    return x509.load_der_x509_certificate(signer.der).subject.public_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Invalid solely because `why`, which is also its key in the table."""

    expected: Verdict
    make: Callable[[Forge, str], Shown | None] = Forge.leaf
    record: dict[str, Any] = field(default_factory=dict)  # what differs in the record
    recorded: bool = True
    of_another: bool = False  # the record is another station's
    path: str | None = None  # another identity than the station's
    blocked: bool = False


def recorded(station: Station, shown: Shown, now: datetime, **more: Any) -> CertificateRecord:
    """A record that admits the certificate, whatever it says itself."""
    facts: dict[str, Any] = {
        "status": CertificateStatus.ACTIVE,
        "use": CertificateUse.CHARGING_STATION,
        "not_before": now - HOUR,
        "not_after": now + 12 * HOUR,
        **more,
    }
    return CertificateRecord(
        id=uuid4(),
        station_id=station.id,
        issuer="stations",
        serial=uuid4().hex,
        fingerprint_sha256=shown.fingerprint,
        certificate_pem="-",
        chain_pem="-",
        created_at=now,
        first_seen_at=now,
        **facts,
    )


def keep_record(fort: Keep, record: CertificateRecord) -> None:
    async def add() -> None:
        async with fort.home.store.writing() as work:
            await work.certificates.add(record)
            await work.commit()

    fort.do(add())


def context_of(
    fort: Keep, shown: Shown | None, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]
) -> ssl.SSLContext:
    leaf = None if shown is None else shown.write(fort.home.directory)
    return client_tls(fort.trust, leaf=leaf, versions=versions, ciphers=ANY_CIPHER)


def by_tls(detail: str) -> Verdict:
    return Verdict(0, "tls_handshake", detail)


def forbidden(reason: str) -> Verdict:
    return Verdict(403, f"certificate_{reason}")


class Neighbourhood:
    """The stations of the cases, and the one that is never to be touched."""

    def __init__(self, fort: Keep) -> None:
        self.fort = fort
        self.another = self.add("another", "SN-ANOTHER")
        self._count = 0

    def add(self, identity: str, serial_number: str, **more: Any) -> Station:
        profile = SecurityProfile.TLS_CERTIFICATE
        return self.fort.add(
            identity, serial_number, security_profile=profile, minimum=profile, **more
        )

    def new(self, **more: Any) -> Station:
        self._count += 1
        return self.add(f"cs{self._count:04}", f"SN{self._count:04}", **more)

    def with_leaf(self, forge: Forge, **more: Any) -> tuple[Station, Shown]:
        """A station with a good certificate on record."""
        station = self.new()
        shown = forge.leaf(station.serial_number)
        keep_record(self.fort, recorded(station, shown, forge.now, **more))
        return station, shown


def our_world(directory: Path) -> World:
    """As the product makes it: no CA below the one that issues."""
    world = World(directory)
    world.stations = SmallCA("Stations", parent=world.root, path_length=0)
    return world


@contextmanager
def besieged(world: World, directory: Path, loop: str) -> Iterator[Keep]:
    with keep(world, directory, loop=loop) as fort, Witness(fort), fort.bounded_lag():
        yield fort
