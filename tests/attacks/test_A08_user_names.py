"""A08: the user is the identity in the URL, the password is that station's; nothing near it does.

A00.FR.204, 207, 303, 324; TC_A_02, TC_A_03. Each station has a password of its own, so that one
which opens another's door could not be taken for a right one.
"""

from __future__ import annotations

import base64
import unicodedata
from dataclasses import dataclass

import pytest

from csms.domain.station import SecurityProfile
from tests.attacks.hostile import client_tls, upgrade
from tests.attacks.keep import Witness, keep
from tests.attacks.matrix import OPEN, Matrix, Verdict
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.gateway_house import World

MINE, OTHERS, KELVIN = "cs001", "cs002", "k1"
PASSWORDS = {
    MINE: "My-password-of-40-characters-xxxxxxxxxxx",
    OTHERS: "Others-password-of-40-characters-yyyyyyy",
    KELVIN: "Kelvins-password-of-40-characters-zzzzzz",
    "colons": "with:colons::in:it:and:one:at:the:end:",
    "longest": "L" * 64,
    "accents": "p\u00e4ssw\u00f6rter-mit-\u20ac-und-\U0001f50c",
    "spaces": " a password with spaces ",
}
NOBODY = "cs003"

USER, WRONG = Verdict(401, "user_name"), Verdict(401, "password")
MISSING, MALFORMED = Verdict(401, "credentials_missing"), Verdict(401, "credentials_malformed")
UNKNOWN, TARGET = Verdict(401, "unknown_station"), Verdict(404, "target")


def octets(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def token(user: str | bytes, password: str | bytes) -> str:
    return base64.b64encode(octets(user) + b":" + octets(password)).decode()


@dataclass(frozen=True, slots=True)
class Cell:
    what: str
    expected: Verdict
    headers: tuple[str, ...]
    target: str = f"/ocpp/{MINE}"
    host: str = "localhost"


def trying(
    what: str, expected: Verdict, user: str | bytes, password: str | bytes, path: str = MINE
) -> Cell:
    header = f"Authorization: Basic {token(user, password)}"
    return Cell(what, expected, (header,), f"/ocpp/{path}")


MY_PASSWORD = PASSWORDS[MINE]
RIGHT = token(MINE, MY_PASSWORD)
OWN = [trying(f"the own of {name}", OPEN, name, PASSWORDS[name], name) for name in PASSWORDS]
CROSSED = [
    trying("mine for another", USER, MINE, MY_PASSWORD, OTHERS),
    trying("another's for me", USER, OTHERS, PASSWORDS[OTHERS]),
    trying("my user, another's password", WRONG, MINE, PASSWORDS[OTHERS]),
    trying("another's user, my password", USER, OTHERS, MY_PASSWORD),
    trying("mine for nobody", USER, MINE, MY_PASSWORD, NOBODY),
    trying("nobody's", UNKNOWN, NOBODY, MY_PASSWORD, NOBODY),
    trying("nobody's for me", USER, NOBODY, MY_PASSWORD),
    trying("another's of the same password length", WRONG, MINE, "x" * len(MY_PASSWORD)),
]
NOT_QUITE_MINE = {
    "a space behind": MINE + " ",
    "a space before": " " + MINE,
    "a tab behind": MINE + "\t",
    "a line behind": MINE + "\r\n",
    "NUL behind": MINE + "\0",
    "NUL and more behind": MINE + "\0x",
    "a byte order mark before": "\ufeff" + MINE,
    "a zero-width space within": "cs\u200b001",
    "a soft hyphen within": "cs\u00ad001",
    "a long s": "c\u017f001",
    "a Cyrillic letter": "\u0441s001",
    "full width": "\uff43\uff53\uff10\uff10\uff11",
    "Arabic digits": "cs\u0660\u0660\u0661",
    "mathematical digits": "cs\U0001d7ce\U0001d7ce\U0001d7cf",
    "a combining mark": "c\u0327s001",
    "a prefix": MINE[:-1],
    "a digit more": MINE + "0",
    "nothing": "",
    "the serial number": "SN0000",
    "percent-encoded": "%63s001",
    "a path": f"/ocpp/{MINE}",
    "a domain": f"csms\\{MINE}",
    "a realm": f"{MINE}@csms",
    "an asterisk": "*",
    "SQL": "' OR '1'='1",
    "two names": f"{MINE},{OTHERS}",
    "long": "c" * 300,
}
USERS = [
    trying("my user in capitals", OPEN, MINE.upper(), MY_PASSWORD),
    trying("capitals in the path", OPEN, MINE, MY_PASSWORD, MINE.upper()),
    *(trying(f"my user, {what}", USER, user, MY_PASSWORD) for what, user in NOT_QUITE_MINE.items()),
    # `str.lower` makes a k of it.
    trying("the Kelvin sign", USER, "\u212a1", PASSWORDS[KELVIN], KELVIN),
    trying("a colon in the user", USER, "cs:001", MY_PASSWORD),
    trying("no UTF-8 in the user", MALFORMED, b"cs001\xff", MY_PASSWORD),
    trying("an overlong user", MALFORMED, b"\xc1\xa3s001", MY_PASSWORD),
]
NOT_QUITE_RIGHT = {
    "empty": "",
    "a space": " ",
    "one shorter": MY_PASSWORD[:-1],
    "one longer": MY_PASSWORD + "x",
    "a space behind": MY_PASSWORD + " ",
    "a space before": " " + MY_PASSWORD,
    "a line behind": MY_PASSWORD + "\n",
    "NUL behind": MY_PASSWORD + "\0",
    "a colon before": ":" + MY_PASSWORD,
    "a colon behind": MY_PASSWORD + ":",
    "in small letters": MY_PASSWORD.lower(),
    "in capitals": MY_PASSWORD.upper(),
    "twice": MY_PASSWORD * 2,
    "in base64": base64.b64encode(MY_PASSWORD.encode()).decode(),
    "in hexadecimal": MY_PASSWORD.encode().hex(),  # as in OCPP 1.6 (A00.FR.205)
    "the user": MINE,
    "300 long": "x" * 300,
}
WORDS = [
    *(trying(f"my password {what}", WRONG, MINE, word) for what, word in NOT_QUITE_RIGHT.items()),
    trying("up to its first colon", WRONG, "colons", "with", "colons"),
    trying(
        "behind its first colon", WRONG, "colons", "colons::in:it:and:one:at:the:end:", "colons"
    ),
    trying("without its last colon", WRONG, "colons", PASSWORDS["colons"][:-1], "colons"),
    trying("63 of 64", WRONG, "longest", "L" * 63, "longest"),
    trying("65 of 64", WRONG, "longest", "L" * 65, "longest"),
    trying("stripped", WRONG, "spaces", PASSWORDS["spaces"].strip(), "spaces"),
    trying(
        "decomposed",
        WRONG,
        "accents",
        unicodedata.normalize("NFD", PASSWORDS["accents"]),
        "accents",
    ),
    trying("in Latin-1", MALFORMED, "accents", "p\u00e4ssw\u00f6rter".encode("latin-1"), "accents"),
    trying("in UTF-16", MALFORMED, MINE, b"\xff\xfe" + MY_PASSWORD.encode("utf-16-le")),
    trying("a lone surrogate", MALFORMED, MINE, b"\xed\xa0\x80"),
    trying("10,000 long", Verdict(431, "http"), MINE, "x" * 10_000),
    trying("1,000 long", MALFORMED, MINE, "x" * 1_000),
]
HEADERS = {
    f"basic {RIGHT}": OPEN,
    f"BASIC {RIGHT}": OPEN,
    f"Basic  {RIGHT}": OPEN,  # RFC 9110 §11.4: one space or more
    f"Basic {RIGHT} ": OPEN,
    f"Basic\t{RIGHT}": MALFORMED,
    f"Basic{RIGHT}": MALFORMED,
    f"Basic: {RIGHT}": MALFORMED,
    f"Basic,{RIGHT}": MALFORMED,
    f"xBasic {RIGHT}": MALFORMED,
    f"Bearer {RIGHT}": MALFORMED,
    f"Digest {RIGHT}": MALFORMED,
    f"Negotiate {RIGHT}": MALFORMED,
    RIGHT: MALFORMED,
    f"{MINE}:{MY_PASSWORD}": MALFORMED,
    f"Basic {MINE}:{MY_PASSWORD}": MALFORMED,
    f"Basic {RIGHT[:8]} {RIGHT[8:]}": MALFORMED,
    f"Basic {RIGHT}=": MALFORMED,
    f"Basic {RIGHT}====": MALFORMED,
    f"Basic {RIGHT.rstrip('=')}!": MALFORMED,
    f'Basic "{RIGHT}"': MALFORMED,
    f"Basic {RIGHT}, Basic {RIGHT}": MALFORMED,
    f"Basic {RIGHT}; charset=UTF-8": MALFORMED,
    f"Basic realm=csms, {RIGHT}": MALFORMED,
    f"Basic {RIGHT}\t": OPEN,  # blanks around a field value are no part of it (RFC 9110 §5.5)
    "Basic": MALFORMED,
    "Basic ": MALFORMED,
    "Basic =": MALFORMED,
    "Basic Og==": USER,  # an empty user and an empty password
    f"Basic {base64.b64encode(MINE.encode()).decode()}": MALFORMED,
    "": MALFORMED,
}
ELSEWHERE = [
    *(
        Cell(header.replace(RIGHT, "…"), expected, (f"Authorization: {header}",))
        for header, expected in HEADERS.items()
    ),
    Cell("two headers", MALFORMED, (f"Authorization: Basic {RIGHT}",) * 2),
    Cell("two headers, one empty", MALFORMED, (f"Authorization: Basic {RIGHT}", "authorization:")),
    Cell("for a proxy", MISSING, (f"Proxy-Authorization: Basic {RIGHT}",)),
    Cell("in a cookie", MISSING, (f"Cookie: Authorization=Basic {RIGHT}",)),
    Cell("in the subprotocol", MISSING, (f"Sec-WebSocket-Protocol: {RIGHT.rstrip('=')}",)),
    Cell("in the Host", MISSING, (), host=f"{MINE}:{MY_PASSWORD}@localhost"),
    *(
        Cell(f"in the target: {target}", TARGET, (), target)
        for target in (
            f"http://{MINE}:{MY_PASSWORD}@localhost/ocpp/{MINE}",
            f"//{MINE}:{MY_PASSWORD}@localhost/ocpp/{MINE}",
            f"/ocpp/{MINE}:{MY_PASSWORD}",
            f"/ocpp/{MINE}:{MY_PASSWORD}@localhost",
            f"/ocpp/{MINE}?password={MY_PASSWORD}",
            f"/ocpp/{MINE}/{MY_PASSWORD}",
        )
    ),
]
TABLE = [*OWN, *CROSSED, *USERS, *WORDS, *ELSEWHERE]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("profile", [1, 2])
def test_only_a_stations_own_user_and_password_open_its_door(
    profile: int, world: World, tmp_path_factory: pytest.TempPathFactory, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P37 A08", f"users, passwords and where they are put; port {profile}")
    settings = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
    with keep(world, tmp_path_factory.mktemp("keep"), **settings) as fort, Witness(fort):
        for number, (identity, password) in enumerate(PASSWORDS.items()):
            station = fort.add(identity, f"SN{number:04}", minimum=SecurityProfile.BASIC)
            fort.set_passwords(station, password)
        matrix = Matrix(fort)
        context = client_tls(fort.trust) if profile == 2 else None
        with fort.bounded_lag():
            for cell in TABLE:
                named = cell.target.rpartition("/")[2].lower()
                matrix.knock(
                    cell.what,
                    cell.expected,
                    upgrade(cell.target, *cell.headers, host=cell.host),
                    profile=profile,
                    names=() if cell.expected is TARGET else (named,),
                    context=context,
                )
        secrets = [*PASSWORDS.values(), *(token(*each) for each in PASSWORDS.items())]
        matrix.verdict(secrets=tuple(secrets))
        matrix.is_uniform()
        row.count(len(TABLE))
        row.measure(f"{sum(cell.expected.admitted for cell in TABLE)} open")
