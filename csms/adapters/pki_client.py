"""The PKI in a process of its own, reached over mutual TLS: `pki.wire.PkiService` as a client.

Who we are is the client certificate of our role; what that role may ask is the PKI's word
(policies/callers.toml). Every request is idempotent by the id it carries, so a lost answer is asked
for again by whoever holds the job. All that goes wrong is PkiRefused or PkiUnavailable.
"""

from __future__ import annotations

import ssl
from typing import Final, TypeVar

import httpx2
import msgspec

from pki.wire import (
    CallerCertificateRequest,
    IssuedCertificate,
    PkiRefused,
    PkiUnavailable,
    RefusalReason,
    Revocation,
    ServerCertificateRequest,
    StationCertificateAnswer,
    StationCertificateRequest,
    StationRegistration,
    TrustAnchors,
)

_TIMEOUT_SECONDS: Final = 15.0  # the PKI gives Vault 5 s a call
_MAXIMUM_ANSWER: Final = 256 * 1024
# msgspec lets the last two through for bytes that are no text and for JSON of great depth.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Answer = TypeVar("Answer")


class _Problem(msgspec.Struct):
    """RFC 9457; `reason` is there when the PKI refuses rather than fails."""

    title: str = ""
    detail: str = ""
    reason: RefusalReason | None = None


class PkiClient:
    """One caller of one PKI. `context` trusts the CSMS root and shows our role's certificate."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._http = httpx2.AsyncClient(
            base_url=url,
            verify=context,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def register_station(self, registration: StationRegistration) -> None:
        await self._send("POST", "/v1/registrations", registration)

    async def issue_station_certificate(
        self, request: StationCertificateRequest
    ) -> StationCertificateAnswer:
        body = await self._send("POST", "/v1/station-certificates", request)
        return _decoded(body, StationCertificateAnswer)

    async def issue_server_certificate(
        self, request: ServerCertificateRequest
    ) -> IssuedCertificate:
        body = await self._send("POST", "/v1/server-certificates", request)
        return _decoded(body, IssuedCertificate)

    async def issue_caller_certificate(
        self, request: CallerCertificateRequest
    ) -> IssuedCertificate:
        body = await self._send("POST", "/v1/caller-certificates", request)
        return _decoded(body, IssuedCertificate)

    async def revoke(self, revocation: Revocation) -> None:
        await self._send("POST", "/v1/revocations", revocation)

    async def trust_anchors(self) -> TrustAnchors:
        return _decoded(await self._send("GET", "/v1/trust-anchors"), TrustAnchors)

    async def _send(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = await self._http.request(
                method, path, content=content, headers={"Content-Type": "application/json"}
            )
        except httpx2.HTTPError as error:
            raise PkiUnavailable(f"the PKI does not answer: {type(error).__name__}") from error
        if answer.is_success and len(answer.content) <= _MAXIMUM_ANSWER:
            return answer.content
        raise _as_error(answer)


def _as_error(answer: httpx2.Response) -> PkiRefused | PkiUnavailable:
    """A refusal is final only when the PKI says why in its own words; all else may pass."""
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except _UNREADABLE:
        problem = _Problem()
    if problem.reason is not None:
        return PkiRefused(problem.reason, problem.detail)
    return PkiUnavailable(f"the PKI answered {answer.status_code} {problem.title}".rstrip())


def _decoded(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except _UNREADABLE as error:
        raise PkiUnavailable("the PKI's answer is not one") from error
