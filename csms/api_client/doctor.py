"""What to do about each failing check: the words of `csms station doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from csms.domain.admission import RefusalReason as R

# A profile is never lowered (A05.FR.07): on profile 3 there is no way to a certificate without one.
_ANEW: Final = (
    "a profile is never lowered, so register the station anew: "
    "csms station remove IDENTITY, csms station add IDENTITY …"
)
_CERTIFICATE_ONLY: Final = 3

ADVICE: Final[Mapping[R, str]] = {
    R.TLS_HANDSHAKE: "look at the detail: trust anchor, TLS version, cipher suite or certificate",
    R.HTTP: "the station does not send an acceptable HTTP upgrade request",
    R.NETWORK: "profile 1 is for the networks in gateway.profile1_networks only",
    R.BUSY: "the CSMS was busy; the station comes back by itself",
    R.TOO_MANY_FAILURES: "too many attempts from its address failed: find who else fails there",
    R.TARGET: "the station's URL must end in /ocpp/IDENTITY",
    R.SUBPROTOCOL: "the station must offer the subprotocol ocpp2.0.1",
    R.CREDENTIALS_MISSING: "the station sends no Basic credentials: set its BasicAuthPassword",
    R.CREDENTIALS_MALFORMED: "the station's Authorization header is not a Basic credential",
    R.USER_NAME: "the user name must be the identity in the URL",
    R.UNKNOWN_STATION: "register it: csms station add IDENTITY --serial-number …",
    R.PASSWORD: "the password is wrong: configure the one that `station add` printed",
    R.CERTIFICATE_MISSING: "on this port the station must present its certificate",
    R.CERTIFICATE_UNKNOWN: "not a certificate of this CSMS: get one on profile 2",
    R.CERTIFICATE_OF_ANOTHER_STATION: "the certificate belongs to another station",
    R.CERTIFICATE_REVOKED: f"the certificate was revoked: {_ANEW}",
    R.CERTIFICATE_NOT_ADMISSIBLE: "the certificate was superseded or never delivered",
    R.CERTIFICATE_EXPIRED: "the certificate has expired: get a new one on profile 2",
    R.CERTIFICATE_NOT_YET_VALID: "the certificate is not valid yet: compare the clocks",
    R.CERTIFICATE_IS_CA: "a CA certificate is no station's certificate",
    R.CERTIFICATE_PURPOSE: "the certificate is not made for authentication",
    R.CERTIFICATE_COMMON_NAME: "the certificate's CN is not the registered serial number",
    R.CERTIFICATE_ORGANIZATION: "the certificate's O is not this CSMS's organization",
    R.BLOCKED: "the station is blocked",
    R.PROFILE_TOO_LOW: "the station must use the higher security profile it has reached",
}


def advice(failing_check: str | None, *, minimum_profile: int | None) -> str:
    """`minimum_profile` of the station, None when it is not registered."""
    if failing_check == R.CERTIFICATE_EXPIRED and minimum_profile == _CERTIFICATE_ONLY:
        return f"the certificate has expired: {_ANEW}"
    try:
        return ADVICE[R(failing_check or "")]
    except ValueError:
        return ""
