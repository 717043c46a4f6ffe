"""Station passwords: salted HMAC-SHA-256 under a pepper (A01.FR.08, decision 10).

Our passwords are random with at least 128 bits, so a keyed hash is enough, and it keeps 10,000
reconnects at a tenth of a core-second. The pepper lives in Vault and comes in as an argument.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

# passwordString: a-z A-Z 0-9 and a few marks (Part 2, appendix 2). `:` is legal but left out
# of what we generate: it reads badly in `user:password`.
PASSWORD_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789*-_=+|@."  # noqa: S105 -- an alphabet, not a secret
# 40 is the maxLimit every station must reach (A00.FR.205); 40 of 70 characters are 245 bits.
GENERATED_LENGTH: Final = 40
MINIMUM_LENGTH: Final = 16  # A00.FR.205
MAXIMUM_LENGTH: Final = 64  # errata 2025-09: BasicAuthPassword.maxLimit is at most 64
# The one that holds, and changes of it that are undecided until the station reconnects.
MOST_SLOTS: Final = 3
_SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Peppers:
    """The pepper's versions, read from Vault's KV. Never printed."""

    current: int
    by_version: Mapping[int, bytes] = field(repr=False)


# No password matches under it, whatever is stored: what `decide` gets where none is asked for.
NO_PEPPERS: Final = Peppers(current=0, by_version=MappingProxyType({}))


class PeppersUnread(Exception):
    """Nobody has read the peppers yet: no password can be checked or made."""


class LatePeppers:
    """The peppers from when they were read on. A process may start while Vault is sealed, and they
    are kept nowhere but in memory.
    """

    def __init__(self, peppers: Peppers | None = None) -> None:
        self._peppers = peppers

    def arrive(self, peppers: Peppers) -> None:
        self._peppers = peppers

    @property
    def are_there(self) -> bool:
        return self._peppers is not None

    def read(self) -> Peppers:
        """Raises PeppersUnread."""
        if self._peppers is None:
            raise PeppersUnread
        return self._peppers


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordRecord:
    """One accepted password of a station; two exist while a change is under way (A01.FR.03-05)."""

    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    pepper_version: int
    pending: bool = False


# Verified against in place of records that are not there, so that an unknown station costs what a
# known one does, and a password change under way cannot be told from outside (A06).
_NOBODY: Final = PasswordRecord(salt=bytes(_SALT_BYTES), digest=bytes(32), pepper_version=0)


def generate_password(random_bytes: bytes) -> str:
    """A password of GENERATED_LENGTH characters from at least that many random bytes.

    Each byte picks one of 70 characters; the modulo's bias costs less than 0.2 bits a character.
    """
    if len(random_bytes) < GENERATED_LENGTH:
        raise ValueError("a password needs 40 random bytes")
    size = len(PASSWORD_ALPHABET)
    return "".join(PASSWORD_ALPHABET[byte % size] for byte in random_bytes[:GENERATED_LENGTH])


def hash_password(password: str, *, salt: bytes, peppers: Peppers) -> PasswordRecord:
    return PasswordRecord(
        salt=salt,
        digest=_digest(password, salt, peppers.by_version[peppers.current]),
        pepper_version=peppers.current,
    )


def matching_record(
    password: str, records: Sequence[PasswordRecord], peppers: Peppers
) -> PasswordRecord | None:
    """The record this password belongs to, or None; it is hashed as often whatever there is."""
    found: PasswordRecord | None = None
    for record in (*records, *[_NOBODY] * (MOST_SLOTS - len(records))):
        pepper = peppers.by_version.get(record.pepper_version, b"")
        same = hmac.compare_digest(record.digest, _digest(password, record.salt, pepper))
        if same and pepper:
            found = record
    return found


def settled(slots: tuple[PasswordRecord, ...], salt: bytes) -> tuple[PasswordRecord, ...]:
    """What is left when the pending slot with this salt has proved right: itself, and what was
    sent to the station after it. Unchanged when there is no such pending slot.
    """
    for index, slot in enumerate(slots):
        if slot.salt == salt and slot.pending:
            later = tuple(other for other in slots[index + 1 :] if other.pending)
            return (replace(slot, pending=False), *later)
    return slots


def _digest(password: str, salt: bytes, pepper: bytes) -> bytes:
    return hmac.new(pepper, salt + password.encode(), hashlib.sha256).digest()
