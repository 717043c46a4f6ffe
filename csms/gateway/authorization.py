"""The Authorization header of an upgrade request, read strictly (RFC 7235, RFC 7617)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from csms.domain.admission import BasicCredentials, MalformedCredentials

# An identity of 48, a colon and a password of 64 (4 bytes a character at most), in base64.
_LONGEST: Final = 512


def read_authorization(values: Sequence[str]) -> BasicCredentials | MalformedCredentials | None:
    """Exactly one header, scheme Basic in any letter case, base64 with padding, UTF-8, a colon.

    A second header is no credential at all: two readers might choose differently (A01).
    """
    if not values:
        return None
    if len(values) > 1 or len(values[0]) > _LONGEST:
        return MalformedCredentials()
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "basic":
        return MalformedCredentials()
    try:
        text = base64.b64decode(token.strip(" ").encode("ascii"), validate=True).decode()
    except (binascii.Error, UnicodeError):
        return MalformedCredentials()
    user_name, colon, password = text.partition(":")
    if not colon:
        return MalformedCredentials()
    return BasicCredentials(user_name, password)
