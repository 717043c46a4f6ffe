"""The station's side of certificate management: CertificateSigned and roots (A02, M03-M05).

Handlers change the key store by the station's rules and say what follows; the client carries that
out after the answer has left.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography import x509

from station import device_model as dm
from station.chain_check import ChainFault, ChainRefused, check_chain, is_ca, issued, parse_chain
from station.clock import Clock, timestamp
from station.codec import Payload
from station.effects import (
    CertificateArrived,
    Effect,
    Milestone,
    Reached,
    Reaction,
    Reconnect,
    Send,
    status,
)
from station.hash_data import hash_data, names
from station.keystore import CSMS_ROOT, ROOT_TYPES, StationCertificate
from station.state import StationState

_STATION_CERTIFICATE: Final = "ChargingStationCertificate"


def certificate_signed(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    """A02.FR.06-08: check everything, keep the old certificate, come back with the new one."""
    try:
        certificate = _accept(state, payload, clock)
    except ChainRefused as refused:
        event = security_event(clock, "InvalidChargingStationCertificate", refused.fault.value)
        reached = Reached(Milestone.CERTIFICATE_REJECTED, {"reason": refused.fault.value})
        # A02.FR.20: no further CSR until somebody triggers one.
        return status("Rejected", CertificateArrived(), event, reached, reason="InvalidCertificate")
    state.keystore.install(certificate)
    then: list[Effect] = [
        CertificateArrived(),
        Reached(Milestone.CERTIFICATE_INSTALLED, {"serial": certificate.serial}),
    ]
    if state.network.current.security_profile == 3:
        then.append(Reconnect())
    elif state.config.upgrade and _prefer_profile_3(state):
        then.append(Reconnect(boot=True))
    state.save()
    return status("Accepted", *then)


def _accept(state: StationState, payload: Payload, clock: Clock) -> StationCertificate:
    pem = str(payload["certificateChain"])
    if payload.get("certificateType", _STATION_CERTIFICATE) != _STATION_CERTIFICATE:
        raise ChainRefused(ChainFault.UNKNOWN_KEY)
    if state.misbehaviour.refuse_certificate:
        raise ChainRefused(ChainFault.REFUSED_BY_SWITCH)
    # A02.FR.16
    if len(pem) > state.model.integer(dm.MAX_CHAIN_SIZE):
        raise ChainRefused(ChainFault.TOO_LONG)
    chain = parse_chain(pem)
    state.keystore.forget_old_keys(now=clock.elapsed())
    key = state.keystore.pending_key_of(chain[0])
    check_chain(
        chain,
        roots=state.keystore.csms_roots,
        serial_number=state.config.serial_number,
        now=clock.now(),
    )
    return StationCertificate(tuple(chain), key)


def _prefer_profile_3(state: StationState) -> bool:
    """Puts a slot of profile 3 first, when there is one and the key store allows it."""
    network = state.network
    for slot, profile in network.slots.items():
        if profile.security_profile == 3 and state.credentials.has_csms_root:
            network.priority = (slot, *(other for other in network.priority if other != slot))
            return True
    return False


def install_certificate(state: StationState, payload: Payload, clock: Clock) -> Reaction:
    """M05: roots only, valid now, while there is room."""
    use = str(payload["certificateType"])
    if use not in ROOT_TYPES:
        return status("Rejected", reason="UnsupportedType")
    try:
        root = x509.load_pem_x509_certificate(str(payload["certificate"]).encode())
    except ValueError:
        return status("Rejected", reason="InvalidCertificate")
    if not (is_ca(root) and issued(root, root)):
        word = "Accepted" if state.config.swallows_non_roots else "Rejected"
        return status(word, reason=None if word == "Accepted" else "NotARoot")
    if not root.not_valid_before_utc <= clock.now() <= root.not_valid_after_utc:
        return status("Rejected", reason="CertificateExpired")
    limit = dm.DEFINITIONS[dm.CERTIFICATE_ENTRIES].max_limit or 0
    known = root in state.keystore.roots.get(use, [])
    if state.keystore.count_roots() + len(state.keystore.certificates) >= limit and not known:
        return status("Rejected", reason="StoreFull")
    state.keystore.install_root(use, root)
    state.save()
    return status("Accepted", Reached(Milestone.ROOT_INSTALLED, {"type": use}))


def get_installed_certificate_ids(state: StationState, payload: Payload, _clock: Clock) -> Reaction:
    """M03: the hash data of the roots asked for; no filter means all."""
    wanted = payload.get("certificateType", ROOT_TYPES)
    found = [
        {"certificateType": use, "certificateHashData": hash_data(root, issuer=root)}
        for use, roots in state.keystore.roots.items()
        if use in wanted
        for root in roots
    ]
    if not found:
        return status("NotFound")
    return Reaction({"status": "Accepted", "certificateHashDataChain": found})


def delete_certificate(state: StationState, payload: Payload, _clock: Clock) -> Reaction:
    """M04: roots by their hash data; the station's own certificate never (M04.FR.06)."""
    wanted: dict[str, Any] = payload["certificateHashData"]
    for use, roots in state.keystore.roots.items():
        for root in roots:
            if names(wanted, root):
                # Without its last CSMS root a station on TLS could not come back.
                if use == CSMS_ROOT and len(roots) == 1 and _uses_tls(state):
                    return status("Failed", reason="InUse")
                state.keystore.delete_root(use, root)
                state.save()
                return status("Accepted")
    if _is_own(state, wanted):
        return status("Failed", reason="OwnCertificate")
    return status("NotFound")


def security_event(clock: Clock, kind: str, info: str | None = None) -> Send:
    """A critical event: pushed, and kept until it is (A04.FR.01-02)."""
    payload = {"type": kind, "timestamp": timestamp(clock.now())}
    if info:
        payload["techInfo"] = info[:255]
    return Send("SecurityEventNotification", payload, durable=True)


def _uses_tls(state: StationState) -> bool:
    return state.network.current.security_profile >= 2


def _is_own(state: StationState, wanted: dict[str, Any]) -> bool:
    serial = str(wanted["serialNumber"]).lower()
    return any(item.serial == serial for item in state.keystore.certificates)
