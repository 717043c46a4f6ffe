"""Problem documents (RFC 9457) in OpenAPI."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel


class Violation(BaseModel):
    pointer: str | None = None  # into the body
    parameter: str | None = None  # of the query
    detail: str


class ProblemDocument(BaseModel):
    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[Violation] = []


_RESPONSE: Final = {"model": ProblemDocument, "description": "Problem document (RFC 9457)"}
PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: _RESPONSE,
    403: _RESPONSE,
    422: _RESPONSE,
    503: _RESPONSE,
}
