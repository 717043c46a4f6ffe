"""The application: routes, guard, problem table, frame."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from starlette.middleware import Middleware

from csms.api.access import CA_PATH, OPENAPI_PATH
from csms.api.frame import Frame
from csms.api.problems import HANDLED, answer
from csms.api.resources import ApiResources
from csms.api.routers import GUARDED, public
from csms.api.schemas.problem import PROBLEM_RESPONSES

PREFIX: Final = "/api/v1"


def create_app(resources: ApiResources) -> FastAPI:
    """The management API and, beside it, what its token authority and the PKI show to anybody."""
    app = FastAPI(
        title="CSMS management API",
        version="1",
        openapi_url=OPENAPI_PATH,
        docs_url=None,  # FastAPI's own pages load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's spans record query strings and its logs the text of exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[Middleware(Frame)],
        responses=PROBLEM_RESPONSES,
    )
    app.state.resources = resources
    app.state.being_answered = set()
    for router in GUARDED:
        app.include_router(router, prefix=PREFIX)
    app.add_route(CA_PATH, public.ca_certificates, methods=["GET"], include_in_schema=False)
    app.router.routes.extend(resources.tokens.routes)
    for error in HANDLED:
        app.add_exception_handler(error, answer)
    return app
