"""Hostile requests against the whole authority (C01-C06, M2): the template's certificate, octet by
octet, or a refusal with its reason; never a third thing. The requests are those that
tests/attacks/test_C01_hostile_requests.py sends to the whole product.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.authority.hierarchy import IssuerName
from pki.wire import (
    CertificateKind,
    IssuedCertificate,
    PkiRefused,
    StationCertificateAnswer,
    StationCertificateRequest,
    StationRegistration,
)
from pki.x509 import template
from tests.attacks.csr_corpus import ATTEMPTS, WEAK_KEYS, Asker, Attempt
from tests.fixtures import pki_hostile as h
from tests.fixtures.pki_memory import (
    LOCATIONS,
    NOW,
    ORGANIZATION,
    memory_authority,
    memory_ca,
    memory_store,
    profiles,
)

STATION = UUID(int=1)
CA = memory_ca()
ISSUER = CA.hierarchy.issuers[IssuerName.STATIONS]
ASKER = Asker("CS001", ORGANIZATION, ec.generate_private_key(ec.SECP256R1()))


def ask(directory: Path, pem: str) -> StationCertificateAnswer | PkiRefused:
    async def main() -> StationCertificateAnswer | PkiRefused:
        async with memory_store(directory) as store, memory_authority(store, ca=CA) as authority:
            await authority.register_station(StationRegistration(STATION, "CS001"))
            request = StationCertificateRequest(uuid4(), STATION, pem)
            try:
                return await authority.issue_station_certificate(request)
            except PkiRefused as refused:
                return refused

    return asyncio.run(main())


def assert_is_the_template(issued: IssuedCertificate, public_key: Any) -> None:
    """M2, C10: what was delivered is what we would have written without any request."""
    leaf = x509.load_pem_x509_certificate(issued.certificate_pem.encode())
    meant = template.leaf(
        profile=profiles().by_kind[CertificateKind.STATION],
        issuer=ISSUER.certificate,
        issuer_name="stations",
        organization=ORGANIZATION,
        common_name="CS001",
        public_key=public_key,
        serial=template.Serial(leaf.serial_number),
        now=NOW,
        locations=LOCATIONS,
    )
    rehearsal = meant.sign(ISSUER.throwaway_key, hashes.SHA256())
    assert leaf.tbs_certificate_bytes == rehearsal.tbs_certificate_bytes
    leaf.verify_directly_issued_by(ISSUER.certificate)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_it_is_the_template_or_a_refusal_with_its_reason(tmp_path: Path, attempt: Attempt) -> None:
    answer = ask(tmp_path, attempt.make(ASKER))
    if attempt.reasons:
        assert isinstance(answer, PkiRefused)
        assert answer.reason in attempt.reasons
        return
    assert isinstance(answer, StationCertificateAnswer)
    assert_is_the_template(answer.issued, attempt.key(ASKER).public_key())
    assert {a.what for a in answer.anomalies} == ({attempt.anomaly} if attempt.anomaly else set())
    assert all(a.detail.isprintable() and len(a.detail) <= 200 for a in answer.anomalies)


@pytest.mark.parametrize(
    ("name", "says"), [("close primes", "close"), ("ROCA", "ROCA"), ("small factor", "small")]
)
def test_a_weak_modulus_is_refused_for_its_own_weakness(
    tmp_path: Path, name: str, says: str
) -> None:
    answer = ask(tmp_path, h.pem(ASKER.der(public_key=WEAK_KEYS[name](ASKER))))
    assert isinstance(answer, PkiRefused)
    assert says in answer.detail
