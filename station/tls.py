"""TLS as a station speaks it: profile 2 checks the CSMS, profile 3 shows a certificate besides.

The server is verified by the station's own CSMS root store and by host name (A00.FR.308-309,
411-412), never by the machine's trust store. `tls_failure` finds the TLS reason in whatever a
failed connection raised.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from station.keystore import StationCertificate, as_files


@dataclass(frozen=True, slots=True)
class TLSFailure:
    """Why TLS ended: `about_server` when it was this station that refused."""

    reason: str
    about_server: bool


def client_context(*, roots_pem: str, certificate: StationCertificate | None) -> ssl.SSLContext:
    """A context for one station; without roots no server is trusted, and none should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # A00.FR.313, 416
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    # OCPP puts the FQDN into CN (A00.FR.510); OpenSSL looks there only when there is no SAN.
    context.hostname_checks_common_name = True
    if roots_pem:
        context.load_verify_locations(cadata=roots_pem)
    if certificate is not None:
        with as_files(certificate) as (chain, key):
            context.load_cert_chain(chain, key)
    return context


def tls_failure(error: BaseException) -> TLSFailure | None:
    """The TLS error behind `error`, if one is there.

    In TLS 1.3 a refused client certificate shows only at the first read after the handshake, so
    the TLS error may hide below the WebSocket library's.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return TLSFailure(f"server certificate: {seen.verify_message}", about_server=True)
        if isinstance(seen, ssl.SSLError):
            reason = getattr(seen, "reason", None)  # absent when Python code raised it
            return TLSFailure(reason or "TLS connection ended", about_server=False)
        seen = seen.__cause__ or seen.__context__
    return None
