"""The issuance cycle: how a permitted request becomes a certificate (decision 1).

  1. the registration authority permits                            (service)
  2. `prepare`: serial chosen, TBSCertificate built from the profile
  3. `prepare`: signed by a throw-away key of the issuer's algorithm, and linted
  4. intent stored: serial, key, hash of the linted TBS; audited     (service)
  5. `issue`: the same TBS signed by the issuer's key
  6. `issue`: parsed back, compared byte for byte, signature verified
  7. certificate stored, intent closed, audited                    (service)
  8. answered                                                      (service)

A crash before 4 leaves nothing, since no signature exists; after 4, an open intent that names the
serial. Lint and signature are joined by a value that works once: what was not linted cannot be
signed, and what was signed cannot be signed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pki.signing.remote_key import remote_key
from pki.signing.signer import Signer, SigningKey, hash_for
from pki.x509 import template
from pki.x509.keys import PublicKey
from pki.x509.lint import Linter
from pki.x509.profile import Profile
from pki.x509.template import PublicLocations, Serial

_THROWAWAY_RSA_BITS: Final = 2048  # no signature of it leaves; a longer one costs half a second

ThrowawayKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class IssuanceBroken(Exception):
    """What was signed is not what was linted, or not by the issuer: freeze and look (C10)."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuing CA: its name in the hierarchy, its certificate, the key it signs with."""

    name: str
    certificate: x509.Certificate
    public_key: SigningKey
    key_id: str
    # Signs only for the linter; of the issuer's algorithm, so that both TBS are the same.
    throwaway_key: ThrowawayKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceRequest:
    """What the registration authority permitted; names are ours, the key is the asker's."""

    organization: str
    common_name: str
    public_key: PublicKey
    locations: PublicLocations
    host_names: Sequence[str] = ()
    ip_addresses: Sequence[IPv4Address | IPv6Address] = ()


class PreparedCertificate:
    """A linted TBSCertificate that may be signed once. Only `prepare` makes one."""

    def __init__(
        self,
        builder: x509.CertificateBuilder,
        *,
        tbs: bytes,
        issuer_key: SigningKey,
    ) -> None:
        self._builder: x509.CertificateBuilder | None = builder
        self.tbs = tbs
        self.issuer_key = issuer_key

    @property
    def tbs_sha256(self) -> str:
        return hashlib.sha256(self.tbs).hexdigest()

    def take(self) -> x509.CertificateBuilder:
        """Raises IssuanceBroken the second time."""
        builder, self._builder = self._builder, None
        if builder is None:
            raise IssuanceBroken("a prepared certificate is signed once")
        return builder


def prepare(
    request: IssuanceRequest,
    profile: Profile,
    issuer: Issuer,
    *,
    serial: Serial,
    now: datetime,
    linter: Linter,
) -> PreparedCertificate:
    """Steps 2 and 3. Raises LintFailed or IssuerExpired."""
    builder = template.leaf(
        profile=profile,
        issuer=issuer.certificate,
        issuer_name=issuer.name,
        organization=request.organization,
        common_name=request.common_name,
        public_key=request.public_key,
        serial=serial,
        now=now,
        locations=request.locations,
        host_names=request.host_names,
        ip_addresses=request.ip_addresses,
    )
    return rehearse(builder, issuer.public_key, issuer.throwaway_key, linter=linter)


def throwaway_key(issuer_key: SigningKey) -> ThrowawayKey:
    """A key for step 3. The TBSCertificate names the algorithm, which follows the curve; the length
    of an RSA key stands nowhere in it.
    """
    if isinstance(issuer_key, rsa.RSAPublicKey):
        return rsa.generate_private_key(public_exponent=65537, key_size=_THROWAWAY_RSA_BITS)
    return ec.generate_private_key(issuer_key.curve)


def rehearse(
    builder: x509.CertificateBuilder,
    issuer_key: SigningKey,
    throwaway_key: ThrowawayKey,
    *,
    linter: Linter,
) -> PreparedCertificate:
    """Step 3: the throw-away signature and the linter. Raises LintFailed."""
    rehearsal = builder.sign(throwaway_key, hash_for(issuer_key))
    linter.check(rehearsal)
    return PreparedCertificate(builder, tbs=rehearsal.tbs_certificate_bytes, issuer_key=issuer_key)


def issue(prepared: PreparedCertificate, signer: Signer) -> x509.Certificate:
    """Steps 5 and 6; blocking. Raises SignerError or IssuanceBroken."""
    signed = prepared.take().sign(remote_key(signer), hash_for(signer.public_key))
    return _read_back(signed, prepared)


def _read_back(signed: x509.Certificate, prepared: PreparedCertificate) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(signed.public_bytes(serialization.Encoding.DER))
    if certificate.tbs_certificate_bytes != prepared.tbs:
        raise IssuanceBroken("the signed TBSCertificate is not the linted one")
    # The hash is ours to name, not the answer's: over another one the signature does not verify.
    algorithm = hash_for(prepared.issuer_key)
    try:
        if isinstance(prepared.issuer_key, rsa.RSAPublicKey):
            prepared.issuer_key.verify(
                certificate.signature, prepared.tbs, padding.PKCS1v15(), algorithm
            )
        else:
            prepared.issuer_key.verify(certificate.signature, prepared.tbs, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise IssuanceBroken("the signature is not by the issuer's key") from error
    return certificate
