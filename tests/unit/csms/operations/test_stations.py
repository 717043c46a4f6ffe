"""Register, change, delete and disconnect stations; passwords; commands; OAuth clients."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from csms.domain.access import ROLE_SCOPES, Principal, Role, Scope
from csms.domain.audit import AuditAction, Outcome
from csms.domain.certificate import CertificateStatus
from csms.domain.password import matching_record
from csms.domain.station import SecurityProfile, Station
from csms.operations.change_password import change_password
from csms.operations.change_station import StationChanges, change_station, delete_station
from csms.operations.disconnect_station import disconnect_station
from csms.operations.errors import Conflict, Forbidden, Invalid, NotFound
from csms.operations.oauth_clients import add_client, remove_client
from csms.operations.register_station import NewStation, register_station
from csms.operations.send_command import NEEDED_SCOPES, send_command
from csms.ports.bus import SESSIONS_CLOSE
from csms.ports.records import StationOverview
from csms.ports.station_link import NoAnswer, NotConnected, StationRefused
from pki.wire import PkiRefused, PkiUnavailable, RefusalReason
from tests.fixtures.inside import EVERYTHING, PEPPERS, Inside, inside
from tests.unit.csms.operations.test_certificate_cycle import certificate_of, seen


def holding(*scopes: Scope) -> Principal:
    return Principal(client_id="narrow", name="narrow", scopes=frozenset(scopes))


async def register(house: Inside, **fields: Any) -> str | None:
    words: dict[str, Any] = {"identity": "CS-9", "serial_number": "SN-9", "security_profile": 2}
    new = NewStation(**words | fields)
    async with house.store.writing() as work:
        registered = await register_station(
            work,
            new,
            principal=EVERYTHING,
            now=house.clock.now(),
            randomness=house.randomness,
            peppers=PEPPERS,
            pki=house.pki,
        )
        await work.commit()
    return registered.password


async def change(house: Inside, identity: str, **changes: Any) -> StationOverview:
    async with house.store.writing() as work:
        overview = await change_station(
            work,
            identity,
            StationChanges(**changes),
            principal=EVERYTHING,
            now=house.clock.now(),
            pki=house.pki,
        )
        await work.commit()
    return overview


async def stored(house: Inside, station: Station) -> Station:
    async with house.store.reading() as work:
        found = await work.stations.by_id(station.id)
    assert found is not None
    return found


# --- register


def test_a_password_is_generated_shown_once_and_only_its_hash_kept(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        password = await register(house)
        assert password is not None
        assert len(password) == 40
        async with house.store.reading() as work:
            page = await work.stations.page(_everything(), limit=5, cursor=None)
        (overview,) = page.items
        (record,) = overview.station.passwords
        assert matching_record(password, [record], PEPPERS) is record
        assert password not in repr(overview)
        assert [r.serial_number for r in house.pki.registered] == ["SN-9"]

    inside(tmp_path, scene)


def _everything() -> Any:
    from csms.ports.records import StationFilter

    return StationFilter()


def test_profile_3_has_no_password(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        assert await register(house, security_profile=3) is None

    inside(tmp_path, scene)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("identity", ""),
        ("identity", "a" * 49),
        ("identity", "CS:1"),
        ("identity", "CS/1"),
        ("identity", ".."),
        ("identity", "CS 1"),
        ("identity", "CSß"),
        ("serial_number", ""),
        ("serial_number", "a" * 26),
        ("serial_number", "example.com"),
        ("serial_number", "10.0.0.1"),
        ("serial_number", "http://x"),
        ("serial_number", "localhost"),
        ("serial_number", "SN\x00"),
        ("security_profile", 0),
        ("security_profile", 4),
        ("registration_status", "accepted"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path: Path, field: str, value: object) -> None:
    async def scene(house: Inside) -> None:
        with pytest.raises(Invalid) as refusal:
            await register(house, **{field: value})
        assert [v.pointer for v in refusal.value.violations] == [f"/{field}"]
        assert house.pki.registered == []

    inside(tmp_path, scene)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        with pytest.raises(Invalid) as refusal:
            await register(house, identity="", serial_number="")
        assert len(refusal.value.violations) == 2

    inside(tmp_path, scene)


@pytest.mark.parametrize("twin", [{"identity": "cs-9"}, {"serial_number": "SN-9"}])
def test_a_taken_name_is_a_conflict(tmp_path: Path, twin: dict[str, str]) -> None:
    """`cs-9` and `CS-9` are one station (T8)."""

    async def scene(house: Inside) -> None:
        await register(house)
        with pytest.raises(Conflict):
            await register(house, **{"identity": "CS-10", "serial_number": "SN-10"} | twin)

    inside(tmp_path, scene)


def test_without_the_pki_nothing_is_registered(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        house.pki.fails = [PkiUnavailable("away")]
        with pytest.raises(PkiUnavailable):
            await register(house)
        house.pki.fails = [PkiRefused(RefusalReason.REQUEST_CONFLICT)]
        with pytest.raises(Conflict):
            await register(house)
        async with house.store.reading() as work:
            assert (await work.stations.page(_everything(), limit=5, cursor=None)).items == []

    inside(tmp_path, scene)


# --- change


def test_blocking_cuts_the_live_session(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        overview = await change(house, "cs-1", blocked=True)
        assert overview.station.blocked
        async with house.store.reading() as work:
            (event,) = await work.outbox.after(0, limit=5)
        assert event.topic == SESSIONS_CLOSE
        assert event.payload["station_id"] == str(station.id)
        await change(house, "cs-1", blocked=False)
        async with house.store.reading() as work:
            assert len(await work.outbox.after(0, limit=5)) == 1

    inside(tmp_path, scene)


@pytest.mark.parametrize(
    ("changes", "below"),
    [
        ({"registration_status": "Rejected"}, None),
        ({"registration_status": "Pending"}, None),
        ({"minimum_security_profile": 3, "security_profile": 3}, 3),
    ],
)
def test_a_session_that_would_not_be_let_in_again_is_cut(
    tmp_path: Path, changes: dict[str, Any], below: int | None
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        await change(house, "cs-1", **changes)
        async with house.store.reading() as work:
            (event,) = await work.outbox.after(0, limit=5)
        assert event.topic == SESSIONS_CLOSE
        assert event.payload["station_id"] == str(station.id)
        assert event.payload.get("below_profile") == below

    inside(tmp_path, scene)


@pytest.mark.parametrize("changes", [{"groups": ("a",)}, {"registration_status": "Accepted"}])
def test_other_changes_disturb_nobody(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def scene(house: Inside) -> None:
        await house.station(registration_status="Pending")
        await change(house, "cs-1", **changes)
        async with house.store.reading() as work:
            assert await work.outbox.after(0, limit=5) == []

    inside(tmp_path, scene)


def test_a_profile_is_raised_and_never_lowered(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        raised = await change(house, "CS-1", security_profile=3, minimum_security_profile=3)
        assert raised.station.minimum_security_profile is SecurityProfile.TLS_CERTIFICATE
        for lower in ({"security_profile": 2}, {"minimum_security_profile": 2}):
            with pytest.raises(Invalid):
                await change(house, "CS-1", **lower)

    inside(tmp_path, scene)


def test_a_serial_number_changes_only_while_no_certificate_carries_it(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        changed = await change(house, "CS-1", serial_number="SN-77")
        assert changed.station.serial_number == "SN-77"
        assert house.pki.registered[-1].serial_number == "SN-77"
        await certificate_of(house, station, 1, CertificateStatus.ACTIVE)
        with pytest.raises(Conflict):
            await change(house, "CS-1", serial_number="SN-78")

    inside(tmp_path, scene)


@pytest.mark.parametrize("identity", ["CS-404", "../CS-1", ""])
def test_what_is_not_there_is_not_found(tmp_path: Path, identity: str) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        with pytest.raises(NotFound):
            await change(house, identity, blocked=True)

    inside(tmp_path, scene)


def test_a_station_with_certificates_is_not_deleted(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station, other = await house.station("CS-1"), await house.station("CS-2")
        await certificate_of(house, station, 1, CertificateStatus.ACTIVE)
        async with house.store.writing() as work:
            with pytest.raises(Conflict):
                await delete_station(work, "CS-1", principal=EVERYTHING, now=house.clock.now())
        async with house.store.writing() as work:
            await delete_station(work, "CS-2", principal=EVERYTHING, now=house.clock.now())
            await work.commit()
        async with house.store.reading() as work:
            assert await work.stations.by_id(other.id) is None
            assert await work.stations.by_id(station.id) is not None

    inside(tmp_path, scene)


def test_a_disconnect_is_audited_whether_or_not_there_was_a_session(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        for connected in (True, False):
            house.link.connected = connected
            closed = await disconnect_station(
                house.store, house.link, "CS-1", principal=EVERYTHING, clock=house.clock
            )
            assert closed is connected
        assert len(await house.audited(AuditAction.STATION_DISCONNECT)) == 2

    inside(tmp_path, scene)


# --- password


async def claimed(house: Inside, station: Station, profile: int = 2) -> None:
    async with house.store.writing() as work:
        await work.sessions.claim(
            station_id=station.id,
            node="n",
            profile=SecurityProfile(profile),
            certificate_id=None,
            peer="127.0.0.1",
            at=house.clock.now(),
        )
        await work.commit()


async def new_password(house: Inside) -> Any:
    return await change_password(
        house.store,
        house.link,
        "CS-1",
        principal=EVERYTHING,
        clock=house.clock,
        randomness=house.randomness,
        peppers=PEPPERS,
    )


def result(status: str) -> dict[str, Any]:
    return {"setVariableResult": [{"attributeStatus": status}]}


@pytest.mark.parametrize(
    ("answer", "old_works", "new_works"),
    [
        (result("Accepted"), False, True),  # A01.FR.03
        (result("Rejected"), True, False),  # A01.FR.04
        (result("UnknownVariable"), True, False),
        (result("RebootRequired"), True, True),
        (NoAnswer("silence"), True, True),
        (StationRefused("NotSupported", ""), True, False),
        (NotConnected("gone"), True, False),
    ],
)
def test_which_password_works_after_which_answer(
    tmp_path: Path, answer: dict[str, Any] | Exception, old_works: bool, new_works: bool
) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        await claimed(house, station)
        both_work: list[int] = []

        async def while_asking() -> None:
            both_work.append(len((await stored(house, station)).passwords))

        house.link.before_answering = while_asking
        house.link.answers = [answer]
        if isinstance(answer, Exception):
            with pytest.raises(type(answer)):
                await new_password(house)
        else:
            shown = await new_password(house)
            assert list(shown) == ["status"], "the new password is never in the answer"
        assert both_work == [2], "either opens the door while nobody knows (A11)"
        sent = house.link.calls[0][2]["setVariableData"][0]["attributeValue"]
        records = (await stored(house, station)).passwords
        assert (matching_record(sent, records, PEPPERS) is not None) is new_works
        assert (station.passwords[0] in records) is old_works
        assert all(sent not in str(e) for e in await house.audited(_PASSWORD))

    inside(tmp_path, scene)


_PASSWORD = AuditAction.STATION_PASSWORD_CHANGE


def test_a_pending_password_that_opened_the_door_is_the_only_one_left(tmp_path: Path) -> None:
    """A01.FR.03 by use, when the answer to SetVariables was lost (conflict 8)."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        await claimed(house, station)
        house.link.answers = [NoAnswer("silence")]
        with pytest.raises(NoAnswer):
            await new_password(house)
        sent = house.link.calls[0][2]["setVariableData"][0]["attributeValue"]
        await seen(house, station, None, profile=2, proved_password=None)
        assert len((await stored(house, station)).passwords) == 2, "the old one proves nothing"
        pending = (await stored(house, station)).passwords[-1]
        await seen(house, station, None, profile=2, proved_password=pending.salt.hex())
        (left,) = (await stored(house, station)).passwords
        assert matching_record(sent, [left], PEPPERS) is left
        assert not left.pending

    inside(tmp_path, scene)


async def twice_unanswered(house: Inside, station: Station) -> list[str]:
    """Two changes whose answers were lost; the passwords that were sent."""
    await claimed(house, station)
    house.link.answers = [NoAnswer("silence"), NoAnswer("silence")]
    for _ in range(2):
        with pytest.raises(NoAnswer):
            await new_password(house)
    return [call[2]["setVariableData"][0]["attributeValue"] for call in house.link.calls]


@pytest.mark.parametrize(("used", "left"), [(1, [1, 2]), (2, [2])])
def test_the_password_that_was_used_is_the_one_that_stays(
    tmp_path: Path, used: int, left: list[int]
) -> None:
    """A11: of two undecided changes the station applied the first; it must not be locked out."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        sent = await twice_unanswered(house, station)
        slots = (await stored(house, station)).passwords
        await seen(house, station, None, profile=2, proved_password=slots[used].salt.hex())
        kept = (await stored(house, station)).passwords
        assert [slot.salt for slot in kept] == [slots[index].salt for index in left]
        proved = matching_record(sent[used - 1], kept, PEPPERS)
        assert proved is not None
        assert not proved.pending

    inside(tmp_path, scene)


def test_proving_a_password_and_a_profile_at_once_keeps_both(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station(profile=1)
        await claimed(house, station, profile=2)
        house.link.answers = [NoAnswer("silence")]
        with pytest.raises(NoAnswer):
            await new_password(house)
        salt = (await stored(house, station)).passwords[-1].salt
        await seen(house, station, None, profile=2, proved_password=salt.hex())
        after = await stored(house, station)
        assert [slot.salt for slot in after.passwords] == [salt]
        assert after.minimum_security_profile is SecurityProfile.TLS_BASIC

    inside(tmp_path, scene)


def test_two_changes_at_once_leave_the_one_the_station_took_last(tmp_path: Path) -> None:
    """The answer to the first change must not drop the slot of the second, on its way already."""

    async def scene(house: Inside) -> None:
        station = await house.station()
        await claimed(house, station)
        house.link.answers = [result("Accepted"), result("Accepted")]
        working: list[bool] = []

        async def second() -> None:
            house.link.before_answering = None
            await new_password(house)

        house.link.before_answering = second
        await new_password(house)
        sent = [call[2]["setVariableData"][0]["attributeValue"] for call in house.link.calls]
        records = (await stored(house, station)).passwords
        working = [matching_record(each, records, PEPPERS) is not None for each in sent]
        assert working == [False, True], "the second was answered first, and by then it held"

    inside(tmp_path, scene)


def test_a_password_is_not_sent_where_it_could_be_read(tmp_path: Path) -> None:
    """E05."""

    async def scene(house: Inside) -> None:
        station = await house.station(profile=1)
        with pytest.raises(NotConnected):
            await new_password(house)
        await claimed(house, station, profile=1)
        with pytest.raises(Conflict):
            await new_password(house)
        assert house.link.calls == []

    inside(tmp_path, scene)


def test_undecided_changes_do_not_pile_up(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        station = await house.station()
        await claimed(house, station)
        house.link.answers = [NoAnswer(""), NoAnswer("")]
        for _ in range(2):
            with pytest.raises(NoAnswer):
                await new_password(house)
        with pytest.raises(Conflict):
            await new_password(house)
        assert station.passwords[0] in (await stored(house, station)).passwords

    inside(tmp_path, scene)


# --- commands


async def send(
    house: Inside, action: str, payload: dict[str, Any], principal: Principal = EVERYTHING
) -> Any:
    return await send_command(
        house.store, house.link, "CS-1", action, payload, principal=principal, clock=house.clock
    )


def test_a_command_is_audited_before_it_leaves(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        rows: list[int] = []

        async def look() -> None:
            rows.append(len(await house.audited(AuditAction.COMMAND_SEND)))

        house.link.before_answering = look
        house.link.answers = [{"status": "Accepted"}]
        answer = await send(house, "TriggerMessage", {"requestedMessage": "Heartbeat"})
        assert answer == {"status": "Accepted"}
        assert rows == [1]

    inside(tmp_path, scene)


def test_a_command_that_fails_leaves_a_second_row(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        house.link.answers = [NoAnswer("silence")]
        with pytest.raises(NoAnswer):
            await send(house, "TriggerMessage", {"requestedMessage": "Heartbeat"})
        outcomes = [e.record.outcome for e in await house.audited(AuditAction.COMMAND_SEND)]
        assert outcomes == [Outcome.SUCCESS, Outcome.FAILED]

    inside(tmp_path, scene)


@pytest.mark.parametrize("action", ["Heartbeat", "BootNotification", "reset", "Nonsense", ""])
def test_only_what_a_csms_may_say_is_a_command(tmp_path: Path, action: str) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        with pytest.raises(NotFound):
            await send(house, action, {})

    inside(tmp_path, scene)


@pytest.mark.parametrize("action", list(NEEDED_SCOPES))
def test_dangerous_commands_need_their_own_scope(tmp_path: Path, action: str) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        with pytest.raises(Forbidden):
            await send(house, action, {}, holding(Scope.COMMANDS_SEND))
        assert house.link.calls == []
        (entry,) = await house.audited(AuditAction.COMMAND_SEND)
        assert entry.record.outcome is Outcome.REFUSED

    inside(tmp_path, scene)


def set_variables(component: str, variable: str) -> dict[str, Any]:
    data = {
        "component": {"name": component},
        "variable": {"name": variable},
        "attributeValue": "x" * 16,
    }
    return {"setVariableData": [data]}


@pytest.mark.parametrize(
    ("action", "payload", "pointer"),
    [
        ("Reset", {}, "/type"),
        ("Reset", {"type": "Hard"}, "/type"),
        ("SetVariables", set_variables("SecurityCtrlr", "BasicAuthPassword"), "/setVariableData/0"),
        ("SetVariables", set_variables("securityctrlr", "BASICAUTHPASSWORD"), "/setVariableData/0"),
        (
            "SetVariables",
            set_variables("SecurityCtrlr", "AllowSecurityProfileDowngrade"),
            "/setVariableData/0",
        ),
        ("CertificateSigned", {"certificateChain": "x"}, ""),
        (
            "InstallCertificate",
            {"certificateType": "CSMSRootCertificate", "certificate": "nonsense"},
            "/certificate",
        ),
    ],
)
def test_what_may_not_be_sent_is_refused_with_a_pointer(
    tmp_path: Path, action: str, payload: dict[str, Any], pointer: str
) -> None:
    async def scene(house: Inside) -> None:
        await house.station()
        with pytest.raises(Invalid) as refusal:
            await send(house, action, payload)
        assert pointer in [v.pointer for v in refusal.value.violations]
        assert house.link.calls == []

    inside(tmp_path, scene)


def certificate(*, ca: bool, self_signed: bool = True) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(house_now())
        .not_valid_after(house_now().replace(year=2030))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    signer = key if self_signed else ec.generate_private_key(ec.SECP256R1())
    made = builder.sign(signer, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def house_now() -> Any:
    from tests.fixtures.inside import START

    return START


def test_roots_can_be_installed_and_nothing_else(tmp_path: Path) -> None:
    """A station never lets go of an installed non-root."""

    async def scene(house: Inside) -> None:
        await house.station()
        house.link.answers = [{"status": "Accepted"}]
        root = {"certificateType": "CSMSRootCertificate", "certificate": certificate(ca=True)}
        assert await send(house, "InstallCertificate", root) == {"status": "Accepted"}
        for bad in (certificate(ca=False), certificate(ca=True, self_signed=False)):
            with pytest.raises(Invalid):
                await send(house, "InstallCertificate", root | {"certificate": bad})
        assert len(house.link.calls) == 1

    inside(tmp_path, scene)


# --- OAuth clients


def test_a_client_is_made_with_a_secret_that_is_not_kept(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        async with house.store.writing() as work:
            client, secret = await add_client(
                work,
                name="audit",
                roles=["auditor"],
                scopes=["stations:write"],
                principal=EVERYTHING,
                now=house.clock.now(),
                randomness=house.randomness,
            )
            await work.commit()
        assert client.scopes == ROLE_SCOPES[Role.AUDITOR] | {Scope.STATIONS_WRITE}
        assert len(secret) >= 43, "256 bits"
        assert secret not in repr(client)
        async with house.store.writing() as work:
            await remove_client(work, client.client_id, principal=EVERYTHING, now=house.clock.now())
            await work.commit()
        async with house.store.writing() as work:
            with pytest.raises(NotFound):
                await remove_client(
                    work, client.client_id, principal=EVERYTHING, now=house.clock.now()
                )

    inside(tmp_path, scene)


@pytest.mark.parametrize(
    ("roles", "scopes", "pointer"),
    [(["root"], [], "/roles/0"), ([], ["stations:read", "all"], "/scopes/1"), ([], [], "")],
)
def test_unknown_roles_and_scopes_are_named(
    tmp_path: Path, roles: list[str], scopes: list[str], pointer: str
) -> None:
    async def scene(house: Inside) -> None:
        async with house.store.writing() as work:
            with pytest.raises(Invalid) as refusal:
                await add_client(
                    work,
                    name="x",
                    roles=roles,
                    scopes=scopes,
                    principal=EVERYTHING,
                    now=house.clock.now(),
                    randomness=house.randomness,
                )
        assert [v.pointer for v in refusal.value.violations] == [pointer]

    inside(tmp_path, scene)


def test_nobody_hands_out_what_they_do_not_hold(tmp_path: Path) -> None:
    async def scene(house: Inside) -> None:
        manager = replace(EVERYTHING, scopes=frozenset({Scope.CLIENTS_MANAGE}))
        async with house.store.writing() as work:
            with pytest.raises(Forbidden):
                await add_client(
                    work,
                    name="x",
                    roles=["administrator"],
                    scopes=[],
                    principal=manager,
                    now=house.clock.now(),
                    randomness=house.randomness,
                )

    inside(tmp_path, scene)
