"""Who stands at the door: what the sockets say of a peer, before anybody believes anything."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from csms.domain.admission import PresentedCertificate, RefusalReason
from csms.domain.failure_budget import Source
from csms.domain.station import SecurityProfile
from csms.gateway.budget import source_of
from csms.gateway.peer_certificate import read_certificate
from csms.ports.records import ConnectionAttempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """One connection on one listener. The address is the socket's: no header is asked (A15)."""

    listener: SecurityProfile
    host: str
    port: int
    tls_version: str | None = None
    tls_cipher: str | None = None
    certificate: PresentedCertificate | None = None

    @property
    def source(self) -> Source:
        return source_of(self.host)

    @property
    def peer(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def attempt(
        self, at: datetime, failing_check: RefusalReason | None, **more: Any
    ) -> ConnectionAttempt:
        """The record of this visit so far."""
        return ConnectionAttempt(
            at=at,
            peer=self.peer,
            listener=str(self.listener.value),
            outcome="admitted" if failing_check is None else "refused",
            failing_check=failing_check,
            tls_version=self.tls_version,
            tls_cipher=self.tls_cipher,
            certificate=self.certificate.fingerprint_sha256 if self.certificate else None,
            **more,
        )


def after_handshake(visitor: Visitor, ssl_object: ssl.SSLObject | None) -> Visitor:
    """The same visitor with what TLS knows; also on a resumed session the leaf is there (M1)."""
    if ssl_object is None:
        return visitor
    der = ssl_object.getpeercert(binary_form=True)
    cipher = ssl_object.cipher()
    return Visitor(
        listener=visitor.listener,
        host=visitor.host,
        port=visitor.port,
        tls_version=ssl_object.version(),
        tls_cipher=cipher[0] if cipher else None,
        certificate=read_certificate(der) if der else None,
    )
