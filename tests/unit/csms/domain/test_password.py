"""csms.domain.password: salted HMAC under a versioned pepper."""

import hashlib
import hmac

import pytest

from csms.domain.password import (
    GENERATED_LENGTH,
    NO_PEPPERS,
    PASSWORD_ALPHABET,
    LatePeppers,
    PasswordRecord,
    Peppers,
    PeppersUnread,
    generate_password,
    hash_password,
    matching_record,
    settled,
)

PEPPERS = Peppers(current=2, by_version={1: b"old" * 11, 2: b"new" * 11})
SALT = b"s" * 16


def test_a_generated_password_is_40_characters_of_the_alphabet() -> None:
    """A00.FR.205: every station takes 40."""
    password = generate_password(bytes(range(200, 240)))
    assert len(password) == GENERATED_LENGTH == 40
    assert set(password) <= set(PASSWORD_ALPHABET)
    assert ":" not in password
    assert generate_password(bytes(41)) == PASSWORD_ALPHABET[0] * 40


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="40"):
        generate_password(bytes(39))


def test_a_password_is_kept_as_a_salted_hmac_of_the_current_pepper() -> None:
    """A01.FR.08."""
    record = hash_password("secret", salt=SALT, peppers=PEPPERS)
    assert record.pepper_version == 2
    assert record.digest == hmac.digest(b"new" * 11, SALT + b"secret", hashlib.sha256)


def test_only_the_right_password_matches() -> None:
    record = hash_password("secret", salt=SALT, peppers=PEPPERS)
    assert matching_record("secret", [record], PEPPERS) is record
    for wrong in ("Secret", "secret ", "", "secre", "s\u00e9cret"):
        assert matching_record(wrong, [record], PEPPERS) is None


def test_both_slots_open_and_the_one_that_did_is_named() -> None:
    """A11: during a change either password is good."""
    old = hash_password("old", salt=SALT, peppers=PEPPERS)
    new = PasswordRecord(
        salt=old.salt,
        digest=hash_password("new", salt=SALT, peppers=PEPPERS).digest,
        pepper_version=2,
        pending=True,
    )
    assert matching_record("old", [old, new], PEPPERS) is old
    assert matching_record("new", [old, new], PEPPERS) is new
    assert matching_record("neither", [old, new], PEPPERS) is None


def test_a_record_of_an_older_pepper_still_matches() -> None:
    earlier = Peppers(current=1, by_version=PEPPERS.by_version)
    record = hash_password("secret", salt=SALT, peppers=earlier)
    assert matching_record("secret", [record], PEPPERS) is record


def test_a_record_whose_pepper_is_gone_matches_nothing() -> None:
    """Not even a digest made with the empty pepper that stands in for it."""
    digest = hmac.digest(b"", SALT + b"secret", hashlib.sha256)
    record = PasswordRecord(salt=SALT, digest=digest, pepper_version=9)
    assert matching_record("secret", [record], PEPPERS) is None


def test_nobody_has_no_password() -> None:
    assert matching_record("", [], PEPPERS) is None


def test_secrets_are_not_printed() -> None:
    record = hash_password("secret", salt=SALT, peppers=PEPPERS)
    printed = repr(record) + repr(PEPPERS)
    assert "sss" not in printed
    assert "new" not in printed
    assert repr(record.digest) not in printed


def slot(name: str, *, pending: bool) -> PasswordRecord:
    return PasswordRecord(salt=name.encode(), digest=b"", pepper_version=1, pending=pending)


def test_the_pending_password_that_proved_right_ends_what_came_before_it() -> None:
    """A01.FR.03 by use: one that was sent after it may be the station's next, and stays."""
    old, first, second = (
        slot("old", pending=False),
        slot("first", pending=True),
        slot("second", pending=True),
    )
    assert settled((old, first, second), b"first") == (slot("first", pending=False), second)
    assert settled((old, first, second), b"second") == (slot("second", pending=False),)


@pytest.mark.parametrize("salt", [b"old", b"unknown"])
def test_a_password_that_was_not_pending_settles_nothing(salt: bytes) -> None:
    slots = (slot("old", pending=False), slot("new", pending=True))
    assert settled(slots, salt) == slots


def test_before_the_peppers_are_there_no_password_is_checked_or_made() -> None:
    late = LatePeppers()
    assert not late.are_there
    with pytest.raises(PeppersUnread):
        late.read()
    late.arrive(PEPPERS)
    assert late.are_there
    assert late.read() is PEPPERS
    assert LatePeppers(PEPPERS).read() is PEPPERS


def test_no_peppers_match_nothing_not_even_what_was_made_with_none() -> None:
    bare = hmac.new(b"", SALT + b"secret", hashlib.sha256).digest()
    records = [PasswordRecord(salt=SALT, digest=bare, pepper_version=v) for v in (0, 1)]
    records.append(hash_password("secret", salt=SALT, peppers=PEPPERS))
    assert matching_record("secret", records, NO_PEPPERS) is None
