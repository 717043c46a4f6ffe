"""CSRs as stations write them, read back by cryptography."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from station.signing_request import RequestedSubject, new_key, signing_request


def request_of(subject: RequestedSubject) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr(signing_request(new_key(), subject).encode())


def test_common_name_alone_is_the_smallest_subject() -> None:
    csr = request_of(RequestedSubject(common_name="SN001"))
    assert csr.subject.rfc4514_string() == "CN=SN001"
    assert csr.is_signature_valid
    assert len(csr.extensions) == 0
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_full_subject_is_in_everests_order() -> None:
    subject = RequestedSubject(
        common_name="SN001", organization="CSO", country="DE", domain_component="CPO"
    )
    assert request_of(subject).subject.rfc4514_string() == "DC=CPO,CN=SN001,O=CSO,C=DE"


def test_every_request_has_a_key_of_its_own() -> None:
    subject = RequestedSubject(common_name="SN001")
    assert request_of(subject).public_key() != request_of(subject).public_key()
