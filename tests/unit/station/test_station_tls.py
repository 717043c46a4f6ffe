"""Contexts that trust the station's own roots and nothing else, and errors that say why."""

import ssl

from station.keystore import KeyStore, StationCertificate
from station.tls import client_context, tls_failure
from tests.unit.station.csms_double import Issuer

ROOT = Issuer.root()


def test_context_checks_server_name_and_version_and_trusts_only_the_given_roots() -> None:
    context = client_context(roots_pem=ROOT.pem, certificate=None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] == 1
    assert client_context(roots_pem="", certificate=None).cert_store_stats()["x509"] == 0


def test_certificate_of_the_key_store_loads_with_its_key() -> None:
    store = KeyStore()
    key = store.new_pending_key(now=0)
    own = StationCertificate((ROOT.sign("SN001", key.public_key()),), key)
    client_context(roots_pem=ROOT.pem, certificate=own)


def test_tls_error_is_found_below_other_errors_and_nowhere_else() -> None:
    alert = ssl.SSLError(1, "alert")
    wrapped = RuntimeError("no upgrade")
    wrapped.__cause__ = EOFError()
    assert tls_failure(wrapped) is None
    wrapped.__cause__.__context__ = alert
    failure = tls_failure(wrapped)
    assert failure is not None
    assert not failure.about_server
