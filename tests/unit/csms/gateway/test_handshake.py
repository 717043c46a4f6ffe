"""csms.gateway.handshake: refusals that tell nothing."""

from http import HTTPStatus

import pytest

from csms.gateway.handshake import refusal


@pytest.mark.parametrize(
    ("status", "extra"),
    [
        (HTTPStatus.BAD_REQUEST, b""),
        (HTTPStatus.UNAUTHORIZED, b'WWW-Authenticate: Basic realm="csms", charset="UTF-8"\r\n'),
        (HTTPStatus.FORBIDDEN, b""),
        (HTTPStatus.NOT_FOUND, b""),
        (HTTPStatus.SERVICE_UNAVAILABLE, b"Retry-After: 5\r\n"),
    ],
)
def test_a_refusal_is_its_status_and_nothing_else(status: HTTPStatus, extra: bytes) -> None:
    """A06: no date, no server, no cause."""
    phrase = status.phrase.encode()
    assert refusal(status).serialize() == (
        b"HTTP/1.1 %d %s\r\n" % (status.value, phrase)
        + extra
        + b"Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        + b"Content-Length: %d\r\n\r\n%s\n" % (len(phrase) + 1, phrase)
    )
