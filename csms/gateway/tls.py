"""TLS of the OCPP listeners: the policy file and the contexts made from it.

One context per listener (decision 3). TLS proves possession of a key and, on profile 3, a chain to
a station issuing CA; who that is and whether it may come in is `csms.domain.admission`'s word, on
every upgrade. CRLs are never loaded into a context: an expired one locks out everybody (M6), and a
resumed session bypasses it (M1).
"""

from __future__ import annotations

import ctypes
import ssl
import sys
import tomllib
from asyncio import sslproto
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from csms.domain.station import SecurityProfile

MODERN: Final = "modern"
OCPP_CERTIFICATION: Final = "ocpp-certification"

_AEAD: Final = frozenset(
    f"ECDHE-{key}-{cipher}"
    for key in ("ECDSA", "RSA")
    for cipher in ("AES256-GCM-SHA384", "AES128-GCM-SHA256", "CHACHA20-POLY1305")
)
_STATIC_RSA: Final = frozenset({"AES256-GCM-SHA384", "AES128-GCM-SHA256"})
_ALLOWED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {MODERN: _AEAD, OCPP_CERTIFICATION: _AEAD | _STATIC_RSA}
)
_VERSIONS: Final = MappingProxyType(
    {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
)
_KEYS: Final = frozenset({"minimum_version", "maximum_version", "cipher_suites"})
# asyncio allocates a read buffer of 256 KiB per connection before the handshake (M12); one TLS
# record is at most 16 KiB.
_READ_BUFFER_BYTES: Final = 16 * 1024

_M_TRIM_THRESHOLD: Final = -1  # <malloc.h>
_M_MMAP_THRESHOLD: Final = -3


class TLSPolicyInvalid(Exception):
    """One line: which policy, which key, which rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSPolicy:
    name: str
    minimum_version: ssl.TLSVersion
    maximum_version: ssl.TLSVersion
    cipher_suites: tuple[str, ...]


def load_policy(file: Path, name: str) -> TLSPolicy:
    """The named policy, checked. Every policy of the file is checked, used or not."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TLSPolicyInvalid(f"{file}: {error}") from error
    policies = {key: _policy(file, key, table) for key, table in document.items()}
    try:
        return policies[name]
    except KeyError:
        raise TLSPolicyInvalid(f"{file}: there is no policy {name!r}") from None


def _policy(file: Path, name: str, table: Any) -> TLSPolicy:
    if name not in _ALLOWED or not isinstance(table, dict):
        raise TLSPolicyInvalid(f"{file}: {name!r} is no policy")
    if set(table) != _KEYS:
        wrong = ", ".join(sorted(set(table) ^ _KEYS))
        raise TLSPolicyInvalid(f"{file}: [{name}] unknown or missing: {wrong}")
    suites = table["cipher_suites"]
    if not isinstance(suites, list) or not suites:
        raise TLSPolicyInvalid(f"{file}: [{name}] cipher_suites is an empty list or none")
    for suite in suites:
        if suite not in _ALLOWED[name]:
            raise TLSPolicyInvalid(f"{file}: [{name}] cipher_suites: {suite!r} is not allowed")
    minimum = _version(file, name, table, "minimum_version")
    maximum = _version(file, name, table, "maximum_version")
    if minimum > maximum:
        raise TLSPolicyInvalid(f"{file}: [{name}] minimum_version is above maximum_version")
    return TLSPolicy(
        name=name,
        minimum_version=minimum,
        maximum_version=maximum,
        cipher_suites=tuple(suites),
    )


def _version(file: Path, name: str, table: Mapping[str, Any], key: str) -> ssl.TLSVersion:
    """A00.FR.313, 315: nothing below TLS 1.2 can be asked for."""
    version = _VERSIONS.get(str(table[key]))
    if version is None:
        raise TLSPolicyInvalid(f"{file}: [{name}] {key}: one of {', '.join(_VERSIONS)}")
    return version


def server_context(
    *,
    profile: SecurityProfile,
    policy: TLSPolicy,
    chain_file: Path,
    key_file: Path,
    rsa_file: Path | None = None,
    station_issuers_pem: Sequence[str] = (),
) -> ssl.SSLContext:
    """The context of one listener. A renewed certificate is loaded into it while it lives (M10).

    `rsa_file` holds a second key and chain beside the first: OpenSSL takes the one that the suite,
    or in TLS 1.3 the peer's signature algorithms, ask for (M8).

    Defaults that already hold are spelt out, so that a new OpenSSL cannot change them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = policy.minimum_version
    context.maximum_version = policy.maximum_version
    context.set_ciphers(":".join(policy.cipher_suites))
    context.options |= (
        ssl.OP_NO_COMPRESSION  # A00.FR.321, 424
        | ssl.OP_NO_RENEGOTIATION  # M9
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
        # Resumption buys little and costs 20-35 % of a handshake. TLS 1.2 session ids resume all
        # the same (M1), within this context only: each has a cache of its own.
        | ssl.OP_NO_TICKET
    )
    context.num_tickets = 0
    context.load_cert_chain(chain_file, key_file)
    if rsa_file is not None:
        context.load_cert_chain(rsa_file)
    if profile is SecurityProfile.TLS_CERTIFICATE:
        _ask_for_station_certificates(context, station_issuers_pem)
    else:
        context.verify_mode = ssl.CERT_NONE  # B11: a certificate shown to profile 2 is not asked
    return context


def _ask_for_station_certificates(context: ssl.SSLContext, issuers_pem: Sequence[str]) -> None:
    """Only the station issuing CAs are trusted, each as an anchor of its own: with the root in the
    store, our server and OAuth client leaves would pass as stations (decision 3, B09).
    """
    if not issuers_pem:
        raise TLSPolicyInvalid("profile 3 needs at least one station issuing CA")
    context.verify_mode = ssl.CERT_REQUIRED  # A00.FR.403, 407
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    context.load_verify_locations(cadata="\n".join(issuers_pem))


def shrink_read_buffers() -> None:
    """An idle TLS connection costs 65 KiB instead of 305 on asyncio (M12).

    uvloop's 256 KiB buffer has no such setting, and glibc grows its mmap threshold until such
    blocks come from the heap, where every page that was ever touched stays. With the threshold
    fixed they are mapped apart, and only what a connection really used is resident.
    """
    sslproto.SSLProtocol.max_size = _READ_BUFFER_BYTES
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc; other libraries have no such heap
        # 128 KiB is where glibc begins; set, it stays. The price: each message read goes through a
        # block of that size too, which costs a fifth of a Heartbeat (docs/performance.md).
        mallopt(_M_MMAP_THRESHOLD, 1 << 17)
        mallopt(_M_TRIM_THRESHOLD, 1 << 24)
