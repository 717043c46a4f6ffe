"""Revocation as the authority records it: who, when, why. Publishing it is the CRL's business.

`csms` decides that a certificate is revoked and has cut it off already (decision 7); here the
first revocation stands, and a compromised key is blocked for good (C06).
"""

from __future__ import annotations

from datetime import UTC
from typing import Final

from pki.wire import PkiRefused, RefusalReason, Revocation

# RFC 5280 §5.3.1, as far as they fit an end entity's certificate for good: no hold, no removal.
REASONS: Final = frozenset(
    {
        "unspecified",
        "keyCompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "privilegeWithdrawn",
    }
)


def normalised_serial(text: str) -> str:
    """Lower-case hexadecimal without leading zeros (C15). Raises PkiRefused."""
    serial = text.lower().lstrip("0")
    if not serial or len(serial) > 40 or not set(serial) <= set("0123456789abcdef"):
        raise PkiRefused(RefusalReason.MALFORMED, "a serial is 1 to 40 hexadecimal digits")
    return serial


def check_reason(revocation: Revocation) -> None:
    """Raises PkiRefused."""
    if revocation.reason not in REASONS:
        raise PkiRefused(RefusalReason.MALFORMED, "no reason of RFC 5280 §5.3.1 that fits")
    if revocation.revoked_at.tzinfo is None:
        raise PkiRefused(RefusalReason.MALFORMED, "revoked_at has no time zone")
    try:
        revocation.revoked_at.astimezone(UTC)
    except OverflowError as error:  # the first day of year 1, east of Greenwich
        raise PkiRefused(RefusalReason.MALFORMED, "revoked_at is no time in UTC") from error


def blocks_key(revocation: Revocation) -> bool:
    return revocation.reason == "keyCompromise"
