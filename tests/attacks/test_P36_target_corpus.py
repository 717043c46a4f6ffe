"""P36, A07: whose connection a request asks for, in every spelling; and requests within requests.

What is expected is known from how a request was made, and not from reading it: each spelling is
built from an identity, or built to have none. The alphabet is written down here once more.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from csms.domain.station import SecurityProfile, Station
from tests.attacks.hostile import KEY, basic, client_tls, frame
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.matrix import OPEN, Matrix, Verdict, proven
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, World

# Part 2, identifierString; the colon separates user and password and is no part of an identity
# (Part 4 §3.1.1).
ALPHABET = string.ascii_letters + string.digits + "*-_=+|@."
NOT_FOUND = Verdict(404, "target")
BAD_REQUEST = Verdict(400, "http")
NO_HTTP = Verdict(0, "http")  # not worth an answer: the connection ends
TOO_LONG, TOO_LARGE = Verdict(414, "http"), Verdict(431, "http")
# Let in, and gone before it heard of it: what it sent behind its request is no frame.
CUT = Verdict(0)

MINE, OTHERS = "cs001", "cs002"
ONE, LONGEST = "c", "c" * 48


@dataclass(frozen=True, slots=True)
class Cell:
    what: str
    request: bytes
    expected: Verdict
    identity: str | None  # whose it is, when it is anybody's


def head(*lines: str | bytes, user: str = MINE, without: str = "") -> bytes:
    """The lines of a right request behind its first, less one, and then these."""
    ordinary = (
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: ocpp2.0.1",
        f"Authorization: {basic(user, PASSWORD)}",
    )
    kept = [line for line in ordinary if not without or not line.startswith(without)]
    encoded = (line if isinstance(line, bytes) else line.encode("latin-1") for line in lines)
    return b"\r\n".join([*(line.encode() for line in kept), *encoded, b"", b""])


def asking(target: bytes | str, expected: Verdict, identity: str | None = None) -> Cell:
    raw = target if isinstance(target, bytes) else target.encode("latin-1")
    request = b"GET " + raw + b" HTTP/1.1\r\n" + head(user=identity or MINE)
    return Cell(repr(raw[:80]), request, expected, identity)


# Every octet, as it is and percent-encoded


def around(character: str) -> str:
    """A station for each character of the alphabet, with that in its middle."""
    return f"a{character.lower()}b"


def octets() -> Iterator[Cell]:
    for octet in range(256):
        character = chr(octet)
        known = character in ALPHABET
        name = around(character) if known else None
        if known:
            bare = OPEN
        elif octet >= 0x80 or character in " \n":
            bare = NO_HTTP  # no request line: RFC 9112 §3
        else:
            bare = NOT_FOUND
        yield asking(b"/ocpp/a" + bytes([octet]) + b"b", bare, name)
        encoded = OPEN if known else NOT_FOUND
        yield asking(f"/ocpp/a%{octet:02x}b", encoded, name)
        if f"{octet:02x}" != f"{octet:02X}":
            yield asking(f"/ocpp/a%{octet:02X}b", encoded, name)
        if known:  # decoded once, and no more
            yield asking(f"/ocpp/a%25{octet:02x}b", NOT_FOUND)


# An identity, and something before or behind it

BEFORE = [
    *("", "/", "ocpp/", "//ocpp/", "/ocpp//", "///", "/ocpp/./", "/./ocpp/", "/ocpp/../ocpp/"),
    *("/x/../ocpp/", "/ocpp/x/../", "/ocpp/..;/", "/ocpp/;/", "/ocpp/%2e/", "/ocpp/%2e%2e/ocpp/"),
    *("/OCPP/", "/Ocpp/", "/ocpP/", "/%6fcpp/", "/oc%70p/", "/ocpp%2F", "/ocpp%2f", "%2Focpp/"),
    *("/ocpp/%2F", "/ocpp/%2f", "/ocpp\\", "\\ocpp\\", "/ocpp/\\", "/ocpp%5C", "/ocpp/%5c"),
    *("/ocpp2/", "/ocpp2.0.1/", "/ocpp/v2/", "/ocpp/2.0.1/", "/ws/ocpp/", "/ocpp/ocpp/", "/ocp/"),
    *("http://localhost/ocpp/", "HTTP://localhost/ocpp/", "https://localhost/ocpp/"),
    *("ws://localhost/ocpp/", "wss://localhost/ocpp/", "http://evil.example/ocpp/"),
    *(f"http://{MINE}:{PASSWORD}@localhost/ocpp/", f"//{MINE}@localhost/ocpp/"),
    *("//localhost/ocpp/", "http:/ocpp/", "http:///ocpp/", "file:///ocpp/", "localhost:443"),
    *("localhost/ocpp/", "?/ocpp/", "#/ocpp/", "/?/ocpp/", "/ocpp?/", "/ocpp?id=", "/ocpp#"),
    *("/ocpp/%", "/ocpp/%00", "/ocpp/%20", "/ocpp/%09", "/ocpp/%0d%0a", "/ocpp/%ef%bb%bf"),
    *("/ocpp/~", "/ocpp/!", "/ocpp/$", "/ocpp/&", "/ocpp/'", "/ocpp/(", "/ocpp/,", "/ocpp/:"),
    *("/ocpp/\t", "\t/ocpp/", "/ocpp/\x00", "\x00/ocpp/", "/ocpp/\x1b[2J", "/ocpp/{", "/ocpp/<"),
]
BEHIND = [
    *("/", "//", "/.", "/..", "/./", "/../", "\\", "/x", "/cs002", f"/../{OTHERS}", f"/{MINE}"),
    *("?", "?x", "?x=1", f"?identity={OTHERS}", "??", "#", "#x", ";", ";x", ";x=1", ";/", "&x=1"),
    *("%", "%%", "%0", "%3", "%0g", "%g0", "%-1", "%+1", "%%31", "%x0", "%u0030"),
    *("%00", "%00.png", "%0a", "%0A", "%0d", "%0d%0a", "%0d%0aX:%20y", "%20", "%09", "%0b", "%7f"),
    *("%2F", "%2f", f"%2F{OTHERS}", f"%2F..%2F{OTHERS}", f"%2f%2e%2e%2f{OTHERS}", "%5c", "%5C"),
    *("%3F", "%3f", "%23", "%3B", "%3b", "%3A", "%3a", ":", ":x", ",", "%2C", "%25", "%2500"),
    *("%252F", "%25252F", "%2520", "%252e", "&#48;", "\\u0030", "\\x30", "~"),
    *("%c0%80", "%c0%ae", "%c0%af", "%c1%9c", "%e0%80%80", "%e0%80%af", "%f0%80%80%af", "%fc%80"),
    *("%ff", "%fe%ff", "%ed%a0%80", "%ef%bc%8f", "%ef%bc%90", "%e2%80%8b", "%e2%80%ae", "%cc%81"),
    *("%c5%bf", "%e2%84%aa", "%c4%b1", "%d1%95", "%f0%9d%9f%8e", "%d9%a0", "%e2%82%80"),
    *("{}", "${jndi:x}", "%24%7bx%7d", "'", '"', "'--", "%27%20OR%201=1", "`id`", "$(id)", "!"),
    *("<script>", "%3Cscript%3E", "^", "%5e", "(", ")", "[", "]", "%5b%5d", "\x07", "\x1b[0m"),
]
WHOLE = [
    *("*", "/", "//", "/ocpp", "/ocpp/", "/ocpp//", "ocpp", ".", "..", "/..", "/.", "?", "#", "%"),
    *("/ocpp/.", "/ocpp/..", "/ocpp/./.", "/ocpp/../..", "/ocpp/%2e", "/ocpp/%2E", "/ocpp/%2e%2e"),
    *("/ocpp/.%2e", "/ocpp/%2e.", "/ocpp/%2E%2e", "/ocpp/%252e%252e", "/ocpp/../../etc/passwd"),
    *("localhost:9002", f"{MINE}@localhost", "http://localhost", "http://", "*/ocpp/cs001", "/*"),
    *("/ocpp/%63%73%30%30%31%2f", "/ocpp/%u0063s001", "/ocpp/%c1%a3s001", "/ocpp/%e0%81%a3s001"),
    *("/ocpp/%f0%80%81%a3s001", "/ocpp/c%f3s001", "/ocpp/%ef%bd%83s001", "/ocpp/c%cc%a7s001"),
    *("/ocpp/c%c5%bf001", "/ocpp/%d1%81s001", "/ocpp/%43%53%30%30%31%00", "/ocpp/%63%2573001"),
    *(f"/ocpp/{'c' * 49}", f"/ocpp/{'%63' * 49}", f"/ocpp/{'c' * 144}", f"/ocpp/{'c' * 145}"),
    *(f"/ocpp/{'c' * 1000}", f"/ocpp/{'c' * 8000}", f"/ocpp/{'%63' * 48}/", f"/ocpp/{'../' * 40}c"),
]
RIGHT = [
    (f"/ocpp/{MINE}", MINE),
    ("/ocpp/CS001", MINE),
    ("/ocpp/Cs001", MINE),
    ("/ocpp/%43%53%30%30%31", MINE),
    ("/ocpp/%63s%3001", MINE),
    ("/ocpp/cS0%30%31", MINE),
    (f"/ocpp/{ONE}", ONE),
    ("/ocpp/%63", ONE),
    (f"/ocpp/{LONGEST}", LONGEST),
    (f"/ocpp/{LONGEST[1:]}", LONGEST[1:]),
    (f"/ocpp/{LONGEST.upper()}", LONGEST),
    (f"/ocpp/{'%63' * 48}", LONGEST),
    ("/ocpp/...", "..."),
    ("/ocpp/%2e%2e%2e", "..."),
]


def targets() -> Iterator[Cell]:
    for target, identity in RIGHT:
        yield asking(target, OPEN, identity)
    for before in BEFORE:
        yield asking(before + MINE, NOT_FOUND)
    for behind in BEHIND:
        yield asking(f"/ocpp/{MINE}{behind}", NOT_FOUND)
    for whole in WHOLE:
        yield asking(whole, NOT_FOUND)
    for length in (8_200, 20_000, 200_000):  # a request line ends at 8 KiB
        yield asking("/ocpp/" + "c" * length, TOO_LONG)


# A request that two readers might read differently

LINES = {
    b"GET /ocpp/cs001  HTTP/1.1": NO_HTTP,
    b"GET  /ocpp/cs001 HTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/1.1 ": NO_HTTP,
    b" GET /ocpp/cs001 HTTP/1.1": NO_HTTP,
    b"GET\t/ocpp/cs001\tHTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001 x HTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001 /ocpp/cs002 HTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001": NO_HTTP,
    b"GET": NO_HTTP,
    b"": NO_HTTP,
    b"\r\nGET /ocpp/cs001 HTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001\rHTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001\nHTTP/1.1": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/1.1\rX: y": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/0.9": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/1.0": BAD_REQUEST,
    b"GET /ocpp/cs001 HTTP/1.2": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/2": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/2.0": NO_HTTP,
    b"GET /ocpp/cs001 http/1.1": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/11": NO_HTTP,
    b"GET /ocpp/cs001 HTTP/1.1\x00": NO_HTTP,
    b"GET /ocpp/cs001 RTSP/1.0": NO_HTTP,
    b"PRI * HTTP/2.0": NO_HTTP,
    b"CONNECT localhost:9002 HTTP/1.1": BAD_REQUEST,
    b"OPTIONS * HTTP/1.1": BAD_REQUEST,
    b"G\xc3\x89T /ocpp/cs001 HTTP/1.1": NO_HTTP,
    **{
        f"{method} /ocpp/cs001 HTTP/1.1".encode(): BAD_REQUEST
        for method in (
            *("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "get"),
            *("Get", "GETT", "GE", "G", "GET\x00", "GET\x0b", "UPGRADE", "X" * 2000),
        )
    },
}
# With a right request around it. OPEN: without effect, for whoever was named.
HEADERS: dict[str | bytes, Verdict] = {
    "Content-Length: 0": OPEN,
    "Content-Length: 1": NO_HTTP,
    "Content-Length: 00": NO_HTTP,
    "Content-Length: +0": NO_HTTP,
    "Content-Length: -0": NO_HTTP,
    "Content-Length: 0x0": NO_HTTP,
    "Content-Length: 0, 0": NO_HTTP,
    "Content-Length:": NO_HTTP,
    "Content-Length: 0\r\nContent-Length: 5": NO_HTTP,
    "Content-Length: 99999999999999999999": NO_HTTP,
    "Content-Length : 5": NO_HTTP,
    "Content-Length\t: 5": NO_HTTP,
    "Transfer-Encoding: chunked": NO_HTTP,
    "Transfer-Encoding: identity": NO_HTTP,
    "Transfer-Encoding: xchunked": NO_HTTP,
    "Transfer-Encoding:\tchunked": NO_HTTP,
    "Transfer-Encoding:": NO_HTTP,
    "transfer-encoding: chunked": NO_HTTP,
    "Transfer-Encoding: chunked\r\nContent-Length: 0": NO_HTTP,
    "Transfer-Encoding : chunked": NO_HTTP,
    b"Transfer-Encoding\x00: chunked": NO_HTTP,
    "Host: evil.example": BAD_REQUEST,
    "Host: localhost": BAD_REQUEST,
    "host: localhost": BAD_REQUEST,
    "Host:": BAD_REQUEST,
    " folded: line": NO_HTTP,
    "X: a\r\n folded": NO_HTTP,
    "X: a\r\n\tfolded": NO_HTTP,
    "X: a\nY: b": NO_HTTP,
    "X: a\rY: b": NO_HTTP,
    b"X: a\x00b": NO_HTTP,
    b"X: \x7f": NO_HTTP,
    b"X: \xe4\xff": OPEN,
    "no colon": NO_HTTP,
    ": no name": NO_HTTP,
    "a name: x": NO_HTTP,
    b"n\xe4me: x": NO_HTTP,
    "X:" + "x" * 8000: OPEN,
    "X:" + "x" * 9000: TOO_LARGE,
    "\r\n".join(f"X{n}: y" for n in range(100)): OPEN,
    "\r\n".join(f"X{n}: y" for n in range(200)): TOO_LARGE,
    "Upgrade: websocket": BAD_REQUEST,
    "Upgrade: h2c": BAD_REQUEST,
    "Connection: keep-alive": OPEN,
    "Connection: close": OPEN,
    "Connection: ,,": BAD_REQUEST,
    f"Sec-WebSocket-Key: {KEY}": BAD_REQUEST,
    "Sec-WebSocket-Version: 13": BAD_REQUEST,
    "Sec-WebSocket-Version: 8": BAD_REQUEST,
    "Sec-WebSocket-Extensions: ;": BAD_REQUEST,
    "Sec-WebSocket-Extensions: x-unknown": OPEN,
    'Sec-WebSocket-Protocol: "': BAD_REQUEST,
    "Sec-WebSocket-Protocol: ocpp1.6": OPEN,
    "Sec-WebSocket-Accept: x": OPEN,
    "HTTP2-Settings: AAMAAABkAAQAAP__": OPEN,
    "Expect: 100-continue": OPEN,
    **{
        f"{name}: /ocpp/{OTHERS}": OPEN
        for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Path")
    },
    **{
        f"{name}: {OTHERS}": OPEN
        for name in ("X-Station-Id", "X-Identity", "X-Forwarded-User", "Remote-User", "From")
    },
    "X-HTTP-Method-Override: DELETE": OPEN,
}
MISSING = {
    "Host": BAD_REQUEST,  # RFC 9112 §3.2
    "Upgrade": BAD_REQUEST,
    "Connection": BAD_REQUEST,
    "Sec-WebSocket-Key": BAD_REQUEST,
    "Sec-WebSocket-Version": BAD_REQUEST,
    "Sec-WebSocket-Protocol": Verdict(400, "subprotocol"),
    "Authorization": Verdict(401, "credentials_missing"),
}


def smuggling() -> Iterator[Cell]:
    def cell(what: str, request: bytes, expected: Verdict) -> Cell:
        named = expected.admitted or expected.reason not in {"http", "target"}
        return Cell(what, request, expected, MINE if named else None)

    for line, expected in LINES.items():
        yield cell(repr(line[:60]), line + b"\r\n" + head(), expected)
    ordinary = f"GET /ocpp/{MINE} HTTP/1.1\r\n".encode()
    for added, expected in HEADERS.items():
        yield cell(repr(added[:60]), ordinary + head(added), expected)
    for missing, expected in MISSING.items():
        yield cell(f"no {missing}", ordinary + head(without=missing), expected)
    whole = ordinary + head()
    yield cell("bare LF throughout", whole.replace(b"\r\n", b"\n"), NO_HTTP)
    yield cell("bare CR throughout", whole.replace(b"\r\n", b"\r") + b"\r\n", NO_HTTP)
    yield cell("a bare LF at the end", whole[:-2] + b"\n", NO_HTTP)
    yield cell("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), NO_HTTP)
    yield cell("TLS where there is none", bytes.fromhex("16030100050100000100") + b"\n", NO_HTTP)
    # A second request behind the first: it is nobody's, and never answered.
    second = f"GET /ocpp/{OTHERS} HTTP/1.1\r\n".encode() + head(user=OTHERS)
    yield cell("a second behind an admitted one", whole + second, CUT)
    refused = ordinary.replace(b"001", b"001/") + head()
    yield cell("a second behind a refused one", refused + second, Verdict(0, "target"))
    yield cell("a frame behind a refused one", refused + frame(b"[]"), NOT_FOUND)
    yield cell(
        "a second within the first's length",
        ordinary + head("Content-Length: 500") + second,
        NO_HTTP,
    )
    yield cell("a hundred", whole * 100, CUT)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def settle(fort: Keep, identities: set[str]) -> dict[str, Station]:
    lowest = SecurityProfile.BASIC
    return {
        identity: fort.do(fort.home.add(identity, f"SN{number:04}", minimum=lowest))
        for number, identity in enumerate(sorted(identities))
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", SIZES.loops)
@pytest.mark.parametrize("profile", [1, 2])
def test_a_request_is_for_the_station_it_names_or_for_nobody(
    profile: int,
    loop: str,
    world: World,
    tmp_path_factory: pytest.TempPathFactory,
    scoreboard: Scoreboard,
) -> None:
    row = scoreboard.row("P36 A07 M16", f"targets and requests in requests; port {profile}, {loop}")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    # TLS changes nothing of it: there, one spelling of each octet is enough.
    table = [*(octets() if profile == 1 else ()), *targets(), *smuggling()]
    directory = tmp_path_factory.mktemp("keep")
    with keep(world, directory, loop=loop, **settings) as fort, Witness(fort):
        named = {cell.identity for cell in table if cell.identity}
        stations = settle(fort, {*named, OTHERS})
        matrix = Matrix(fort)
        context = client_tls(fort.trust) if profile > 1 else None
        with fort.bounded_lag():
            for cell in table:
                names = (cell.identity,) if cell.identity else ()
                matrix.knock(
                    cell.what,
                    cell.expected,
                    cell.request,
                    profile=profile,
                    names=names,
                    context=context,
                )
        for cell, answer in zip(table, matrix.verdict(), strict=True):
            assert answer.raw.count(b"HTTP/1.1 ") <= 1, cell.what
        matrix.is_uniform()
        fort.eventually(lambda: fort.home.gateway.health().sessions == 1)  # the witness
        reached = proven(fort, list(stations.values()))
        assert {identity for identity, highest in reached.items() if highest} == named
        row.count(len(table))
        opened = sum(cell.expected.admitted for cell in table)
        row.measure(f"{opened} open, loop at most {fort.worst_lag * 1000:.0f} ms late")
