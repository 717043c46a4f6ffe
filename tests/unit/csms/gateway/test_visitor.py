"""csms.gateway.visitor: the facts of a socket, in the words of the record."""

from datetime import UTC, datetime

import pytest

from csms.domain.admission import RefusalReason
from csms.domain.station import SecurityProfile
from csms.gateway.visitor import Visitor, after_handshake

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("host", "peer"), [("192.0.2.1", "192.0.2.1:7"), ("2001:db8::1", "[2001:db8::1]:7")]
)
def test_the_peer_reads_as_people_write_it(host: str, peer: str) -> None:
    assert Visitor(listener=SecurityProfile.BASIC, host=host, port=7).peer == peer


def test_an_attempt_is_refused_when_a_check_failed() -> None:
    visitor = Visitor(listener=SecurityProfile.TLS_BASIC, host="192.0.2.1", port=7)
    refused = visitor.attempt(NOW, RefusalReason.HTTP, detail="why")
    assert (refused.outcome, refused.listener, refused.detail) == ("refused", "2", "why")
    assert visitor.attempt(NOW, None).outcome == "admitted"


def test_without_tls_nothing_is_known_of_it() -> None:
    visitor = Visitor(listener=SecurityProfile.BASIC, host="192.0.2.1", port=7)
    assert after_handshake(visitor, None) is visitor
    assert visitor.certificate is None
