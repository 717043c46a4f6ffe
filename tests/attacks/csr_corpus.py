"""Hostile certificate requests (C01-C06, M2): one table, for the authority alone and for the whole
product.

An attempt says what a station sends and what must come of it: the template's certificate, or a
refusal with one of its reasons. There is no third thing. Requests are put together octet by octet
for any station and any key, since a key can be certified for one station only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pki.wire import RefusalReason as R
from tests.fixtures import pki_hostile as h

LIMIT = 5500  # SignCertificate.csr


@cache
def rsa_key(bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    """`number` tells keys apart that are certified, since each is for one station."""
    del number
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Asker:
    """The station that asks: what its registration says, and a key of its own."""

    serial_number: str
    organization: str
    key: ec.EllipticCurvePrivateKey

    def der(self, **odd: Any) -> bytes:
        """Its honest request but for what is odd about it."""
        odd.setdefault("subject", common_name(self.serial_number))
        return h.request(odd.pop("key", self.key), **odd)


Make = Callable[[Asker], str]


@dataclass(frozen=True)
class Attempt:
    attack: str
    what: str
    make: Make  # the text of SignCertificate.csr
    reasons: frozenset[R] = frozenset()  # none: the template's certificate
    anomaly: str | None = None  # what is reported beside the certificate
    key: Callable[[Asker], Any] = lambda asker: asker.key  # whose public key is certified

    def __str__(self) -> str:
        return f"{self.attack} {self.what}"


# --- C01: somebody else's name --------------------------------------------------------------------


def common_name(text: str | bytes, tag: int = h.UTF8) -> bytes:
    return h.name(h.attribute(h.COMMON_NAME, text, tag))


def _full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) for c in text)


# Each of the serial number that is registered.
WRONG_NAMES: dict[str, Callable[[str], bytes]] = {
    "another station": lambda cn: common_name(cn[:-1] + chr(ord(cn[-1]) ^ 1)),
    "lower case": lambda cn: common_name(cn.lower()),
    "a longer name": lambda cn: common_name(cn + "1"),
    "a shorter name": lambda cn: common_name(cn[:-1]),
    "space after": lambda cn: common_name(cn + " "),
    "space before": lambda cn: common_name(" " + cn),
    "nul after": lambda cn: common_name(cn + "\x00"),
    "nul and another host": lambda cn: common_name(cn + "\x00.csms.example.com"),
    "line feed": lambda cn: common_name(cn + "\n"),
    "zero width space": lambda cn: common_name(cn[:2] + "\u200b" + cn[2:]),
    "a cyrillic letter": lambda cn: common_name(cn.replace("S", "\u0405")),
    "full width letters": lambda cn: common_name(_full_width(cn)),
    "right-to-left override": lambda cn: common_name("\u202e" + cn[::-1]),
    "empty": lambda _: common_name(""),
    "wildcard": lambda _: common_name("*"),
    "the CSMS": lambda _: common_name("csms.example.com"),
    "an address": lambda _: common_name("10.0.0.1"),
    "a URL": lambda cn: common_name(f"wss://csms.example.com/{cn}"),
    "our root": lambda _: common_name("Example CSO CSMS Root"),
    "latin-1 under the label of UTF-8": lambda cn: common_name(f"{cn}\u00e9".encode("latin-1")),
    "NUL in BMPString": lambda cn: common_name(cn + "\x00", h.BMP),
    "none": lambda _: h.name(),
    "in O only": lambda cn: h.name(h.attribute(h.ORGANIZATION_NAME, cn)),
    "two": lambda cn: h.name(h.attribute(h.COMMON_NAME, cn), h.attribute(h.COMMON_NAME, cn + "2")),
    "the same twice": lambda cn: h.name(*[h.attribute(h.COMMON_NAME, cn)] * 2),
    "two in one RDN": lambda cn: h.name(
        h.attribute(h.COMMON_NAME, cn) + h.attribute(h.COMMON_NAME, cn + "2")
    ),
    "another organization": lambda cn: h.name(
        h.attribute(h.COMMON_NAME, cn), h.attribute(h.ORGANIZATION_NAME, "Evil Inc")
    ),
    "two organizations": lambda cn: h.name(
        h.attribute(h.COMMON_NAME, cn),
        h.attribute(h.ORGANIZATION_NAME, "Example CSO"),
        h.attribute(h.ORGANIZATION_NAME, "Evil Inc"),
    ),
    "70 characters": lambda _: common_name("C" * 70),
    "a bit string": lambda cn: common_name(b"\x00" + cn.encode(), 0x03),
}


def _wrong_name(subject: Callable[[str], bytes]) -> Make:
    def make(asker: Asker) -> str:
        """With the right name as SAN, which must not help."""
        san = h.sequence(h.tlv(0x82, asker.serial_number.encode()))
        wish = [h.extensions(h.extension(h.SUBJECT_ALT_NAME, san))]
        return h.pem(asker.der(subject=subject(asker.serial_number), attributes=wish))

    return make


# --- C02: wishes that change nothing --------------------------------------------------------------


def _wish(oid: bytes, value: bytes, *, critical: bool = False) -> Make:
    wish = h.extensions(h.extension(oid, value, critical=critical))
    return lambda asker: h.pem(asker.der(attributes=[wish]))


def _attributes(*attributes: bytes) -> Make:
    return lambda asker: h.pem(asker.der(attributes=attributes))


def _tagged(tag: int) -> Make:
    return lambda asker: h.pem(asker.der(subject=common_name(asker.serial_number, tag)))


def _with(*more: bytes) -> Make:
    """Further attributes in the subject."""
    return lambda asker: h.pem(
        asker.der(subject=h.name(h.attribute(h.COMMON_NAME, asker.serial_number), *more))
    )


MANY_NAMES = h.sequence(*(h.tlv(0x82, f"h{n}.eu".encode()) for n in range(300)))
THOUSAND_NAMES = h.sequence(*[h.tlv(0x82, b"a")] * 1000)
KEY_CERT_SIGN = bytes.fromhex("03020106")
EVIL_URI = h.tlv(0x86, b"http://evil.example.com/")
TLS_FEATURE = bytes.fromhex("06082b06010505070118")

WISHES: dict[str, tuple[Make, str | None]] = {
    "nothing": (_attributes(), None),
    "PrintableString": (_tagged(h.PRINTABLE), None),
    "BMPString": (_tagged(h.BMP), None),
    "UniversalString": (_tagged(h.UNIVERSAL), None),
    "OCTET STRING": (_tagged(0x04), None),
    "IA5String": (_tagged(h.IA5), None),
    "CA:TRUE": (_wish(h.BASIC_CONSTRAINTS, h.sequence(h.TRUE), critical=True), "requested_ca"),
    "keyCertSign": (_wish(bytes.fromhex("0603551d0f"), KEY_CERT_SIGN), "requested_extension"),
    "one SAN": (
        _wish(h.SUBJECT_ALT_NAME, h.sequence(h.tlv(0x82, b"csms.example.com"))),
        "requested_san",
    ),
    "300 SANs": (_wish(h.SUBJECT_ALT_NAME, MANY_NAMES), "requested_san"),
    "1,000 SANs": (_wish(h.SUBJECT_ALT_NAME, THOUSAND_NAMES), "requested_san"),
    "serverAuth": (
        _wish(bytes.fromhex("0603551d25"), h.sequence(bytes.fromhex("06082b06010505070301"))),
        "requested_extension",
    ),
    "a CRL elsewhere": (
        _wish(
            bytes.fromhex("0603551d1f"),
            h.sequence(h.sequence(h.tlv(0xA0, h.tlv(0xA0, EVIL_URI)))),
        ),
        "requested_extension",
    ),
    "an issuer elsewhere": (
        _wish(
            bytes.fromhex("06082b06010505070101"),
            h.sequence(h.sequence(bytes.fromhex("06082b06010505073002"), EVIL_URI)),
        ),
        "requested_extension",
    ),
    "a key identifier": (
        _wish(bytes.fromhex("0603551d0e"), h.tlv(0x04, b"\x01" * 20)),
        "requested_extension",
    ),
    "unknown critical": (_wish(h.UNKNOWN, b"\x05\x00", critical=True), "requested_extension"),
    "no DER": (_wish(h.BASIC_CONSTRAINTS, b"\xff\xff"), "requested_extension"),
    "a TLS feature that nobody knows": (
        _wish(TLS_FEATURE, h.sequence(h.tlv(0x02, b"\x63"))),
        "requested_extension",
    ),
    "a broken name inside a SAN": (
        _wish(h.SUBJECT_ALT_NAME, h.sequence(h.tlv(0xA4, common_name(b"\x00x", 0x03)))),
        "requested_extension",
    ),
    "the same twice": (
        _attributes(h.extensions(*[h.extension(h.BASIC_CONSTRAINTS, h.sequence())] * 2)),
        "requested_extension",
    ),
    "two lists": (
        _attributes(*[h.extensions(h.extension(h.UNKNOWN, b""))] * 2),
        "requested_extension",
    ),
    "challengePassword": (
        _attributes(h.sequence(h.CHALLENGE_PASSWORD, h.tlv(0x31, h.tlv(h.UTF8, b"secret")))),
        None,
    ),
    "an attribute of nothing": (
        _attributes(h.sequence(h.CHALLENGE_PASSWORD, h.tlv(0x31))),
        None,
    ),
    "odd country": (_with(h.attribute(h.COUNTRY_NAME, "NLD", h.PRINTABLE)), "extra_rdn"),
    "NUL in another RDN": (_with(h.attribute(h.UNKNOWN, "a\x00b\x1b[2J")), "extra_rdn"),
}


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


EC_KEY = bytes.fromhex("06072a8648ce3d0201")  # id-ecPublicKey
P256 = bytes.fromhex("06082a8648ce3d030107")
RSA_ENCRYPTION = bytes.fromhex("06092a864886f70d010101")
RSASSA_PSS = bytes.fromhex("06092a864886f70d01010a")
DH_KEY = bytes.fromhex("06092a864886f70d010301")
X942_KEY = bytes.fromhex("06072a8648ce3e0201")
DSA_KEY = bytes.fromhex("06072a8648ce380401")


def bits(content: bytes) -> bytes:
    return h.tlv(0x03, b"\x00" + content)


def integer(number: int) -> bytes:
    return h.tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1))


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Uncompressed, of P-256."""
    return h.spki(key)[-65:]


def on_p256(point: bytes) -> bytes:
    return h.sequence(h.sequence(EC_KEY, P256), bits(point))


def explicit_p256(key: ec.EllipticCurvePrivateKey) -> bytes:
    """P-256 under parameters of the attacker's own: another generator (CVE-2020-0601)."""
    p = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    parameters = h.sequence(
        integer(1),
        h.sequence(bytes.fromhex("06072a8648ce3d0101"), integer(p)),
        h.sequence(h.tlv(0x04, (p - 3).to_bytes(32)), h.tlv(0x04, b.to_bytes(32))),
        h.tlv(0x04, point_of(key)),
        integer(n),
    )
    return h.sequence(h.sequence(EC_KEY, parameters), bits(point_of(key)))


def compressed(key: ec.EllipticCurvePrivateKey) -> bytes:
    point = point_of(key)
    return on_p256(bytes([2 + point[-1] % 2]) + point[1:33])


def hybrid(key: ec.EllipticCurvePrivateKey, wrong: int = 0) -> bytes:
    """X9.62's third form, which RFC 5480 §2.2 has no use for."""
    point = point_of(key)
    return on_p256(bytes([6 + (point[-1] ^ wrong) % 2]) + point[1:])


def as_rsa(algorithm: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """That RSA key under another AlgorithmIdentifier."""
    return h.sequence(algorithm, h.spki(key)[-_bits_length(key) :])


def _bits_length(key: rsa.RSAPrivateKey) -> int:
    spki = h.spki(key)
    return len(spki) - spki.index(b"\x05\x00") - 2


def diffie_hellman(kind: bytes = DH_KEY) -> bytes:
    """With the Mersenne prime M9941 as modulus: whoever checks it for primality stands still."""
    p = (1 << 9941) - 1
    parameters = [integer(p), integer(2)]
    if kind == X942_KEY:
        parameters.append(integer(p - 1))
    return h.sequence(h.sequence(kind, h.sequence(*parameters)), bits(integer(p - 2)))


def dsa() -> bytes:
    p, q = (1 << 9941) - 1, (1 << 256) | 1
    parameters = h.sequence(integer(p), integer(q), integer(5))
    return h.sequence(h.sequence(DSA_KEY, parameters), bits(integer(p - 2)))


def _modulus() -> int:
    return rsa_key(3072).public_key().public_numbers().n


WEAK_KEYS: dict[str, Callable[[Asker], bytes]] = {
    "RSA-1024": lambda _: h.rsa_spki((1 << 1023) | 1),
    "RSA-2048": lambda _: h.spki(rsa_key(2048)),
    "RSA-2047": lambda _: h.rsa_spki((1 << 2046) | 1),
    "RSA-8192": lambda _: h.rsa_spki((1 << 8191) | 1),
    "RSA-16384": lambda _: h.rsa_spki((1 << 16383) | 1),
    "RSA-30000": lambda _: h.rsa_spki((1 << 29999) | 1),
    "exponent 3": lambda _: h.rsa_spki(_modulus(), 3),
    "exponent 1": lambda _: h.rsa_spki(_modulus(), 1),
    "even exponent": lambda _: h.rsa_spki(_modulus(), 65536),
    "exponent of 20,000 bits": lambda _: h.rsa_spki(_modulus(), (1 << 20000) | 1),
    "even modulus": lambda _: h.rsa_spki(1 << 3071),
    "modulus 0": lambda _: h.rsa_spki(0),
    "negative modulus": lambda _: h.sequence(
        h.sequence(RSA_ENCRYPTION, b"\x05\x00"),
        bits(h.sequence(h.tlv(0x02, b"\xff" * 384), integer(65537))),
    ),
    "small factor": lambda _: h.rsa_spki(((1 << 3071) // 3 | 1) * 3),
    "close primes": lambda _: h.rsa_spki(close_primes()),
    "ROCA": lambda _: h.rsa_spki(roca()),
    "P-192": lambda _: h.spki(ec.generate_private_key(ec.SECP192R1())),
    "P-224": lambda _: h.spki(ec.generate_private_key(ec.SECP224R1())),
    "P-521": lambda _: h.spki(ec.generate_private_key(ec.SECP521R1())),
    "secp256k1": lambda _: h.spki(ec.generate_private_key(ec.SECP256K1())),
    "brainpool": lambda _: h.spki(ec.generate_private_key(ec.BrainpoolP256R1())),
    "Ed25519": lambda _: h.spki(ed25519.Ed25519PrivateKey.generate()),
    "explicit parameters": lambda asker: explicit_p256(asker.key),
    "point off the curve": lambda _: on_p256(b"\x04" + b"\x01" * 64),
    "point at infinity": lambda _: on_p256(b"\x00"),
    "no point": lambda _: on_p256(b""),
    "octets behind the point": lambda asker: on_p256(point_of(asker.key) + b"\x00"),
    "hybrid point with the wrong sign": lambda asker: hybrid(asker.key, wrong=1),
    "EC with NULL parameters": lambda asker: h.sequence(
        h.sequence(EC_KEY, b"\x05\x00"), bits(point_of(asker.key))
    ),
    "a curve that nobody knows": lambda asker: h.sequence(
        h.sequence(EC_KEY, bytes.fromhex("06052b81040063")), bits(point_of(asker.key))
    ),
    "Diffie-Hellman": lambda _: diffie_hellman(),
    "Diffie-Hellman, X9.42": lambda _: diffie_hellman(X942_KEY),
    "DSA": lambda _: dsa(),
    "RSA for PSS alone": lambda _: as_rsa(h.sequence(RSASSA_PSS), rsa_key(3072)),
    "unknown algorithm": lambda _: h.sequence(h.sequence(h.UNKNOWN), bits(b"")),
}


def _weak(public_key: Callable[[Asker], bytes]) -> Make:
    return lambda asker: h.pem(asker.der(public_key=public_key(asker)))


# --- C05: possession ------------------------------------------------------------------------------


def pss(asker: Asker) -> bytes:
    key = rsa_key(3072)
    subject = common_name(asker.serial_number)
    info = h.sequence(h.tlv(0x02, b"\x00"), subject, h.spki(key), h.tlv(0xA0))
    signature = key.sign(info, padding.PSS(padding.MGF1(hashes.SHA1()), 20), hashes.SHA1())
    # RSASSA-PSS with its defaults, which are SHA-1 throughout (RFC 4055 §3.1).
    return h.sequence(info, h.sequence(RSASSA_PSS, h.sequence()), bits(signature))


def last_octet_flipped(asker: Asker) -> bytes:
    der = asker.der()
    return der[:-1] + bytes([der[-1] ^ 1])


def signed_by_the_zero_signature(asker: Asker) -> bytes:
    """CVE-2022-21449: r = s = 0 is no signature over anything."""
    return h.parts(asker.der()).put_together(h.sequence(integer(0), integer(0)))


UNPROVEN: dict[str, Callable[[Asker], bytes]] = {
    "another key signed": lambda asker: asker.der(
        public_key=h.spki(ec.generate_private_key(ec.SECP256R1()))
    ),
    "last octet flipped": last_octet_flipped,
    "r and s are 0": signed_by_the_zero_signature,
    "no signature": lambda asker: h.parts(asker.der()).put_together(b""),
    "SHA-1 with ECDSA": lambda asker: asker.der(algorithm=h.ECDSA_SHA1),
    "SHA-1 with RSA": lambda asker: asker.der(key=rsa_key(3072), algorithm=h.RSA_SHA1),
    "MD5 with RSA": lambda asker: asker.der(key=rsa_key(3072), algorithm=h.RSA_MD5),
    "RSA's name over an ECDSA signature": lambda asker: asker.der(algorithm=h.RSA_SHA256),
    "ECDSA's name over an RSA signature": lambda asker: asker.der(
        key=rsa_key(3072), algorithm=h.ECDSA_SHA256
    ),
    "an unknown algorithm": lambda asker: asker.der(algorithm=h.NOBODYS),
    "PSS with SHA-1": pss,
}


# --- form -----------------------------------------------------------------------------------------


def _spoilt(spoil: Callable[[str], str]) -> Make:
    return lambda asker: spoil(h.pem(asker.der()))


def _padded(characters: int) -> Make:
    return _spoilt(lambda pem: pem + "\n" * (characters - len(pem)))


def _in_pem(change: Callable[[bytes], bytes]) -> Make:
    return lambda asker: h.pem(change(asker.der()))


MISSHAPEN: dict[str, tuple[Make, R]] = {
    "5501 characters": (_padded(LIMIT + 1), R.TOO_LARGE),
    "1,500 SANs": (_wish(h.SUBJECT_ALT_NAME, h.sequence(*[h.tlv(0x82, b"a")] * 1500)), R.TOO_LARGE),
    "10,000 blank lines": (_padded(10_000), R.TOO_LARGE),
    "forty in a row": (_spoilt(lambda pem: pem * 40), R.TOO_LARGE),
    "two blocks": (_spoilt(lambda pem: pem + pem), R.MALFORMED),
    "text before": (_spoilt(lambda pem: "hello\n" + pem), R.MALFORMED),
    "text after": (_spoilt(lambda pem: pem + "hello"), R.MALFORMED),
    "a nested block": (_spoilt(lambda pem: pem.replace("\n", "\n" + pem, 1)), R.MALFORMED),
    "a certificate": (
        _spoilt(lambda pem: pem.replace("CERTIFICATE REQUEST", "CERTIFICATE")),
        R.MALFORMED,
    ),
    "two labels": (
        _spoilt(lambda pem: pem.replace("BEGIN CERTIFICATE", "BEGIN NEW CERTIFICATE")),
        R.MALFORMED,
    ),
    "a header": (
        _spoilt(lambda pem: pem.replace("\n", "\nProc-Type: 4,ENCRYPTED\n\n", 1)),
        R.MALFORMED,
    ),
    "blank lines only": (
        lambda _: "-----BEGIN CERTIFICATE REQUEST-----" + "\n" * 5000,
        R.MALFORMED,
    ),
    "nothing": (lambda _: "", R.MALFORMED),
    "NUL": (_spoilt(lambda pem: pem.replace("\n", "\x00\n", 1)), R.MALFORMED),
    "a lone surrogate": (_spoilt(lambda pem: pem.replace("\n", "\ud800\n", 1)), R.MALFORMED),
    "full width base64": (_spoilt(lambda pem: pem.replace("M", "\uff2d", 1)), R.MALFORMED),
    "padding in the middle": (
        _spoilt(lambda pem: pem.replace(pem.splitlines()[1][:4], "MI==", 1)),
        R.MALFORMED,
    ),
    "base64 alone": (_spoilt(lambda pem: "".join(pem.splitlines()[1:-1])), R.MALFORMED),
    "octets behind the request": (_in_pem(lambda der: der + b"\x00"), R.MALFORMED),
    "a request behind the request": (_in_pem(lambda der: der * 2), R.MALFORMED),
    "cut short": (_in_pem(lambda der: der[:-1]), R.MALFORMED),
    "indefinite length": (_in_pem(h.indefinite), R.MALFORMED),
    "a length longer than need be": (_in_pem(h.padded_length), R.MALFORMED),
    "version 2": (lambda asker: h.pem(asker.der(version=1)), R.MALFORMED),
    "version 3": (lambda asker: h.pem(asker.der(version=2)), R.MALFORMED),
    "version 128": (lambda asker: h.pem(asker.der(version=127)), R.MALFORMED),
    "EC without parameters": (
        lambda asker: h.pem(
            asker.der(public_key=h.sequence(h.sequence(EC_KEY), bits(point_of(asker.key))))
        ),
        R.MALFORMED,
    ),
    "no attributes at all": (
        lambda asker: h.pem(h.unattributed(asker.key, common_name(asker.serial_number))),
        R.MALFORMED,
    ),
}

# --- allowed, though odd --------------------------------------------------------------------------

ODD: dict[str, Make] = {
    "5,500 characters": _padded(LIMIT),
    "NEW CERTIFICATE REQUEST": _spoilt(
        lambda pem: pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
    ),
    "CRLF": _spoilt(lambda pem: pem.replace("\n", "\r\n")),
    "no final newline": _spoilt(lambda pem: pem.rstrip("\n")),
    "one long line": lambda asker: h.pem(asker.der(), width=4096),
    "a compressed point": lambda asker: h.pem(asker.der(public_key=compressed(asker.key))),
    "a hybrid point": lambda asker: h.pem(asker.der(public_key=hybrid(asker.key))),
    "the other signature": lambda asker: h.pem(h.other_signature(asker.der())),
}
RSA_KEYS: dict[str, tuple[int, Callable[[rsa.RSAPrivateKey], bytes]]] = {
    "RSA-3072": (3072, h.spki),
    "RSA without NULL parameters": (3072, lambda key: as_rsa(h.sequence(RSA_ENCRYPTION), key)),
    "RSA-4096": (4096, h.spki),
}


def _with_rsa(number: int, size: int, public_key: Callable[[rsa.RSAPrivateKey], bytes]) -> Make:
    def make(asker: Asker) -> str:
        key = rsa_key(size, number)
        return h.pem(asker.der(key=key, public_key=public_key(key)))

    return make


def _all() -> Iterator[Attempt]:
    for what, subject in WRONG_NAMES.items():
        reasons = frozenset({R.WRONG_SUBJECT, R.MALFORMED})
        yield Attempt("C01", what, _wrong_name(subject), reasons)
    for what, (make, anomaly) in WISHES.items():
        yield Attempt("C02", what, make, anomaly=anomaly)
    for what, public_key in WEAK_KEYS.items():
        yield Attempt("C03", what, _weak(public_key), frozenset({R.WEAK_KEY}))
    for what, (make, reason) in MISSHAPEN.items():
        yield Attempt("C04", what, make, frozenset({reason}))
    for what, make in ODD.items():
        yield Attempt("C04", what, make)
    for number, (what, (size, written)) in enumerate(RSA_KEYS.items(), 1):
        yield Attempt(
            "C03",
            what,
            _with_rsa(number, size, written),
            key=lambda _, size=size, number=number: rsa_key(size, number),  # type: ignore[misc]
        )
    for what, der in UNPROVEN.items():
        yield Attempt(
            "C05",
            what,
            lambda asker, der=der: h.pem(der(asker)),  # type: ignore[misc]
            frozenset({R.PROOF_OF_POSSESSION}),
        )


ATTEMPTS: tuple[Attempt, ...] = tuple(_all())
