"""The pepper of station passwords: read once at start, kept in memory (decision 10).

Logins must work while Vault is sealed, so nobody asks Vault for it again. It is versioned: a stored
password names the version it was made with, new ones take the current.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from csms.adapters.vault.connection import VaultRejected
from csms.adapters.vault.plan import PEPPER_DATA
from csms.adapters.vault.session import VaultSession

PEPPER_BYTES: Final = 32  # the block of HMAC-SHA-256's output; shorter would be the weak part


@dataclass(frozen=True, slots=True)
class Peppers:
    """Every version of the pepper; its repr shows none of it."""

    current: int
    by_version: Mapping[int, bytes] = field(repr=False)


async def read_pepper(session: VaultSession) -> Peppers:
    """Raises VaultUnavailable, VaultRefused, or VaultRejected for a pepper that is not one."""
    answer = await session.read(PEPPER_DATA)
    if answer is None:
        raise VaultRejected("there is no pepper: run `csms vault apply` first")
    return _checked(answer["data"]["data"])


def _checked(stored: Mapping[str, Any]) -> Peppers:
    try:
        versions = {
            int(version): base64.b64decode(text, validate=True)
            for version, text in stored["versions"].items()
        }
        current = int(stored["current"])
    except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        # No chaining: the parser's message may quote the secret.
        raise VaultRejected("the pepper in Vault is malformed") from None
    if current not in versions or any(len(value) < PEPPER_BYTES for value in versions.values()):
        raise VaultRejected("the pepper in Vault is incomplete or shorter than 256 bits")
    return Peppers(current, MappingProxyType(versions))
