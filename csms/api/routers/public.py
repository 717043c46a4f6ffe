"""What anybody may fetch: our CA certificates."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from csms.api.problems import problem_of
from csms.api.resources import resources_of
from pki.wire import PkiUnavailable

PEM: str = "application/pem-certificate-chain"


async def ca_certificates(request: Request) -> Response | JSONResponse:
    """The root and what it signed. Trust them only if they came by a way you trust."""
    try:
        anchors = await resources_of(request).pki.trust_anchors()
    except PkiUnavailable as error:
        return problem_of(error).response()
    pems = (anchors.roots_pem, *anchors.station_issuers_pem, *anchors.server_issuers_pem)
    text = "".join(f"{pem.strip()}\n" for pem in pems)
    return Response(text, media_type=PEM)
