"""B08: certificates that no client library would load, put into the handshake by hand.

Up to its Certificate message a TLS 1.2 client speaks in the clear. A real client says hello, its
second flight is thrown away, and the message is ours. What OpenSSL thinks of the certificate it
says before it asks for the proof of a key.
"""

from __future__ import annotations

import contextlib
import ssl

import pytest

from tests.attacks.forge import (
    NOT_A_CA,
    OURS,
    Forge,
    Neighbourhood,
    besieged,
    context_of,
    keep_record,
    organization,
    our_world,
    recorded,
    utf8,
)
from tests.attacks.hostile import HostileStation
from tests.attacks.keep import Keep
from tests.attacks.matrix import TLS_1_2, Matrix
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures import pki_hostile as der
from tests.fixtures.gateway_house import World

HANDSHAKE, CERTIFICATE = 22, 11
RECORD = 1 << 14
WAITED = "handshake timeout"  # what the acceptor says when TLS has nothing against it yet


def length(size: int) -> bytes:
    return size.to_bytes(3)


def certificate_message(*chain: bytes) -> bytes:
    """RFC 5246 §7.4.2."""
    listed = b"".join(length(len(each)) + each for each in chain)
    body = length(len(listed)) + listed
    return bytes([CERTIFICATE]) + length(len(body)) + body


def records(message: bytes) -> bytes:
    parts = (message[at : at + RECORD] for at in range(0, len(message), RECORD))
    return b"".join(
        bytes([HANDSHAKE, 3, 3]) + len(part).to_bytes(2) + part for part in parts if part
    )


def present(fort: Keep, context: ssl.SSLContext, message: bytes, *, source: str) -> None:
    """Until the gateway ends it; it waits a second for what is missing."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with HostileStation(fort.port(3), source=source) as peer:
        for _ in range(20):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                flight = outgoing.read()
            if flight[5:6] == bytes([CERTIFICATE]):
                break
            if flight:
                peer.send(flight)
                flight = b""
            incoming.write(peer.socket.recv(65_536))
        assert flight[5:6] == bytes([CERTIFICATE]), "the client has not been asked"
        peer.send(records(message))
        with contextlib.suppress(ConnectionError):
            while peer.socket.recv(65_536):
                pass


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return our_world(tmp_path_factory.mktemp("world"))


def spoilt(forge: Forge, serial_number: str) -> dict[str, bytes]:
    """Certificates, each with a right signature over what it says."""

    def leaf(*names: bytes, extensions: tuple[bytes, ...] = OURS) -> bytes:
        chosen = names or (utf8(serial_number),)
        made = forge.leaf(serial_number, names=[organization(), *chosen], extensions=extensions)
        return made.der

    no_bits = der.extension(der.KEY_USAGE, der.tlv(0x03, b"\x00"), critical=True)
    return {
        "a CN that is no UTF-8": leaf(der.attribute(der.COMMON_NAME, b"SN\xff")),
        "a BMPString of an odd length": leaf(der.attribute(der.COMMON_NAME, b"SN0", der.BMP)),
        "two basicConstraints": leaf(extensions=(NOT_A_CA, *OURS)),
        "a keyUsage without any bit": leaf(extensions=(NOT_A_CA, no_bits)),
        "basicConstraints that are no DER": leaf(
            extensions=(der.extension(der.BASIC_CONSTRAINTS, b"\xff", critical=True),)
        ),
    }


def broken(good: bytes) -> dict[str, bytes]:
    """Messages around a right certificate, each wrong in its frame."""
    whole = certificate_message(good)
    return {
        "an empty certificate": certificate_message(b""),
        "one octet": certificate_message(b"\x30"),
        "an empty sequence": certificate_message(b"\x30\x00"),
        "half of it": certificate_message(good[: len(good) // 2]),
        "an octet behind it": certificate_message(good + b"\x00"),
        "16 KiB of noise": certificate_message(bytes(range(256)) * 64),
        "4 GiB announced": certificate_message(b"\x30\x84\xff\xff\xff\xff" + good[4:]),
        "deep": certificate_message(b"\x30\x82\x27\x10" * 2_500),
        "a list longer than the message": whole[:4] + length(1 << 20) + whole[7:],
        "a certificate longer than the list": whole[:7] + length(1 << 20) + whole[10:],
        "a list shorter than its certificate": whole[:4] + length(3) + whole[7:],
        "no certificate": certificate_message(),
    }


@pytest.mark.timeout(300)
def test_no_octets_in_place_of_a_certificate_get_past_tls(
    world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    """Nor does any one octet of a right certificate that was changed."""
    row = scoreboard.row("P34 B08", "raw Certificate messages: not DER, not a list, one octet off")
    forge = Forge(world)
    with besieged(world, tmp_path_factory.mktemp("keep"), "uvloop") as fort:
        matrix, stations = Matrix(fort), Neighbourhood(fort)
        station, shown = stations.with_leaf(forge)
        context = context_of(fort, shown, TLS_1_2)
        fort.records()

        def heard(message: bytes) -> str:
            """OpenSSL's words."""
            source = matrix.address()
            present(fort, context, message, source=source)
            return detail_of(fort, source)

        # OpenSSL reads BER as well; the fingerprint is of the DER that it makes of it.
        for right in (shown.der, b"\x30\x80" + shown.der[4:] + b"\x00\x00"):
            assert heard(certificate_message(right)) == WAITED

        for what, wrong in spoilt(forge, station.serial_number).items():
            keep_record(fort, recorded(station, type(shown)(wrong, shown.key), forge.now))
            assert heard(certificate_message(wrong)) != WAITED, what
            row.count()
        for what, message in broken(shown.der).items():
            assert heard(message) != WAITED, what
            row.count()
        said = set()
        step = len(shown.der) // SIZES.changed_octets + 1
        for at in range(0, len(shown.der), step):
            changed = shown.der[:at] + bytes([shown.der[at] ^ 0x01]) + shown.der[at + 1 :]
            words = heard(certificate_message(changed))
            assert words != WAITED, at
            said.add(words)
            row.count()
        row.measure(f"{len(said)} different words of OpenSSL's for one octet off")
        assert fort.session_of(station) is None


def detail_of(fort: Keep, source: str) -> str:
    """Of the one row that this visit has left."""
    (record,) = fort.rows_from(source)
    assert record.reason == "tls_handshake"
    assert record.details["certificate"] is None
    return str(record.details["detail"])
