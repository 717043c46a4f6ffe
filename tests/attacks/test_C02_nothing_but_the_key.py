"""C02, C05 as properties: whatever a request wishes, the certificate differs by its key alone; and
whatever is changed in a signature, possession is not proven.
"""

from __future__ import annotations

from datetime import date
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.authority.hierarchy import IssuerName
from pki.authority.issuance import IssuanceRequest, prepare
from pki.wire import CertificateKind, RefusalReason
from pki.x509.csr import CSRRejected, verify_csr
from pki.x509.lint import Linter
from pki.x509.template import serial_from
from tests.attacks.csr_corpus import Asker, common_name, rsa_key
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures import pki_hostile as h
from tests.fixtures.pki_memory import LOCATIONS, NOW, ORGANIZATION, memory_ca, profiles

PROFILES = profiles()
ISSUER = memory_ca().hierarchy.issuers[IssuerName.STATIONS]
SERIAL = serial_from(bytes(20))
LINTER = Linter()
ASKER = Asker("CS001", ORGANIZATION, ec.generate_private_key(ec.SECP256R1()))
ARC = bytes.fromhex("551d"), bytes.fromhex("2b060105050701"), bytes.fromhex("2a864886f70d0109")

oids = st.one_of(
    st.builds(
        lambda arc, last: h.tlv(0x06, arc + bytes([last])),
        st.sampled_from(ARC),
        st.integers(0, 127),
    ),
    st.just(h.UNKNOWN),
)
values = st.recursive(
    st.builds(
        h.tlv,
        st.sampled_from([0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x16, 0x17, 0x18])
        | st.integers(0x80, 0x88),
        st.binary(max_size=24),
    )
    | st.binary(max_size=8),
    lambda inner: st.builds(
        lambda tag, within: h.tlv(tag, *within),
        st.sampled_from([0x30, 0x31, 0xA0, 0xA1, 0xA3, 0xA4]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=10,
)
extensions = st.builds(h.extension, oids, values, critical=st.booleans())
attributes = st.one_of(
    st.lists(extensions, max_size=6).map(lambda wanted: h.extensions(*wanted)),
    st.builds(lambda oid, value: h.sequence(oid, h.tlv(0x31, value)), oids, values),
)


@cache
def tbs_without_any_request() -> bytes:
    return tbs(ASKER.key.public_key())


def tbs(public_key: ec.EllipticCurvePublicKey) -> bytes:
    request = IssuanceRequest(
        organization=ORGANIZATION,
        common_name="CS001",
        public_key=public_key,
        locations=LOCATIONS,
    )
    profile = PROFILES.by_kind[CertificateKind.STATION]
    return prepare(request, profile, ISSUER, serial=SERIAL, now=NOW, linter=LINTER).tbs


@pytest.mark.timeout(300)
def test_no_wish_changes_the_certificate(scoreboard: Scoreboard) -> None:
    row = scoreboard.row("C02", "random extensions and attributes (Hypothesis)")
    tried = {"certified": 0, RefusalReason.MALFORMED: 0, RefusalReason.TOO_LARGE: 0}

    @settings(max_examples=SIZES.odd_requests, deadline=None)
    @given(st.lists(attributes, max_size=3))
    def wishes(wanted: list[bytes]) -> None:
        pem = h.pem(ASKER.der(attributes=wanted))
        try:
            csr = verify_csr(pem, policy=PROFILES.key_policy, today=date(2026, 3, 1))
        except CSRRejected as error:
            tried[error.reason] += 1
            return
        assert csr.common_name == "CS001"
        assert len(csr.anomalies) <= 16
        assert isinstance(csr.public_key, ec.EllipticCurvePublicKey)
        assert tbs(csr.public_key) == tbs_without_any_request()
        tried["certified"] += 1

    wishes()
    row.count(sum(tried.values()))
    assert tried["certified"], "at least one was a request"
    row.measure(", ".join(f"{count} {what}" for what, count in tried.items()))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_no_bit_of_a_signature_may_change(kind: str, scoreboard: Scoreboard) -> None:
    """C05: each octet once, in each of its bits by turns."""
    row = scoreboard.row("C05", f"each octet of the {kind} signature flipped")
    key = ASKER.key if kind == "ECDSA" else rsa_key(3072)
    whole = h.parts(h.request(key, subject=common_name("CS001")))
    for at in range(len(whole.signature)):
        flipped = bytearray(whole.signature)
        flipped[at] ^= 1 << at % 8
        with row.attempt(), pytest.raises(CSRRejected) as refused:
            verify_csr(
                h.pem(whole.put_together(bytes(flipped))),
                policy=PROFILES.key_policy,
                today=date(2026, 3, 1),
            )
        assert refused.value.reason is RefusalReason.PROOF_OF_POSSESSION
