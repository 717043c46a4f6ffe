"""What the client makes of a PKI's answers; test_pki_process.py has the conversation."""

import httpx2
import pytest

from csms.adapters.pki_client import _as_error, _decoded
from pki.wire import PkiRefused, PkiUnavailable, RefusalReason, TrustAnchors


def problem(status: int, body: bytes) -> httpx2.Response:
    return httpx2.Response(status, content=body)


def test_a_refusal_with_its_reason_is_final() -> None:
    body = b'{"title":"Refused","status":422,"reason":"weak_key","detail":"RSA 1024"}'
    error = _as_error(problem(422, body))
    assert isinstance(error, PkiRefused)
    assert (error.reason, error.detail) == (RefusalReason.WEAK_KEY, "RSA 1024")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b'{"title":"Unavailable","status":503}'),
        (403, b'{"title":"Forbidden","status":403}'),
        (422, b'{"title":"Refused","reason":"a word nobody knows"}'),
        (502, b"<html>a proxy</html>"),
        (500, b""),
        (502, b'{"title": "\xff"}'),
        (502, b'{"title":' + b"[" * 100_000),
    ],
)
def test_everything_else_may_pass_and_is_asked_again(status: int, body: bytes) -> None:
    assert isinstance(_as_error(problem(status, body)), PkiUnavailable)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"root_pem": 7}', b'{"root_pem": "\xff"}', b"[" * 100_000]
)
def test_an_answer_that_is_none_is_not_believed(body: bytes) -> None:
    with pytest.raises(PkiUnavailable):
        _decoded(body, TrustAnchors)
