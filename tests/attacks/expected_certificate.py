"""What a station's certificate must be, octet by octet: a second, small implementation.

Nothing of the product's and no library's builder: DER by hand, from the issuing CA's certificate,
the registry's names, the key and policies/certificate-profiles.toml.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fixtures import pki_hostile as h

PROFILES = Path(__file__).parents[2] / "policies" / "certificate-profiles.toml"
CURVES = {
    "secp256r1": bytes.fromhex("06082a8648ce3d030107"),
    "secp384r1": bytes.fromhex("06052b81040022"),
}


@dataclass(frozen=True)
class Expectation:
    """A certificate for that station, asked for between two moments."""

    issuer: x509.Certificate
    organization: str
    serial_number: str
    public_key: Any
    base_url: str
    asked: datetime
    answered: datetime

    def check(self, leaf: x509.Certificate) -> None:
        assert self._tbs(leaf).hex() == leaf.tbs_certificate_bytes.hex()
        assert 1 << 158 <= leaf.serial_number < 1 << 159
        self.issuer.public_key().verify(  # type: ignore[union-attr,call-arg]
            leaf.signature,
            leaf.tbs_certificate_bytes,
            ec.ECDSA(leaf.signature_hash_algorithm),  # type: ignore[arg-type]
        )
        self._check_validity(leaf)

    def _check_validity(self, leaf: x509.Certificate) -> None:
        profile = tomllib.loads(PROFILES.read_text())["station"]
        assert profile["extended_key_usage"] == []
        made = leaf.not_valid_after_utc - timedelta(hours=profile["validity_hours"])
        second = timedelta(seconds=1)
        assert self.asked - second <= made <= self.answered
        backdated = made - timedelta(minutes=profile["backdate_minutes"])
        assert leaf.not_valid_before_utc == max(backdated, self.issuer.not_valid_before_utc)

    def _tbs(self, leaf: x509.Certificate) -> bytes:
        """Of the leaf only the serial number and the two moments, which are checked apart."""
        return h.sequence(
            h.tlv(0xA0, h.tlv(0x02, b"\x02")),
            h.tlv(0x02, leaf.serial_number.to_bytes(20)),
            h.ECDSA_SHA256,
            self.issuer.subject.public_bytes(),
            h.sequence(_utc_time(leaf.not_valid_before_utc), _utc_time(leaf.not_valid_after_utc)),
            h.name(
                h.attribute(h.ORGANIZATION_NAME, self.organization),
                h.attribute(h.COMMON_NAME, self.serial_number),
            ),
            public_key_info(self.public_key),
            h.tlv(0xA3, h.sequence(*self._extensions())),
        )

    def _extensions(self) -> list[bytes]:
        key_identifier = h.tlv(0x04, _key_identifier(public_key_info(self.public_key)))
        of_issuer = h.tlv(0x80, _key_identifier(public_key_info(self.issuer.public_key())))
        crl = h.tlv(0x86, f"{self.base_url}/pki/crl/stations.crl".encode())
        ca = h.tlv(0x86, f"{self.base_url}/pki/ca.pem".encode())
        return [
            h.extension(_id_ce(19), h.sequence(), critical=True),  # no CA
            h.extension(_id_ce(15), bytes.fromhex("03020780"), critical=True),  # digitalSignature
            h.extension(_id_ce(14), key_identifier),
            h.extension(_id_ce(35), h.sequence(of_issuer)),
            h.extension(_id_ce(31), h.sequence(h.sequence(h.tlv(0xA0, h.tlv(0xA0, crl))))),
            h.extension(
                bytes.fromhex("06082b06010505070101"),
                h.sequence(h.sequence(bytes.fromhex("06082b06010505073002"), ca)),
            ),
        ]


def public_key_info(key: Any) -> bytes:
    """RFC 3279 §2.3.1 and RFC 5480 §2: the one form in which we write a key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        algorithm = h.sequence(bytes.fromhex("06072a8648ce3d0201"), CURVES[key.curve.name])
        return h.sequence(algorithm, h.tlv(0x03, b"\x00" + point))
    numbers = key.public_numbers()
    return h.rsa_spki(numbers.n, numbers.e)


def _id_ce(number: int) -> bytes:
    return bytes([0x06, 3, 0x55, 0x1D, number])


def _key_identifier(spki: bytes) -> bytes:
    """RFC 5280 §4.2.1.2, method 1: SHA-1 over the BIT STRING's octets."""
    _, key = h.elements(h.contents(spki))
    return hashlib.sha1(h.contents(key)[1:]).digest()


def _utc_time(moment: datetime) -> bytes:
    return h.tlv(0x17, f"{moment:%y%m%d%H%M%S}Z".encode())
