"""A10: verifying a password costs microseconds, and nothing slow runs on the loop."""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Iterator
from pathlib import Path

from csms.domain.password import hash_password, matching_record
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import PASSWORD, PEPPERS

ROOT = Path(__file__).resolve().parents[2]
# Whatever stretches a password, by any library that could be imported for it.
SLOW = ("argon2", "bcrypt", "passlib", "pbkdf2", "scrypt", "pwhash", "sha512_crypt")


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Everything that is imported, called or looked up by name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from ((node.lineno, part) for a in aliases for part in a.name.split("."))
            case ast.ImportFrom(module=module, names=aliases):
                yield from ((node.lineno, part) for part in (module or "").split("."))
                yield from ((node.lineno, alias.name) for alias in aliases)
            case ast.Attribute(attr=name) | ast.Name(id=name):
                yield node.lineno, name


def slow_hashes(source: str) -> list[tuple[int, str]]:
    return [found for found in names(ast.parse(source)) if found[1].lower().startswith(SLOW)]


def test_there_is_no_slow_hash_where_stations_are_verified(scoreboard: Scoreboard) -> None:
    """A reconnect of 10,000 stations is a tenth of a core-second with the HMAC, 545 with argon2id.

    Not in the gateway, and not in anything that runs on its event loop: the product has none.
    """
    row = scoreboard.row("A10", "sources of the product with a slow password hash")
    for bad in ("import argon2", "hashlib.scrypt(b'')", "from x.kdf.pbkdf2 import PBKDF2HMAC"):
        assert slow_hashes(bad), "the test sees none"
    for path in sorted((ROOT / "csms").rglob("*.py")):
        with row.attempt():
            assert slow_hashes(path.read_text(encoding="utf-8")) == [], path


def test_verifying_costs_microseconds_whoever_asks(scoreboard: Scoreboard) -> None:
    row = scoreboard.row("A10", "verifications: right, wrong, nobody, two slots")
    record = hash_password(PASSWORD, salt=os.urandom(16), peppers=PEPPERS)
    other = hash_password("another-password-of-40-characters-aaaaaa", salt=b"s", peppers=PEPPERS)
    cases = {
        "right": (PASSWORD, (record,)),
        "wrong": (PASSWORD[::-1], (record,)),
        "nobody": (PASSWORD, ()),
        "two slots": (PASSWORD, (other, record)),
    }
    for what, (password, records) in cases.items():
        began = time.process_time()
        for _ in range(SIZES.verifications):
            found = matching_record(password, records, PEPPERS)
        each = (time.process_time() - began) / SIZES.verifications
        assert (found is record) is (what in ("right", "two slots"))
        # A guard, some fifty times what it takes; argon2id takes ten times that.
        assert each < 0.001, what
        row.count(SIZES.verifications)
        row.measure(f"{what} {each * 1e6:.1f} µs")
