"""Hostile requests against the whole authority (C01-C06, M2): the template's certificate, octet by
octet, or a refusal with its reason; never a third thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pki.authority.hierarchy import IssuerName
from pki.wire import (
    CertificateKind,
    IssuedCertificate,
    PkiRefused,
    RefusalReason,
    StationCertificateAnswer,
    StationCertificateRequest,
    StationRegistration,
)
from pki.x509 import template
from tests.fixtures import pki_hostile as h
from tests.fixtures.pki_memory import (
    LOCATIONS,
    NOW,
    ORGANIZATION,
    csr_pem,
    memory_authority,
    memory_ca,
    memory_store,
    profiles,
)

R = RefusalReason
STATION = UUID(int=1)
CA = memory_ca()
ISSUER = CA.hierarchy.issuers[IssuerName.STATIONS]
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def ask(directory: Path, pem: str) -> StationCertificateAnswer | PkiRefused:
    async def main() -> StationCertificateAnswer | PkiRefused:
        async with memory_store(directory) as store, memory_authority(store, ca=CA) as authority:
            await authority.register_station(StationRegistration(STATION, "CS001"))
            request = StationCertificateRequest(uuid4(), STATION, pem)
            try:
                return await authority.issue_station_certificate(request)
            except PkiRefused as refused:
                return refused

    return asyncio.run(main())


def assert_is_the_template(issued: IssuedCertificate, public_key: Any) -> None:
    """M2, C10: what was delivered is what we would have written without any request."""
    leaf = x509.load_pem_x509_certificate(issued.certificate_pem.encode())
    meant = template.leaf(
        profile=profiles().by_kind[CertificateKind.STATION],
        issuer=ISSUER.certificate,
        issuer_name="stations",
        organization=ORGANIZATION,
        common_name="CS001",
        public_key=public_key,
        serial=template.Serial(leaf.serial_number),
        now=NOW,
        locations=LOCATIONS,
    )
    rehearsal = meant.sign(ISSUER.throwaway_key, hashes.SHA256())
    assert leaf.tbs_certificate_bytes == rehearsal.tbs_certificate_bytes
    leaf.verify_directly_issued_by(ISSUER.certificate)


# --- C01: somebody else's name --------------------------------------------------------------------


def common_name(text: str | bytes, tag: int = h.UTF8) -> bytes:
    return h.name(h.attribute(h.COMMON_NAME, text, tag))


WRONG_NAMES = {
    "another station": common_name("CS002"),
    "lower case": common_name("cs001"),
    "a longer name": common_name("CS0011"),
    "a shorter name": common_name("CS00"),
    "space after": common_name("CS001 "),
    "space before": common_name(" CS001"),
    "nul after": common_name("CS001\x00"),
    "nul and another host": common_name("CS001\x00.csms.example.com"),
    "line feed": common_name("CS001\n"),
    "zero width space": common_name("CS\u200b001"),
    "cyrillic letters": common_name("\u0421\u0405001"),
    "full width letters": common_name("\uff23\uff33001"),
    "right-to-left override": common_name("\u202e100SC"),
    "empty": common_name(""),
    "wildcard": common_name("*"),
    "the CSMS": common_name("csms.example.com"),
    "an address": common_name("10.0.0.1"),
    "a URL": common_name("wss://csms.example.com/CS001"),
    "our root": common_name("Example CSO CSMS Root"),
    "latin-1 under the label of UTF-8": common_name("CS001\u00e9".encode("latin-1")),
    "NUL in BMPString": common_name("CS001\x00", h.BMP),
    "none": h.name(),
    "in an extension only": h.name(h.attribute(h.ORGANIZATION_NAME, ORGANIZATION)),
    "two": h.name(h.attribute(h.COMMON_NAME, "CS001"), h.attribute(h.COMMON_NAME, "CS002")),
    "the same twice": h.name(*[h.attribute(h.COMMON_NAME, "CS001")] * 2),
    "two in one RDN": h.name(
        h.attribute(h.COMMON_NAME, "CS001") + h.attribute(h.COMMON_NAME, "CS002")
    ),
    "another organization": h.name(
        h.attribute(h.COMMON_NAME, "CS001"), h.attribute(h.ORGANIZATION_NAME, "Evil Inc")
    ),
    "two organizations": h.name(
        h.attribute(h.COMMON_NAME, "CS001"),
        h.attribute(h.ORGANIZATION_NAME, ORGANIZATION),
        h.attribute(h.ORGANIZATION_NAME, "Evil Inc"),
    ),
    "70 characters": common_name("C" * 70),
    "a bit string": common_name(b"\x00CS001", 0x03),
}


@pytest.mark.parametrize("subject", WRONG_NAMES.values(), ids=WRONG_NAMES)
@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_name_that_is_not_the_stations_is_refused(tmp_path: Path, subject: bytes) -> None:
    """With the right name as SAN, which must not help."""
    san = h.extension(h.SUBJECT_ALT_NAME, h.sequence(h.tlv(0x82, b"CS001")))
    der = h.request(EC_KEY, subject=subject, attributes=[h.extensions(san)])
    answer = ask(tmp_path, h.pem(der))
    assert isinstance(answer, PkiRefused)
    assert answer.reason in {R.WRONG_SUBJECT, R.MALFORMED}


# --- C02: wishes that change nothing --------------------------------------------------------------


def wish(oid: bytes, value: bytes, *, critical: bool = False) -> dict[str, Any]:
    return {"attributes": [h.extensions(h.extension(oid, value, critical=critical))]}


def odd_name(*attributes: bytes) -> dict[str, Any]:
    return {"subject": h.name(h.attribute(h.COMMON_NAME, "CS001"), *attributes)}


MANY_NAMES = h.sequence(*(h.tlv(0x82, f"h{n}.eu".encode()) for n in range(300)))
KEY_CERT_SIGN = bytes.fromhex("03020106")
WISHES: dict[str, tuple[dict[str, Any], str | None]] = {
    "nothing": ({}, None),
    "PrintableString": ({"subject": common_name("CS001", h.PRINTABLE)}, None),
    "BMPString": ({"subject": common_name("CS001", h.BMP)}, None),
    "UniversalString": ({"subject": common_name("CS001", h.UNIVERSAL)}, None),
    "OCTET STRING": ({"subject": common_name(b"CS001", 0x04)}, None),
    "IA5String": ({"subject": common_name("CS001", h.IA5)}, None),
    "CA:TRUE": (wish(h.BASIC_CONSTRAINTS, h.sequence(h.TRUE), critical=True), "requested_ca"),
    "keyCertSign": (wish(bytes.fromhex("0603551d0f"), KEY_CERT_SIGN), "requested_extension"),
    "one SAN": (
        wish(h.SUBJECT_ALT_NAME, h.sequence(h.tlv(0x82, b"csms.example.com"))),
        "requested_san",
    ),
    "300 SANs": (wish(h.SUBJECT_ALT_NAME, MANY_NAMES), "requested_san"),
    "serverAuth": (
        wish(bytes.fromhex("0603551d25"), h.sequence(bytes.fromhex("06082b06010505070301"))),
        "requested_extension",
    ),
    "unknown critical": (wish(h.UNKNOWN, b"\x05\x00", critical=True), "requested_extension"),
    "no DER": (wish(h.BASIC_CONSTRAINTS, b"\xff\xff"), "requested_extension"),
    "a broken name inside a SAN": (
        wish(h.SUBJECT_ALT_NAME, h.sequence(h.tlv(0xA4, common_name(b"\x00x", 0x03)))),
        "requested_extension",
    ),
    "the same twice": (
        {"attributes": [h.extensions(*[h.extension(h.BASIC_CONSTRAINTS, h.sequence())] * 2)]},
        "requested_extension",
    ),
    "two lists": (
        {"attributes": [h.extensions(h.extension(h.UNKNOWN, b""))] * 2},
        "requested_extension",
    ),
    "challengePassword": (
        {"attributes": [h.sequence(h.CHALLENGE_PASSWORD, h.tlv(0x31, h.tlv(h.UTF8, b"secret")))]},
        None,
    ),
    "odd country": (odd_name(h.attribute(h.COUNTRY_NAME, "NLD", h.PRINTABLE)), "extra_rdn"),
    "NUL in another RDN": (odd_name(h.attribute(h.UNKNOWN, "a\x00b\x1b[2J")), "extra_rdn"),
}


@pytest.mark.parametrize(("wished", "reported"), WISHES.values(), ids=WISHES)
@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_wish_changes_no_octet_and_is_reported(
    tmp_path: Path, wished: dict[str, Any], reported: str | None
) -> None:
    answer = ask(tmp_path, h.pem(h.request(EC_KEY, **wished)))
    assert isinstance(answer, StationCertificateAnswer)
    assert_is_the_template(answer.issued, EC_KEY.public_key())
    assert {a.what for a in answer.anomalies} == ({reported} if reported else set())
    assert all(a.detail.isprintable() and len(a.detail) <= 200 for a in answer.anomalies)


@pytest.mark.parametrize("key", [lambda: EC_KEY, lambda: rsa_key(3072)], ids=["EC", "RSA-3072"])
def test_a_key_that_is_allowed_is_certified(tmp_path: Path, key: Callable[[], Any]) -> None:
    answer = ask(tmp_path, h.pem(h.request(key())))
    assert isinstance(answer, StationCertificateAnswer)
    assert_is_the_template(answer.issued, key().public_key())


# --- C03, C04: keys -------------------------------------------------------------------------------


def roca() -> int:
    primorial = prod(p for p in range(2, 702) if all(p % d for d in range(2, p)))
    # Two factors of that shape, together of 3072 bits.
    one = (5 << 560) * primorial + pow(65537, 77, primorial)
    other = one // primorial
    two = ((1 << 3071) // one // primorial + other % 2 + 1) * primorial + pow(65537, 99, primorial)
    return one * two


def close_primes() -> int:
    p = rsa_key(3072).private_numbers().p
    q = p + 2
    while any(q % small == 0 for small in range(3, 752, 2)):
        q += 2
    return p * q


def explicit_p256() -> bytes:
    """P-256 under parameters of the attacker's own: another generator (CVE-2020-0601)."""
    p = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    point = h.spki(EC_KEY)[-65:]
    parameters = h.sequence(
        h.tlv(0x02, b"\x01"),
        h.sequence(bytes.fromhex("06072a8648ce3d0101"), h.tlv(0x02, b"\x00" + p.to_bytes(32))),
        h.sequence(h.tlv(0x04, (p - 3).to_bytes(32)), h.tlv(0x04, b.to_bytes(32))),
        h.tlv(0x04, point),
        h.tlv(0x02, b"\x00" + n.to_bytes(32)),
    )
    algorithm = h.sequence(bytes.fromhex("06072a8648ce3d0201"), parameters)
    return h.sequence(algorithm, h.tlv(0x03, b"\x00" + point))


WEAK_KEYS: dict[str, Callable[[], bytes]] = {
    "RSA-1024": lambda: h.rsa_spki((1 << 1023) | 1),
    "RSA-2048": lambda: h.spki(rsa_key(2048)),
    "RSA-2047": lambda: h.rsa_spki((1 << 2046) | 1),
    "RSA-8192": lambda: h.rsa_spki((1 << 8191) | 1),
    "RSA-16384": lambda: h.rsa_spki((1 << 16383) | 1),
    "exponent 3": lambda: h.rsa_spki(rsa_key(3072).public_key().public_numbers().n, 3),
    "exponent 1": lambda: h.rsa_spki(rsa_key(3072).public_key().public_numbers().n, 1),
    "even exponent": lambda: h.rsa_spki(rsa_key(3072).public_key().public_numbers().n, 65536),
    "even modulus": lambda: h.rsa_spki(1 << 3071),
    "small factor": lambda: h.rsa_spki(((1 << 3071) // 3 | 1) * 3),
    "close primes": lambda: h.rsa_spki(close_primes()),
    "ROCA": lambda: h.rsa_spki(roca()),
    "P-192": lambda: h.spki(ec.generate_private_key(ec.SECP192R1())),
    "P-224": lambda: h.spki(ec.generate_private_key(ec.SECP224R1())),
    "P-521": lambda: h.spki(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": lambda: h.spki(ec.generate_private_key(ec.SECP256K1())),
    "brainpool": lambda: h.spki(ec.generate_private_key(ec.BrainpoolP256R1())),
    "Ed25519": lambda: h.spki(ed25519.Ed25519PrivateKey.generate()),
    "explicit parameters": explicit_p256,
    "point off the curve": lambda: h.spki(EC_KEY)[:-64] + b"\x01" * 64,
    "point at infinity": lambda: h.sequence(h.spki(EC_KEY)[2:23], h.tlv(0x03, b"\x00\x00")),
    "unknown algorithm": lambda: h.sequence(h.sequence(h.UNKNOWN), h.tlv(0x03, b"\x00\x00")),
}


@pytest.mark.parametrize("public_key", WEAK_KEYS.values(), ids=WEAK_KEYS)
def test_a_weak_key_is_refused(tmp_path: Path, public_key: Callable[[], bytes]) -> None:
    answer = ask(tmp_path, h.pem(h.request(EC_KEY, public_key=public_key())))
    assert isinstance(answer, PkiRefused)
    assert answer.reason is R.WEAK_KEY


@pytest.mark.parametrize(
    ("name", "says"), [("close primes", "close"), ("ROCA", "ROCA"), ("small factor", "small")]
)
def test_a_weak_modulus_is_refused_for_its_own_weakness(
    tmp_path: Path, name: str, says: str
) -> None:
    answer = ask(tmp_path, h.pem(h.request(EC_KEY, public_key=WEAK_KEYS[name]())))
    assert isinstance(answer, PkiRefused)
    assert says in answer.detail


# --- C05: possession ------------------------------------------------------------------------------


def pss() -> bytes:
    key = rsa_key(3072)
    info = h.sequence(h.tlv(0x02, b"\x00"), h.CS001, h.spki(key), h.tlv(0xA0))
    scheme = padding.PSS(padding.MGF1(hashes.SHA1()), 20)
    signature = key.sign(info, scheme, hashes.SHA1())
    # RSASSA-PSS with its defaults, which are SHA-1 throughout (RFC 4055 §3.1).
    algorithm = h.sequence(bytes.fromhex("06092a864886f70d01010a"), h.sequence())
    return h.sequence(info, algorithm, h.tlv(0x03, b"\x00" + signature))


UNPROVEN: dict[str, Callable[[], bytes]] = {
    "another key signed": lambda: h.request(
        EC_KEY, public_key=h.spki(ec.generate_private_key(ec.SECP256R1()))
    ),
    "last octet flipped": lambda: (der := h.request(EC_KEY))[:-1] + bytes([der[-1] ^ 1]),
    "SHA-1 with ECDSA": lambda: h.request(EC_KEY, algorithm=h.ECDSA_SHA1),
    "SHA-1 with RSA": lambda: h.request(rsa_key(3072), algorithm=h.RSA_SHA1),
    "MD5 with RSA": lambda: h.request(rsa_key(3072), algorithm=h.RSA_MD5),
    "RSA's name over an ECDSA signature": lambda: h.request(EC_KEY, algorithm=h.RSA_SHA256),
    "ECDSA's name over an RSA signature": lambda: h.request(
        rsa_key(3072), algorithm=h.ECDSA_SHA256
    ),
    "an unknown algorithm": lambda: h.request(EC_KEY, algorithm=h.NOBODYS),
    "PSS with SHA-1": pss,
}


@pytest.mark.parametrize("der", UNPROVEN.values(), ids=UNPROVEN)
def test_a_request_that_proves_no_possession_is_refused(
    tmp_path: Path, der: Callable[[], bytes]
) -> None:
    answer = ask(tmp_path, h.pem(der()))
    assert isinstance(answer, PkiRefused)
    assert answer.reason is R.PROOF_OF_POSSESSION


# --- form -----------------------------------------------------------------------------------------


MISSHAPEN: dict[str, tuple[Callable[[str], str], RefusalReason]] = {
    "5501 characters": (lambda pem: pem + "\n" * (5501 - len(pem)), R.TOO_LARGE),
    "a megabyte": (lambda pem: pem * 1500, R.TOO_LARGE),
    "two blocks": (lambda pem: pem + pem, R.MALFORMED),
    "text before": (lambda pem: "hello\n" + pem, R.MALFORMED),
    "text after": (lambda pem: pem + "hello", R.MALFORMED),
    "a nested block": (lambda pem: pem.replace("\n", "\n" + pem, 1), R.MALFORMED),
    "a certificate": (lambda pem: pem.replace("CERTIFICATE REQUEST", "CERTIFICATE"), R.MALFORMED),
    "blank lines only": (
        lambda _: "-----BEGIN CERTIFICATE REQUEST-----" + "\n" * 5000,
        R.MALFORMED,
    ),
    "nothing": (lambda _: "", R.MALFORMED),
    "NUL": (lambda pem: pem.replace("\n", "\x00\n", 1), R.MALFORMED),
    "padding in the middle": (
        lambda pem: pem.replace(pem.splitlines()[1][:4], "MI==", 1),
        R.MALFORMED,
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), MISSHAPEN.values(), ids=MISSHAPEN)
def test_what_is_not_one_request_in_pem_is_refused(
    tmp_path: Path, spoil: Callable[[str], str], reason: RefusalReason
) -> None:
    answer = ask(tmp_path, spoil(csr_pem()))
    assert isinstance(answer, PkiRefused)
    assert answer.reason is reason


@pytest.mark.parametrize("version", [1, 2, 127])
def test_a_request_of_another_version_is_malformed(tmp_path: Path, version: int) -> None:
    answer = ask(tmp_path, h.pem(h.request(EC_KEY, version=version)))
    assert isinstance(answer, PkiRefused)
    assert answer.reason is R.MALFORMED


def test_5500_characters_are_still_read(tmp_path: Path) -> None:
    pem = h.pem(h.request(EC_KEY))
    answer = ask(tmp_path, pem + "\n" * (5500 - len(pem)))
    assert isinstance(answer, StationCertificateAnswer)
    assert_is_the_template(answer.issued, EC_KEY.public_key())


def test_one_key_in_two_encodings_is_one_key(tmp_path: Path) -> None:
    """C06: a compressed point must not make a blocked key look new."""
    x, y = (n.to_bytes(32) for n in (_numbers().x, _numbers().y))
    plain = h.spki(EC_KEY)
    compressed = h.sequence(plain[2:23], h.tlv(0x03, b"\x00" + bytes([2 + y[-1] % 2]) + x))
    answer = ask(tmp_path, h.pem(h.request(EC_KEY, public_key=compressed)))
    assert isinstance(answer, StationCertificateAnswer)
    assert_is_the_template(answer.issued, EC_KEY.public_key())


def _numbers() -> ec.EllipticCurvePublicNumbers:
    return EC_KEY.public_key().public_numbers()
