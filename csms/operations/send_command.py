"""Send a CALL to a station: schema-validated passthrough with the rules that schemas cannot say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from cryptography import x509

from csms.domain.access import Principal, Scope
from csms.domain.audit import AuditAction, AuditRecord, Outcome
from csms.domain.station import Station
from csms.ocpp import schemas
from csms.ocpp.actions import FROM_CSMS, Action, Kind
from csms.operations.errors import Forbidden, Invalid, NotFound, Violation
from csms.operations.lookup import find_station
from csms.ports.bus import Json
from csms.ports.clock import Clock
from csms.ports.station_link import StationCallError, StationLink
from csms.ports.store import Store

# What can cut a station off, hand it to somebody else, or move load needs more than the right to
# talk to it (C12, E04). Everything else needs `commands:send` alone.
NEEDED_SCOPES: Final[Mapping[Action, Scope]] = MappingProxyType(
    {
        Action.INSTALL_CERTIFICATE: Scope.TRUST_ANCHORS_WRITE,
        Action.DELETE_CERTIFICATE: Scope.TRUST_ANCHORS_WRITE,
        Action.SET_NETWORK_PROFILE: Scope.COMMANDS_DANGEROUS,
        Action.SET_VARIABLES: Scope.COMMANDS_DANGEROUS,
        Action.RESET: Scope.COMMANDS_DANGEROUS,
        Action.UPDATE_FIRMWARE: Scope.COMMANDS_DANGEROUS,
        Action.PUBLISH_FIRMWARE: Scope.COMMANDS_DANGEROUS,
        Action.CHANGE_AVAILABILITY: Scope.COMMANDS_DANGEROUS,
    }
)


async def send_command(
    store: Store,
    link: StationLink,
    identity: str,
    action: str,
    payload: Json,
    *,
    principal: Principal,
    clock: Clock,
) -> Json:
    """The payload of the CALLRESULT.

    Raises NotFound (station, action), Forbidden, Invalid (schema, with JSON pointers), and
    StationCallError. The audit row is committed before the CALL leaves; a failure adds a second.
    """
    known = _known_action(action)
    async with store.writing() as work:
        station = await find_station(work, identity)
        session = await work.sessions.current(station.id)
        refusal = _refusal(known, payload, principal, station)
        outcome = Outcome.REFUSED if refusal else Outcome.SUCCESS
        reason = type(refusal).__name__.lower() if refusal else None
        await work.audit.add(_record(station, known, principal, clock, outcome, reason))
        await work.commit()
    if refusal is not None:
        raise refusal
    try:
        # A02: the session of this moment, or none; without one the link says so.
        epoch = session.epoch if session else None
        return await link.call(station.id, known, payload, epoch=epoch)
    except StationCallError as error:
        async with store.writing() as work:
            reason = type(error).__name__
            failed = _record(station, known, principal, clock, Outcome.FAILED, reason)
            await work.audit.add(failed)
            await work.commit()
        raise


def _known_action(action: str) -> Action:
    try:
        known = Action(action)
    except ValueError:
        raise NotFound("action") from None
    if known not in FROM_CSMS:
        raise NotFound("action")
    return known


def _refusal(
    action: Action, payload: Json, principal: Principal, station: Station
) -> Forbidden | Invalid | None:
    needed = NEEDED_SCOPES.get(action, Scope.COMMANDS_SEND)
    if needed not in principal.scopes:
        return Forbidden(needed)
    violations = [
        Violation(violation.pointer, violation.message)
        for violation in schemas.explain(action, Kind.REQUEST, payload)
    ]
    rule = _RULES.get(action)
    if not violations and rule is not None:
        violations = rule(payload, station)
    return Invalid(violations) if violations else None


_NOT_TO_BE_SET: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Set behind the registry's back it would lock the station out (A01.FR.03).
        "basicauthpassword": "use POST /stations/{identity}/password instead",
        # T9: what would let the station lower its profile; we never do (A00.FR.005).
        "allowsecurityprofiledowngrade": "a security profile is never lowered",
    }
)


def _no_variable_behind_our_back(payload: Json, station: Station) -> list[Violation]:
    del station
    return [
        Violation(f"/setVariableData/{index}", why)
        for index, data in enumerate(payload["setVariableData"])
        if data["component"]["name"].lower() == "securityctrlr"
        and (why := _NOT_TO_BE_SET.get(data["variable"]["name"].lower()))
    ]


def _no_downgrade(payload: Json, station: Station) -> list[Violation]:
    """A00.FR.005, T9: no network profile below what the station has reached or must use. It could
    not come back by it (A05.FR.07), and on the way it would offer its password in clear.
    """
    if payload["connectionData"]["securityProfile"] >= station.lowest_admissible_profile:
        return []
    where = "/connectionData/securityProfile"
    return [Violation(where, "below the lowest profile the station may use")]


def _only_roots(payload: Json, station: Station) -> list[Violation]:
    """InstallCertificate is for roots; stations never let go of others once installed."""
    del station
    try:
        certificate = x509.load_pem_x509_certificate(payload["certificate"].encode())
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(certificate)
    except Exception:  # noqa: BLE001 -- hostile DER: any failure means it is no root we can read
        return [Violation("/certificate", "not a self-signed CA certificate in PEM")]
    if not basic.ca:
        return [Violation("/certificate", "not a CA certificate")]
    return []


def _by_renewal_only(payload: Json, station: Station) -> list[Violation]:
    del payload, station
    return [Violation("", "certificates are delivered by POST …/certificates/renewal only")]


_RULES: Final[Mapping[Action, Callable[[Json, Station], list[Violation]]]] = MappingProxyType(
    {
        Action.SET_VARIABLES: _no_variable_behind_our_back,
        Action.SET_NETWORK_PROFILE: _no_downgrade,
        Action.INSTALL_CERTIFICATE: _only_roots,
        Action.CERTIFICATE_SIGNED: _by_renewal_only,
    }
)


def _record(
    station: Station,
    action: Action,
    principal: Principal,
    clock: Clock,
    outcome: Outcome,
    reason: str | None,
) -> AuditRecord:
    details: dict[str, Any] = {"action": action.value}
    return AuditRecord(
        at=clock.now(),
        actor=principal.actor,
        action=AuditAction.COMMAND_SEND,
        subject=f"station:{station.identity}",
        outcome=outcome,
        reason=reason,
        details=details,
    )
