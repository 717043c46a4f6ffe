"""csms.wiring.product: which certificates of our own there are, and what stops the start."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from csms.wiring import StartFailed, product
from pki.wire import TrustAnchors


def test_a_pki_in_another_process_has_to_be_for_certification_too() -> None:
    """Its answer to an RSA key would be a chain that nobody who verifies RSA only accepts."""
    anchors = TrustAnchors(root_pem="-", station_issuers_pem=[], server_issuers_pem=[])
    parts: Any = SimpleNamespace(rsa_keeper=object(), anchors=anchors)
    roles: Any = object()
    with pytest.raises(StartFailed, match="start `csms pki`, too"):
        asyncio.run(product._own_certificates(parts, roles))
