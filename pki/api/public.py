"""What relying parties fetch over plain HTTP: the public anchors, and nothing else.

These URLs stand in AIA of every certificate; RFC 5280 §8 wants them without TLS, since checking a
certificate must not need another one.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from pki.wire import TrustAnchors


def make_public_app(anchors: TrustAnchors) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    bundle = "".join(
        [anchors.roots_pem, *anchors.station_issuers_pem, *anchors.server_issuers_pem]
    ).encode("ascii")

    async def ca_pem() -> Response:
        return Response(
            bundle,
            media_type="application/pem-certificate-chain",
            headers={"Cache-Control": "public, max-age=3600"},
        )

    async def problem(_request: Request, error: Exception) -> Response:
        status = HTTPStatus(error.status_code if isinstance(error, HTTPException) else 500)
        document = {"type": "about:blank", "title": status.phrase, "status": status.value}
        return JSONResponse(document, status, media_type="application/problem+json")

    app.add_exception_handler(HTTPException, problem)
    app.add_api_route("/pki/ca.pem", ca_pem, methods=["GET", "HEAD"])
    return app
