"""B12, B13, M9: what is below the floor of TLS, what is offered besides, and bytes that are no TLS.

Raw records over plain sockets, since no library would send them. On each TLS listener, each with
an honest station connected; each refusal leaves one row.
"""

from __future__ import annotations

import os
import ssl
import struct
import subprocess
from collections.abc import Iterator
from typing import Any, Final, Self

import pytest

from tests.attacks.hostile import HostileStation, basic, client_tls, frame, upgrade
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.attacks.tls_records import (
    ALERT,
    APPLICATION_DATA,
    GOOD_SUITES,
    PRE_SHARED_KEY,
    SSL3,
    TLS10,
    TLS11,
    TLS12,
    Flight,
    answer,
    client_hello,
    crumbs,
    early_data_hello,
    extension,
    handshake,
    record,
    sslv2_hello,
)
from tests.fixtures.gateway_house import PASSWORD, World

CREDENTIALS: Final = f"Authorization: {basic('cs001', PASSWORD)}"
REQUEST: Final = upgrade("/ocpp/cs001", CREDENTIALS)
PORTS: Final = (2, 3)
HEARTBEAT: Final = b'[2,"1","Heartbeat",{}]'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def fort(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keep]:
    """With a station cs001 that anything taken for a request would let in."""
    with keep(world, tmp_path_factory.mktemp("keep")) as made, Witness(made):
        station = made.add("CS001", "SN001")
        with made.bounded_lag():
            yield made
        assert made.session_of(station) is None


def sent(fort: Keep, profile: int, data: bytes, **more: Any) -> Flight:
    """The answer to these bytes from a peer that then goes."""
    with fort.visit(profile, context=None) as visitor:
        return answer(visitor.socket, data, **more)


# --- below the floor

OLD: Final = {
    "SSL 2.0": sslv2_hello(),
    "SSL 3.0": record(client_hello(version=SSL3), version=SSL3),
    "TLS 1.0": record(client_hello(version=TLS10)),
    "TLS 1.1": record(client_hello(version=TLS11), version=TLS11),
    "TLS 1.1 in a record of 1.2": record(client_hello(version=TLS11), version=TLS12),
    "a fallback to 1.1": record(client_hello(version=TLS11, suites=(*GOOD_SUITES, 0x5600))),
    "a fallback to 1.2 (RFC 7507)": record(client_hello(suites=(*GOOD_SUITES, 0x5600))),
}
# SSL 2.0 knows no alerts; inappropriate_fallback (RFC 7507).
OLD_ALERTS: Final = {"SSL 2.0": None, "a fallback to 1.2 (RFC 7507)": 86}
# By the TLS registry of IANA; every one alone, as TLS 1.2.
WEAK_SUITES: Final = {
    "NULL": (0x0001, 0x0002, 0x003B, 0xC001, 0xC006, 0xC010),
    "EXPORT": (0x0003, 0x0006, 0x0008, 0x000B, 0x000E, 0x0011, 0x0014, 0x0017, 0x0019),
    "RC4": (0x0004, 0x0005, 0xC007, 0xC011),
    "DES": (0x0009, 0x0015),
    "3DES": (0x000A, 0x0016, 0xC003, 0xC008, 0xC012),
    "CBC with SHA-1": (0x002F, 0x0035, 0xC009, 0xC00A, 0xC013, 0xC014),
    "CBC with SHA-2": (0x003C, 0x003D, 0xC023, 0xC024, 0xC027, 0xC028),
    "anonymous": (0x0018, 0x0034, 0x00A6, 0xC018, 0xC019),
    "static RSA": (0x009C, 0x009D),
    "finite field DHE": (0x009E, 0x009F, 0xCCAA),
    "static ECDH": (0xC02D, 0xC031),
    "CCM with a short tag": (0xC0A0, 0xC0AE),
    "PSK and SRP": (0x008C, 0x00A8, 0xC01D, 0xC037),
    "the signal alone": (0x00FF,),
}


@pytest.mark.parametrize("profile", PORTS)
def test_versions_and_suites_below_the_floor_are_refused_by_an_alert(
    fort: Keep, profile: int, scoreboard: Scoreboard
) -> None:
    """A00.FR.313, 315, 320, 322, 416, 418, 423, 425: the CSMS terminates."""
    row = scoreboard.row("B12", f"SSL 2.0 to TLS 1.1, weak suites; profile {profile}")
    for what, hello in OLD.items():
        with row.attempt():
            flight = sent(fort, profile, hello, until_hello=False)
            assert flight.server_hello is None, what
            assert flight.alert == OLD_ALERTS.get(what, 70), (what, flight)  # protocol_version
            assert fort.refusals() == ["tls_handshake"]
    for kind, suites in WEAK_SUITES.items():
        for suite in suites:
            with row.attempt():
                hello = record(client_hello(suites=(suite,)))
                flight = sent(fort, profile, hello, until_hello=False)
                assert flight.server_hello is None, (kind, hex(suite))
                assert flight.alert == 40, (kind, hex(suite), flight)  # handshake_failure
                assert fort.refusals() == ["tls_handshake"]
    # The twin: the same hello with one good suite among all the weak ones.
    every = [suite for suites in WEAK_SUITES.values() for suite in suites]
    chosen = sent(fort, profile, record(client_hello(suites=(*every, GOOD_SUITES[0]))))
    assert chosen.server_hello is not None
    assert chosen.server_hello.suite == GOOD_SUITES[0]
    assert fort.refusals() == ["tls_handshake"], "it went away in the handshake"


# --- offered besides


@pytest.mark.parametrize("profile", PORTS)
def test_compression_is_never_chosen(fort: Keep, profile: int, scoreboard: Scoreboard) -> None:
    """A00.FR.321, 424 (CRIME): DEFLATE (1) and LZS (64) are offered before `null`, and alone."""
    row = scoreboard.row("B12", f"compression offered; profile {profile}")
    for offered in (b"\x01\x00", b"\x40\x01\x00", bytes(range(1, 255)) + b"\x00"):
        with row.attempt():
            hello = sent(fort, profile, record(client_hello(compression=offered))).server_hello
            assert hello is not None
            assert hello.compression == 0
            assert fort.refusals() == ["tls_handshake"]
    for offered in (b"\x01", b"\x01\x40", b""):
        with row.attempt():
            flight = sent(fort, profile, record(client_hello(compression=offered)))
            assert flight.server_hello is None
            assert fort.refusals() == ["tls_handshake"]


@pytest.mark.parametrize("profile", PORTS)
def test_early_data_never_reaches_anybody(fort: Keep, profile: int, scoreboard: Scoreboard) -> None:
    """0-RTT can be replayed (RFC 8446 §8). The ticket is not known, and a request sent as early
    data, in plain or as if encrypted, is no request.
    """
    row = scoreboard.row("B12", f"TLS 1.3 early data; profile {profile}")
    for data in (REQUEST, os.urandom(400), b"\x00" * 16_384):
        with row.attempt():
            early = record(data, kind=APPLICATION_DATA, version=TLS12)
            flight = sent(fort, profile, record(early_data_hello()) + early)
            hello = flight.server_hello
            assert hello is not None
            assert PRE_SHARED_KEY not in hello.extensions, "the ticket was taken"
            assert b"HTTP/1.1" not in flight.raw
            assert fort.refusals() == ["tls_handshake"]


VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def visited(
    fort: Keep, profile: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession | None]:
    """Whether it was resumed, and the session of a whole exchange that ended well."""
    with fort.visit(profile, context=context, session=session) as visitor:
        assert visitor.ask(upgrade("/ocpp/nobody")).status in {401, 403}
        kept = visitor.session
        fort.refusals()
        return visitor.resumed, kept


def leaf_file(fort: Keep) -> str:
    station = fort.home.world.stations.station("SN001")
    return str(station.write(fort.home.directory, "sn001.pem"))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_ticket_is_given_and_sessions_stay_with_their_listener(
    fort: Keep, version: str, scoreboard: Scoreboard
) -> None:
    """B05, M1: TLS 1.3 resumes nothing. TLS 1.2 resumes by session id, which no setting of Python's
    prevents, and on the listener that made the session only: each has a cache of its own. What a
    resumed session may do is decided at each upgrade (tests/integration/test_gateway_door.py).
    """
    row = scoreboard.row("B05 B12", f"tickets, resumption across listeners; TLS {version}")
    only = (VERSIONS[version], VERSIONS[version])
    context = client_tls(fort.trust, leaf=leaf_file(fort), versions=only)
    for made_on in PORTS:
        for offered_to in PORTS:
            with row.attempt():
                resumed, session = visited(fort, made_on, context)
                assert not resumed
                assert session is None or not session.has_ticket
                resumed, _ = visited(fort, offered_to, context, session)
                assert resumed == (version == "1.2" and made_on == offered_to)


# --- renegotiation and key updates, by OpenSSL's own client


class SClient:
    """`openssl s_client` with its commands, line by line."""

    def __init__(self, openssl: str, fort: Keep, profile: int, *options: str) -> None:
        trust = fort.home.directory / "trust.pem"
        trust.write_text(fort.trust)
        where = ["-connect", f"127.0.0.1:{fort.port(profile)}", "-servername", "localhost"]
        self._process = subprocess.Popen(
            [openssl, "s_client", *where, "-CAfile", str(trust), "-verify_return_error", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def hears(self, text: bytes) -> None:
        """Read on, up to these bytes."""
        assert self._process.stdout is not None
        while text not in self._said:
            more = self._process.stdout.read(65_536)
            assert more, (text, self._said[-2000:])
            self._said += more
        self._said = self._said.partition(text)[2]


def test_a_client_that_renegotiates_is_refused(
    fort: Keep, openssl: str, scoreboard: Scoreboard
) -> None:
    """M9 (CVE-2009-3555, CVE-2011-1473): once before its request, which is then not made."""
    row = scoreboard.row("B12", "renegotiation by the client, TLS 1.2")
    with row.attempt(), SClient(openssl, fort, 2, "-tls1_2") as client:
        client.hears(b"Verify return code: 0 (ok)")
        client.send(b"R\n")
        client.hears(b"no renegotiation")
    assert fort.refusals() == ["http"], "it went without a request"


def test_key_updates_are_taken_and_change_nothing(
    fort: Keep, openssl: str, scoreboard: Scoreboard
) -> None:
    """RFC 8446 §4.6.3: each asks for one in return; the session lives on behind all of them."""
    row = scoreboard.row("B12", "KeyUpdates on one connection, each answered")
    fort.add("CS002", "SN002")
    request = upgrade("/ocpp/cs002", f"Authorization: {basic('cs002', PASSWORD)}")
    with row.attempt(), SClient(openssl, fort, 2, "-tls1_3") as client:
        client.hears(b"Verify return code: 0 (ok)")
        client.send(request)
        client.hears(b"101 Switching Protocols")
        for _ in range(SIZES.key_updates):
            client.send(b"K\n")
            client.hears(b"KEYUPDATE")
        client.send(frame(HEARTBEAT))
        client.hears(b"currentTime")
    row.measure(f"{SIZES.key_updates} KeyUpdates")
    assert [record.outcome for record in fort.records()] == ["success"]


# --- crumbs


@pytest.mark.parametrize("profile", PORTS)
def test_records_of_one_byte_are_put_together_or_refused(
    fort: Keep, profile: int, scoreboard: Scoreboard
) -> None:
    """A ClientHello of some 150 records; empty records are a loop for nothing, and refused."""
    row = scoreboard.row("B12", f"records of one byte and of none; profile {profile}")
    with row.attempt():
        assert sent(fort, profile, crumbs(client_hello())).server_hello is not None
        assert fort.refusals() == ["tls_handshake"]
    with row.attempt():
        flight = sent(fort, profile, record(b"") * 1000 + record(client_hello()))
        assert flight.server_hello is None
        assert fort.refusals() == ["tls_handshake"]
    for cut in (1, 4, 5, 9, 40):
        with row.attempt():
            hello = record(client_hello())
            with fort.visit(profile, context=None) as visitor:
                visitor.send(hello[:cut])
                visitor.socket.shutdown(1)
                assert Flight(visitor.read_answer().raw).server_hello is None
            assert fort.refusals() == ["tls_handshake"], cut


def test_a_session_in_records_of_one_byte_is_served(fort: Keep, scoreboard: Scoreboard) -> None:
    """Every byte of the request, and of a message, in a record of its own: slow, and valid."""
    row = scoreboard.row("B12", "a whole session in records of one byte")
    fort.add("CS003", "SN003")
    request = upgrade("/ocpp/cs003", f"Authorization: {basic('cs003', PASSWORD)}")
    for version in VERSIONS.values():
        context = client_tls(fort.trust, versions=(version, version))
        with row.attempt(), fort.visit(2, context=context) as visitor:
            dripped(visitor, request)
            assert visitor.read_answer().status == 101
            dripped(visitor, frame(HEARTBEAT))
            assert visitor.read_text()[:2] == [3, "1"]
        assert [record.outcome for record in fort.records()] == ["success"]


def dripped(visitor: HostileStation, data: bytes) -> None:
    for at in range(len(data)):
        visitor.send(data[at : at + 1])


# --- bytes that are no TLS

PLAIN: Final = {
    "an upgrade with the right password": REQUEST,
    "the same behind an empty line": b"\r\n" + REQUEST,
    "the same in a handshake record": record(REQUEST),
    "the same as application data": record(REQUEST, kind=APPLICATION_DATA, version=TLS12),
    "the same behind a hello": record(client_hello()) + REQUEST,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a proxy's line": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + REQUEST,
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\n\r\n",
    "SMTP": b"EHLO localhost\r\n",
}


@pytest.mark.parametrize("profile", PORTS)
@pytest.mark.parametrize("leaves", ["at once", "by reset", "when answered"])
def test_plain_text_on_a_tls_port_never_reaches_a_handler(
    fort: Keep, profile: int, leaves: str, scoreboard: Scoreboard
) -> None:
    """B13 (CVE-2023-40217): bytes that wait in the socket when the peer has gone already were taken
    for decrypted ones. The request would be let in; the fixture looks that nobody was.
    """
    row = scoreboard.row("B13", f"plain text, profile {profile}; the peer leaves {leaves}")
    for what, data in PLAIN.items():
        with row.attempt():
            visitor = fort.visit(profile, context=None)
            if leaves == "when answered":
                raw = answer(visitor.socket, data, until_hello=False).raw
                assert b" 101 " not in raw, what
                visitor.close()
            elif leaves == "at once":
                visitor.send(data)
                visitor.close()
            else:
                visitor.send(data)
                visitor.reset()
                continue
            assert fort.refusals() == ["tls_handshake"], what
    if leaves == "by reset":
        # Whoever resets may have gone before its first byte was looked at: no visitor to refuse.
        sent(fort, profile, REQUEST, until_hello=False)  # accepted after all the others
        fort.quiet()
        reasons = [entry.reason for entry in fort.records()]
        assert 1 <= len(reasons) <= len(PLAIN) + 1
        assert set(reasons) == {"tls_handshake"}


def long_vector(kind: int) -> bytes:
    """An extension that says it is longer than everything that follows."""
    return struct.pack("!HH", kind, 0xFFFF)


JUNK: Final = {
    "a record of nothing but its head": b"\x16\x03\x01\xff\xff",
    "a record longer than the limit": record(b"\x01" + bytes(17_000)),
    "version 9.9": b"\x16\x09\x09\x00\x05hello",
    "a hello of length 0": record(handshake(1, b"")),
    "a hello that says 16 MiB": record(b"\x01\xff\xff\xff" + bytes(100)),
    "a session id longer than 32": record(client_hello(session_id=bytes(33))),
    "no suites": record(client_hello(suites=())),
    "an extension that does not end": record(client_hello(extensions=long_vector(13))),
    "the same extension twice": record(
        client_hello(extensions=extension(13, b"\x00\x02\x04\x03") * 2)
    ),
    "a server name of 64 KiB": record(
        client_hello(extensions=extension(0, b"\x00\x10\x00\x00\x0d" + b"a" * 13_000))
    ),
    "a ServerHello": record(handshake(2, bytes(70))),
    "a Finished": record(handshake(20, bytes(12))),
    "a KeyUpdate": record(handshake(24, b"\x01")),
    "a HelloRequest": record(handshake(0, b"")),
    "a fatal alert": record(b"\x02\x28", kind=ALERT),
    "a hundred warnings": record(b"\x01\x5a", kind=ALERT) * 100,
    "ChangeCipherSpec first (CVE-2014-0224)": record(b"\x01", kind=20),
    "a heartbeat that asks for more (CVE-2014-0160)": record(b"\x01\x40\x00", kind=24),
    "zeros": bytes(64),
    "DTLS": b"\x16\xfe\xfd" + bytes(60),
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
}


@pytest.mark.parametrize("profile", PORTS)
def test_junk_for_a_hello_costs_its_own_connection_only(
    fort: Keep, profile: int, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("B12", f"junk for a ClientHello; profile {profile}")
    hellos = JUNK | {
        f"random {n}": b"\x16\x03\x01" + os.urandom(200) for n in range(SIZES.junk_hellos)
    }
    for what, data in hellos.items():
        with row.attempt(), fort.visit(profile, context=None) as visitor:
            visitor.send(data)
            visitor.socket.shutdown(1)  # nothing more comes: who waits for the rest may stop
            flight = answer(visitor.socket, b"", until_hello=False)
            assert flight.server_hello is None, what
            assert fort.refusals() == ["tls_handshake"], what
