"""The table of P34: a certificate for each row, "invalid solely because …", and what is expected.

A row that begins with "nothing" is the twin: near to what is refused, and right.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from csms.domain.certificate import CertificateStatus, CertificateUse, RevocationReason
from tests.attacks.forge import (
    ANY_PURPOSE,
    CLIENT_AUTH,
    CODE_SIGNING,
    HOUR,
    NOT_A_CA,
    OURS,
    SERVER_AUTH,
    SIGNS,
    Case,
    Forge,
    Shown,
    basic_constraints,
    by_tls,
    extended_key_usage,
    forbidden,
    key_usage,
    organization,
    utf8,
)
from tests.attacks.matrix import OPEN, Verdict
from tests.fixtures import pki_hostile as der
from tests.fixtures.pki_small import ORGANIZATION, SmallCA

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
S = CertificateStatus
WRONG_NAME, WRONG_ORGANIZATION = forbidden("common_name"), forbidden("organization")
WRONG_PURPOSE = forbidden("purpose")


# B01, B09, B10: the path


def from_another(common_name: str, forge: Forge, serial_number: str) -> Shown:
    """From a hierarchy of somebody else: its root, its issuer, a leaf with all else right."""
    root = SmallCA(f"{common_name} root")
    issuer = SmallCA(common_name, parent=root)
    return forge.leaf(serial_number, issuer=issuer, beside=(root.pem,))


def self_signed(forge: Forge, serial_number: str) -> Shown:
    key = ec.generate_private_key(ec.SECP256R1())
    itself = Shown(_named(serial_number, key), key)
    return forge.leaf(serial_number, issuer=itself, key=key, names=[utf8(serial_number)])


def _named(common_name: str, key: Any) -> bytes:
    """Any certificate of that subject: only the name and the key of an issuer matter."""
    now = datetime.now(UTC)
    return der.certificate(
        key,
        issuer=der.name(utf8(common_name)),
        subject=der.name(utf8(common_name)),
        public_key=der.spki(key),
        validity=(now - HOUR, now + HOUR),
    )


def issued_by_a_leaf(forge: Forge, serial_number: str, *extensions: bytes) -> Shown:
    """M2: one bad issuance would be the whole fleet. The chain ends in our own anchor."""
    issuer = forge.leaf("SN-EVIL", extensions=extensions)
    return forge.leaf(serial_number, issuer=issuer, beside=(forge.world.stations.pem,))


def cross_signed_loop(forge: Forge, serial_number: str) -> Shown:
    """A is signed by B, and B by A."""
    first = forge.elsewhere
    second = SmallCA("Second", parent=first)
    back = SmallCA(first.common_name, key=first.key, parent=second)
    return forge.leaf(serial_number, issuer=second, beside=(back.pem, second.pem, first.pem))


def long_chain(forge: Forge, serial_number: str, length: int, root: SmallCA | None) -> Shown:
    above = [root or forge.elsewhere]
    for step in range(length):
        above.append(SmallCA(f"CA {step}", parent=above[-1]))
    return forge.leaf(
        serial_number, issuer=above[-1], beside=tuple(ca.pem for ca in reversed(above))
    )


def beside_junk(forge: Forge, serial_number: str, size: int) -> Shown:
    """A right certificate among so many octets of others'."""
    junk: list[str] = []
    while sum(map(len, junk)) * 3 // 4 < size:
        junk.append(SmallCA(f"Junk {len(junk)}").pem)
    return forge.leaf(serial_number, beside=tuple(junk))


def with_a_broken_signature(forge: Forge, serial_number: str) -> Shown:
    good = forge.leaf(serial_number)
    return Shown(good.der[:-1] + bytes([good.der[-1] ^ 1]), good.key, good.beside)


def without_issuer(forge: Forge, serial_number: str) -> Shown:
    alone = forge.leaf(serial_number, issuer=forge.world.root)
    return Shown(alone.der, alone.key)


def from_ours(name: str) -> Callable[[Forge, str], Shown]:
    return lambda forge, sn: forge.leaf(sn, issuer=getattr(forge.world, name))


def from_callers(forge: Forge, serial_number: str) -> Shown:
    """They share the servers' key, under a name of their own (ADR 3)."""
    return forge.leaf(serial_number, issuer=SmallCA("Callers", key=forge.world.servers.key))


UNKNOWN_ISSUER = "unable to get local issuer certificate"
SELF_SIGNED = "self-signed certificate in certificate chain"
PATHS = {
    "nothing is wrong": Case(expected=OPEN),
    "there is none": Case(
        expected=by_tls("PEER_DID_NOT_RETURN_A_CERTIFICATE"), make=lambda *_: None
    ),
    "it is self-signed": Case(expected=by_tls("self-signed certificate"), make=self_signed),
    "its CA is unknown": Case(
        expected=by_tls(SELF_SIGNED), make=lambda f, sn: f.leaf(sn, issuer=f.elsewhere)
    ),
    "its CA has our CA's name and another key": Case(
        expected=by_tls("certificate signature failure"),
        make=lambda f, sn: f.leaf(sn, issuer=SmallCA("Stations")),
    ),
    "its signature is wrong in one bit": Case(
        expected=by_tls("certificate signature failure"), make=with_a_broken_signature
    ),
    "our server CA made it": Case(expected=by_tls(SELF_SIGNED), make=from_ours("servers")),
    "our CA of callers made it": Case(expected=by_tls(SELF_SIGNED), make=from_callers),
    "our root made it": Case(expected=by_tls(SELF_SIGNED), make=from_ours("root")),
    "our root made it, and does not come with it": Case(
        expected=by_tls(UNKNOWN_ISSUER), make=without_issuer
    ),
    **{
        f"the {whose} hierarchy made it": Case(
            expected=by_tls(SELF_SIGNED),
            make=partial(from_another, whose),
        )
        for whose in ("V2G", "mobility operator", "manufacturer")
    },
    "a station made it": Case(
        expected=by_tls("invalid CA certificate"),
        make=lambda f, sn: issued_by_a_leaf(f, sn, *OURS),
    ),
    "a station whose leaf is a CA made it (M2)": Case(
        expected=by_tls("path length constraint exceeded"),
        make=lambda f, sn: issued_by_a_leaf(f, sn, basic_constraints(ca=True)),
    ),
    "its CAs sign each other": Case(expected=by_tls(UNKNOWN_ISSUER), make=cross_signed_loop),
    "its chain of 20 ends elsewhere": Case(
        expected=by_tls(SELF_SIGNED),
        make=lambda f, sn: long_chain(f, sn, 20, None),
    ),
    "its chain of 20 ends in our CA, which may have none below it": Case(
        expected=by_tls("path length constraint exceeded"),
        make=lambda f, sn: long_chain(f, sn, 20, f.world.stations),
    ),
    "nothing: 64 KiB of other certificates come with it": Case(
        expected=OPEN, make=lambda f, sn: beside_junk(f, sn, 64 << 10)
    ),
    "128 KiB of other certificates come with it": Case(
        expected=by_tls("EXCESSIVE_MESSAGE_SIZE"), make=lambda f, sn: beside_junk(f, sn, 128 << 10)
    ),
}


# B02, B03: time


def lasting(starts: timedelta, ends: timedelta) -> Callable[[Forge, str], Shown]:
    return lambda forge, sn: forge.leaf(sn, starts=starts, ends=ends)


TIMES = {
    "it ended a second ago": Case(expected=by_tls("expired"), make=lasting(-HOUR, -SECOND)),
    "it ended a day ago": Case(expected=by_tls("expired"), make=lasting(-2 * DAY, -DAY)),
    "it begins in a minute": Case(
        expected=by_tls("not yet valid"), make=lasting(timedelta(minutes=1), HOUR)
    ),
    "it begins tomorrow": Case(expected=by_tls("not yet valid"), make=lasting(DAY, 2 * DAY)),
    "its record ended a second ago": Case(
        expected=forbidden("expired"), record={"not_after": datetime.now(UTC) - SECOND}
    ),
    "its record begins in an hour": Case(
        expected=forbidden("not_yet_valid"), record={"not_before": datetime.now(UTC) + HOUR}
    ),
}


# B04: the record


RECORDS = {
    "nobody recorded it": Case(expected=forbidden("unknown"), recorded=False),
    "its record is another station's": Case(
        expected=forbidden("of_another_station"), of_another=True
    ),
    "it is shown for another station": Case(
        expected=forbidden("of_another_station"), path="another"
    ),
    "it is shown for nobody": Case(expected=Verdict(403, "unknown_station"), path="nobody"),
    "its station is blocked": Case(expected=Verdict(403, "blocked"), blocked=True),
    "its record is of a V2G certificate": Case(
        expected=forbidden("not_admissible"), record={"use": CertificateUse.V2G}
    ),
    **{
        f"nothing: its record is {status}": Case(expected=OPEN, record={"status": status})
        for status in (S.DELIVERED, S.ACCEPTED)
    },
    **{
        f"its record is {status}": Case(
            expected=forbidden("not_admissible"), record={"status": status}
        )
        for status in (S.SIGNED, S.SUPERSEDED, S.REJECTED, S.ABANDONED, S.EXPIRED)
    },
    **{
        f"it was revoked: {reason}": Case(
            expected=forbidden("revoked"),
            record={
                "status": S.REVOKED,
                "revoked_at": datetime.now(UTC),
                "revocation_reason": reason,
            },
        )
        for reason in RevocationReason
    },
}


# B06, B07: the names


def named(*names: Callable[[str], bytes]) -> Callable[[Forge, str], Shown]:
    """Each makes a relative distinguished name of the right serial number."""
    return lambda forge, sn: forge.leaf(sn, names=[name(sn) for name in names])


def _always(name: bytes, _: str) -> bytes:
    return name


def called(
    text: Callable[[str], str | bytes], tag: int = der.UTF8
) -> Callable[[Forge, str], Shown]:
    return named(lambda _: organization(), lambda sn: der.attribute(der.COMMON_NAME, text(sn), tag))


def san(serial_number: str) -> bytes:
    dns = der.tlv(0x82, serial_number.encode())
    return der.extension(der.SUBJECT_ALT_NAME, der.sequence(dns))


def only_in_san(forge: Forge, serial_number: str) -> Shown:
    return forge.leaf(serial_number, names=[organization()], extensions=(*OURS, san(serial_number)))


COMMON_NAMES: dict[str, Callable[[str], str | bytes]] = {
    "is a prefix of it": lambda sn: sn[:-1],
    "is a suffix of it": lambda sn: sn[1:],
    "is longer by a digit": lambda sn: sn + "0",
    "holds it among others": lambda sn: f"x {sn} x",
    "is in small letters": str.lower,
    "begins with a space": lambda sn: " " + sn,
    "ends with a space": lambda sn: sn + " ",
    "ends with a dot": lambda sn: sn + ".",
    "ends with NUL": lambda sn: sn + "\0",
    "goes on behind NUL": lambda sn: sn + "\0.evil",
    "ends with a line": lambda sn: sn + "\r\n",
    "ends with a zero-width space": lambda sn: sn + "\u200b",
    "has a Cyrillic letter": lambda sn: sn.replace("S", "\u0405"),
    "is in full-width letters": lambda sn: "".join(chr(ord(c) + 0xFEE0) for c in sn),
    "is percent-encoded": lambda sn: sn.replace("S", "%53"),
    "is a wildcard": lambda _: "*",
    "is a pattern": lambda sn: sn[:-1] + "*",
    "is empty": lambda _: "",
    "is an identity, not a serial number": lambda sn: sn.lower(),
    "is another station's": lambda _: "SN-ANOTHER",
}
NAMES = {
    **{
        f"its CN {why}": Case(
            # The parser cannot read an empty one, and what cannot be read is valid at no time.
            expected=forbidden("expired") if why == "is empty" else WRONG_NAME,
            make=called(text),
        )
        for why, text in COMMON_NAMES.items()
    },
    **{
        f"nothing: its CN is a {kind}": Case(expected=OPEN, make=called(str, tag))
        for kind, tag in {
            "PrintableString": der.PRINTABLE,
            "IA5String": der.IA5,
            "TeletexString": der.T61,
            "BMPString": der.BMP,
            "UniversalString": der.UNIVERSAL,
        }.items()
    },
    "its CN is UTF-16 that calls itself UTF-8": Case(
        expected=WRONG_NAME, make=called(lambda sn: sn.encode("utf-16-be"))
    ),
    "it has two CNs, both right": Case(
        expected=WRONG_NAME, make=named(lambda _: organization(), utf8, utf8)
    ),
    "it has two CNs, the first right": Case(
        expected=WRONG_NAME,
        make=named(lambda _: organization(), utf8, lambda _: utf8("SN-ANOTHER")),
    ),
    "it has two CNs, the last right": Case(
        expected=WRONG_NAME,
        make=named(lambda _: organization(), lambda _: utf8("SN-ANOTHER"), utf8),
    ),
    "it has two CNs in one RDN": Case(
        expected=WRONG_NAME,
        make=named(lambda _: organization(), lambda sn: utf8(sn) + utf8("SN-ANOTHER")),
    ),
    "nothing: O and CN are in one RDN": Case(
        expected=OPEN, make=named(lambda sn: utf8(sn) + organization())
    ),
    "nothing: CN comes before O": Case(expected=OPEN, make=named(utf8, lambda _: organization())),
    "it has no CN": Case(expected=WRONG_NAME, make=named(lambda _: organization())),
    "its subject is empty": Case(expected=WRONG_NAME, make=named()),
    "its SAN alone says who it is": Case(expected=WRONG_NAME, make=only_in_san),
    "its SAN is right and its CN another's": Case(
        expected=WRONG_NAME,
        make=lambda f, sn: f.leaf(
            sn, names=[organization(), utf8("SN-ANOTHER")], extensions=(*OURS, san(sn))
        ),
    ),
    "its serialNumber attribute alone says who it is": Case(
        expected=WRONG_NAME,
        make=named(lambda _: organization(), lambda sn: der.attribute(der.SERIAL_NUMBER, sn)),
    ),
}
ORGANIZATIONS: dict[str, list[bytes]] = {
    "is another's": [organization("Another CSO")],
    "is missing": [],
    "is empty": [organization("")],
    "is in other letters": [organization(ORGANIZATION.lower())],
    "ends with a space": [organization(ORGANIZATION + " ")],
    "is ours and more": [organization(ORGANIZATION + " Ltd")],
    "has a Cyrillic letter": [organization(ORGANIZATION.replace("E", "\u0415"))],
    "goes on behind NUL": [organization(ORGANIZATION + "\0")],
    "is there twice": [organization(), organization()],
    "is ours, and another": [organization(), organization("Another CSO")],
    "is another's, and ours": [organization("Another CSO"), organization()],
    # DER sorts the values of one RDN
    "is ours and another in one RDN": [organization() + organization("Other CSO 2")],
    "is in OU": [der.attribute(der.ORGANIZATIONAL_UNIT, ORGANIZATION)],
}
NAMES |= {
    f"its O {why}": Case(
        expected=WRONG_ORGANIZATION,
        make=named(*(partial(_always, name) for name in names), utf8),
    )
    for why, names in ORGANIZATIONS.items()
}


# B08, B10: what it may be used for, how it is made


def saying(*extensions: bytes) -> Callable[[Forge, str], Shown]:
    return lambda forge, sn: forge.leaf(sn, extensions=extensions)


UNSUITABLE = by_tls("unsuitable certificate purpose")
INDEFINITE = der.extension(der.BASIC_CONSTRAINTS, b"\x30\x80\x00\x00", critical=True)
SOMEBODYS = der.extension(der.UNKNOWN, b"\x05\x00", critical=True)
CONSTRAINED = der.extension(
    der.NAME_CONSTRAINTS,
    der.sequence(der.tlv(0xA0, der.sequence(der.tlv(0x82, b"example.com")))),
    critical=True,
)
PURPOSES = {
    # T3: absent, or with clientAuth
    "nothing: its EKU is clientAuth": Case(
        expected=OPEN, make=saying(*OURS, extended_key_usage(CLIENT_AUTH))
    ),
    "nothing: its EKU is clientAuth and serverAuth": Case(
        expected=OPEN, make=saying(*OURS, extended_key_usage(SERVER_AUTH, CLIENT_AUTH))
    ),
    "its EKU is serverAuth alone": Case(
        expected=UNSUITABLE, make=saying(*OURS, extended_key_usage(SERVER_AUTH))
    ),
    "its EKU is codeSigning": Case(
        expected=UNSUITABLE, make=saying(*OURS, extended_key_usage(CODE_SIGNING))
    ),
    "its EKU is anyExtendedKeyUsage": Case(
        expected=UNSUITABLE, make=saying(*OURS, extended_key_usage(ANY_PURPOSE))
    ),
    "its EKU is empty": Case(expected=UNSUITABLE, make=saying(*OURS, extended_key_usage())),
    "nothing: it has no KU": Case(expected=OPEN, make=saying(NOT_A_CA)),
    "nothing: it has no extensions": Case(expected=OPEN, make=saying()),
    "its KU is keyAgreement": Case(expected=WRONG_PURPOSE, make=saying(NOT_A_CA, key_usage(4))),
    "its KU is keyEncipherment": Case(expected=UNSUITABLE, make=saying(NOT_A_CA, key_usage(2))),
    "its KU is nonRepudiation": Case(expected=UNSUITABLE, make=saying(NOT_A_CA, key_usage(1))),
    "its KU is keyCertSign": Case(expected=UNSUITABLE, make=saying(NOT_A_CA, key_usage(5))),
    "its KU is digitalSignature and keyCertSign": Case(
        expected=forbidden("is_ca"), make=saying(NOT_A_CA, key_usage(0, 5))
    ),
    "it has a critical extension of somebody's": Case(
        expected=by_tls("unhandled critical extension"), make=saying(*OURS, SOMEBODYS)
    ),
    "nothing: it has an extension of somebody's": Case(
        expected=OPEN, make=saying(*OURS, der.extension(der.UNKNOWN, b"\x05\x00"))
    ),
    "it has name constraints": Case(expected=forbidden("is_ca"), make=saying(*OURS, CONSTRAINED)),
    "it is a CA": Case(expected=forbidden("is_ca"), make=saying(basic_constraints(ca=True))),
    "it is a CA that signs": Case(
        expected=forbidden("is_ca"), make=saying(basic_constraints(ca=True), SIGNS)
    ),
    "it is a CA that signs certificates too": Case(
        expected=forbidden("is_ca"), make=saying(basic_constraints(ca=True), key_usage(0, 5, 6))
    ),
    "it is a CA that signs certificates alone": Case(
        expected=UNSUITABLE, make=saying(basic_constraints(ca=True), key_usage(5, 6))
    ),
    "it is a CA of pathlen 0": Case(
        expected=forbidden("is_ca"), make=saying(basic_constraints(ca=True, path_length=0), SIGNS)
    ),
}


def of_version(version: int | None, *extensions: bytes) -> Callable[[Forge, str], Shown]:
    return lambda forge, sn: forge.leaf(sn, version=version, extensions=extensions)


def with_key(key: Callable[[], Any]) -> Callable[[Forge, str], Shown]:
    return lambda forge, sn: forge.leaf(sn, key=key())


def rsa_key(bits: int) -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


ENCODINGS = {
    "it is of version 1": Case(expected=WRONG_PURPOSE, make=of_version(None)),
    "it is of version 1, with extensions": Case(
        expected=WRONG_PURPOSE, make=of_version(None, *OURS)
    ),
    "it is of version 4": Case(expected=forbidden("expired"), make=of_version(3, *OURS)),
    # OpenSSL reads it; our parser does not, and what cannot be read is valid at no time.
    "it is BER and no DER": Case(expected=forbidden("expired"), make=saying(INDEFINITE)),
    "it is signed over SHA-1": Case(
        expected=by_tls("CA signature digest algorithm too weak"),
        make=lambda f, sn: f.leaf(sn, digest=hashes.SHA1(), algorithm=der.ECDSA_SHA1),
    ),
    "it is signed by an algorithm nobody has": Case(
        expected=by_tls(UNKNOWN_ISSUER),
        make=lambda f, sn: f.leaf(sn, algorithm=der.NOBODYS),
    ),
    "its key is RSA of 1024": Case(
        expected=by_tls("EE certificate key too weak"), make=with_key(partial(rsa_key, 1024))
    ),
    "nothing: its key is RSA of 2048": Case(expected=OPEN, make=with_key(partial(rsa_key, 2048))),
    "nothing: its key is P-384": Case(
        expected=OPEN, make=with_key(lambda: ec.generate_private_key(ec.SECP384R1()))
    ),
    "nothing: its key is Ed25519": Case(
        expected=OPEN, make=with_key(ed25519.Ed25519PrivateKey.generate)
    ),
}
TABLE = {**PATHS, **TIMES, **RECORDS, **NAMES, **PURPOSES, **ENCODINGS}


# An issuing CA as ours must not be: RSA, so that MD5 has a name, and without a path length.
LENIENT = {
    "nothing is wrong": Case(
        expected=OPEN, make=lambda f, sn: f.leaf(sn, algorithm=der.RSA_SHA256)
    ),
    "it is signed over SHA-1": Case(
        expected=by_tls("CA signature digest algorithm too weak"),
        make=lambda f, sn: f.leaf(sn, digest=hashes.SHA1(), algorithm=der.RSA_SHA1),
    ),
    "it is signed over MD5": Case(
        expected=by_tls("CA signature digest algorithm too weak"),
        make=lambda f, sn: f.leaf(sn, digest=hashes.MD5(), algorithm=der.RSA_MD5),
    ),
    # M2: OpenSSL lets both in; what no record knows is nobody's.
    "a station whose leaf is a CA made it": Case(
        expected=forbidden("unknown"),
        recorded=False,
        make=lambda f, sn: issued_by_a_leaf(f, sn, basic_constraints(ca=True)),
    ),
    "a station whose leaf is a CA and signs made it": Case(
        expected=forbidden("unknown"),
        recorded=False,
        make=lambda f, sn: issued_by_a_leaf(f, sn, basic_constraints(ca=True), key_usage(0, 5)),
    ),
    "a station whose leaf is a CA that may not sign certificates made it": Case(
        expected=by_tls("invalid CA certificate"),
        recorded=False,
        make=lambda f, sn: issued_by_a_leaf(f, sn, basic_constraints(ca=True), SIGNS),
    ),
}
