"""The station against a real server over real sockets and TLS: connect, boot, enrol, come back."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from station import device_model as dm
from station.client import ChargingStation
from station.clock import Clock
from station.connecting import Refusal
from station.effects import Milestone
from station.history import History
from station.keystore import CertificateChoice, KeyStore, StationCertificate
from station.link import CallAnsweredWithError, LinkClosed
from station.misbehaviour import Misbehaviour
from station.network import NetworkProfile
from station.state import Registration, StationConfig
from tests.unit.station.csms_double import CSMS, Issuer, boot, pem, until

PASSWORD = "correct-horse-battery"
# Protocol seconds pass a hundred times faster, except where a test waits for real ones.
FAST = Clock(scale=0.01)


def station_of(csms: CSMS, profile: int = 2, **options: Any) -> ChargingStation:
    parts = {
        name: options.pop(name)
        for name in ("keystore", "clock", "misbehaviour", "csms_roots", "rng", "history")
        if name in options
    }
    config = StationConfig(
        url=csms.url(profile),
        identity="CS001",
        serial_number="SN001",
        security_profile=profile,
        **{"password": PASSWORD, **options},
    )
    csms.passwords.setdefault("CS001", PASSWORD)
    roots = parts.pop("csms_roots", [csms.root.certificate])
    return ChargingStation(config, csms_roots=roots, **{"clock": FAST, **parts})


def talk(tmp_path: Path, scene: Callable[[CSMS], Coroutine[Any, Any, None]]) -> None:
    """Runs one scene with a listening CSMS, within ten seconds."""

    async def main() -> None:
        async with asyncio.timeout(20), CSMS(tmp_path).listening() as csms:
            await scene(csms)

    asyncio.run(main())


async def enrolled(csms: CSMS, station: ChargingStation, **options: Any) -> None:
    await station.wait_for("boot_accepted")
    assert await csms.rotate(**options) == {"status": "Accepted"}
    await station.wait_for("certificate_installed")


def test_boots_on_profile_2_and_reports_its_connectors(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        station = station_of(csms, evses=2)
        async with station.running():
            await station.wait_for("boot_accepted")
            await until(lambda: len(csms.received["SecurityEventNotification"]) == 1)
            sent = csms.received["BootNotification"][0]
            assert sent["chargingStation"]["serialNumber"] == "SN001"
            assert sent["reason"] == "PowerUp"
            assert {item["evseId"] for item in csms.received["StatusNotification"]} == {1, 2}
            event = csms.received["SecurityEventNotification"][0]
            assert event["type"] == "StartupOfTheDevice"
            assert station.state.registration is Registration.ACCEPTED

    talk(tmp_path, scene)


def test_connects_on_profile_1_without_tls(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms, profile=1, csms_roots=[]).running() as station:
            await station.wait_for("boot_accepted")
            assert csms.peers == [""]

    talk(tmp_path, scene)


def test_pending_station_boots_again_after_the_interval_and_says_nothing_else(
    tmp_path: Path,
) -> None:
    words = iter(["Pending", "Rejected", "Accepted"])

    async def scene(csms: CSMS) -> None:
        csms.answers["BootNotification"] = lambda _: boot(next(words), interval=10)
        async with station_of(csms).running() as station:
            await station.wait_for("boot_pending")
            await station.wait_for("boot_rejected")
            assert not csms.received["StatusNotification"]
            await station.wait_for("boot_accepted")
            assert len(csms.received["BootNotification"]) == 3

    talk(tmp_path, scene)


def test_trigger_while_pending_brings_the_boot_and_the_csr_forward(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        csms.answers["BootNotification"] = lambda _: boot("Pending", interval=10_000)
        async with station_of(csms).running() as station:
            await station.wait_for("boot_pending")
            await csms.sign_when_asked()
            csms.answers["BootNotification"] = lambda _: boot("Accepted")
            answer = await csms.call("TriggerMessage", {"requestedMessage": "BootNotification"})
            assert answer == {"status": "Accepted"}
            await station.wait_for("boot_accepted")
            again = await csms.call("TriggerMessage", {"requestedMessage": "BootNotification"})
            assert again == {"status": "Rejected"}

    talk(tmp_path, scene)


@pytest.mark.parametrize("code", [401, 403, 503])
def test_refused_upgrade_shows_its_status_and_is_tried_again(tmp_path: Path, code: int) -> None:
    async def scene(csms: CSMS) -> None:
        csms.refuse_with = [code]
        async with station_of(csms).running() as station:
            await station.wait_for("connected")
            refusal = station.last_refusal
            assert isinstance(refusal, Refusal)
            assert (refusal.status, refusal.body) == (code, b"refused\n")
            assert refusal.retry_after == (7 if code == 503 else None)

    talk(tmp_path, scene)


def test_wrong_password_is_refused_with_401_for_ever(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms, password="wrong-password-here").running() as station:
            await station.wait_for("refused", times=3)
            assert {item.status for item in station.refusals} == {401}
            assert not station.connected

    talk(tmp_path, scene)


def test_server_of_another_root_is_not_trusted_and_reported_later(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        stranger = Issuer.root("Somebody else")
        async with station_of(csms, csms_roots=[stranger.certificate]).running() as station:
            await station.wait_for("refused", times=2)
            refusal = station.refusals[0]
            assert refusal.bad_server
            assert "server certificate" in refusal.reason
            station.keystore.install_root("CSMSRootCertificate", csms.root.certificate)
            await station.wait_for("boot_accepted")
            await until(lambda: len(csms.received["SecurityEventNotification"]) == 2)
            kinds = [item["type"] for item in csms.received["SecurityEventNotification"]]
            assert sorted(kinds) == ["InvalidCsmsCertificate", "StartupOfTheDevice"]

    talk(tmp_path, scene)


def test_server_with_another_host_name_is_not_trusted(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        station = station_of(csms)
        by_address = csms.url(2).replace("localhost", "127.0.0.1")
        station.state.network.slots[1] = NetworkProfile(by_address, 2)
        async with station.running():
            await station.wait_for("refused")
            assert "mismatch" in station.refusals[0].reason
            assert csms.connections == []

    talk(tmp_path, scene)


def test_back_off_doubles_and_ends_with_the_connection(tmp_path: Path) -> None:
    """RetryBackOff*: 5, 10, 20, 40 … plus at most 10 of jitter, from the injected generator."""

    async def scene(csms: CSMS) -> None:
        csms.refuse_with = [500] * 4
        station = station_of(csms, rng=random.Random(7))
        async with station.running():
            await station.wait_for("connected")
            waits = [entry["seconds"] for entry in station.history.of("back_off")]
            jitter = random.Random(7)
            expected = [5 * 2**n + jitter.uniform(0, 10) for n in range(4)]
            assert waits == [round(item, 3) for item in expected]
            station.drop()
            await station.wait_for("connected", times=2)
            assert station.history.of("back_off")[-1]["seconds"] <= 15

    talk(tmp_path, scene)


def test_reconnects_without_boot_after_the_socket_is_lost(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            csms.connections[-1].transport.abort()
            await station.wait_for("connected", times=2)
            await station.call("Heartbeat", {})
            assert len(csms.received["BootNotification"]) == 1

    talk(tmp_path, scene)


def test_security_event_survives_the_connection_it_was_queued_on(tmp_path: Path) -> None:
    """A04.FR.02: unanswered is undelivered."""

    async def scene(csms: CSMS) -> None:
        csms.answers["SecurityEventNotification"] = lambda _: None
        async with station_of(csms).running() as station:
            await until(lambda: len(csms.received["SecurityEventNotification"]) == 1)
            csms.answers["SecurityEventNotification"] = lambda _: {}
            csms.connections[-1].transport.abort()
            await until(lambda: len(csms.received["SecurityEventNotification"]) == 2)
            first, second = csms.received["SecurityEventNotification"]
            assert first == second
            assert station.count(Milestone.BOOT_ACCEPTED) == 1

    talk(tmp_path, scene)


def test_enrols_on_profile_2_and_comes_back_by_mutual_tls_when_configured(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        station = station_of(csms, profile3_url=csms.url(3), upgrade=True)
        async with station.running():
            await enrolled(csms, station)
            await station.wait_for("enrolled")
            await station.wait_for("boot_accepted", times=2)
            assert station.certificate is not None
            assert csms.peers == ["", station.certificate.serial]
            assert station.security_profile == 3
            # A05.FR.06: the lower slot is gone.
            assert list(station.state.network.slots) == [2]

    talk(tmp_path, scene)


def test_without_upgrade_it_stays_on_profile_2_with_its_certificate(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms, profile3_url=csms.url(3)).running() as station:
            await enrolled(csms, station)
            await station.call("Heartbeat", {})
            assert station.security_profile == 2
            assert len(csms.connections) == 1

    talk(tmp_path, scene)


def test_csms_walks_the_station_to_profile_3_by_slot_priority_and_reset(tmp_path: Path) -> None:
    """TC_A_19's order: certificate, SetNetworkProfile, priority, Reset."""

    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await enrolled(csms, station)
            profile = {
                "configurationSlot": 2,
                "connectionData": {
                    "ocppVersion": "OCPP20",
                    "ocppTransport": "JSON",
                    "ocppCsmsUrl": csms.url(3),
                    "messageTimeout": 30,
                    "securityProfile": 3,
                    "ocppInterface": "Wired0",
                },
            }
            assert await csms.call("SetNetworkProfile", profile) == {"status": "Accepted"}
            answer = await csms.call(
                "SetVariables",
                variables("OCPPCommCtrlr", "NetworkConfigurationPriority", "2,1"),
            )
            assert answer["setVariableResult"][0]["attributeStatus"] == "Accepted"
            assert await csms.call("Reset", {"type": "Immediate"}) == {"status": "Accepted"}
            await station.wait_for("enrolled")
            await until(lambda: len(csms.received["BootNotification"]) == 2)
            assert csms.received["BootNotification"][1]["reason"] == "RemoteReset"
            assert csms.peers[-1] == station.certificate.serial  # type: ignore[union-attr]

    talk(tmp_path, scene)


def variables(component: str, variable: str, value: str) -> dict[str, Any]:
    return {
        "setVariableData": [
            {
                "component": {"name": component},
                "variable": {"name": variable},
                "attributeValue": value,
            }
        ]
    }


async def on_profile_3(csms: CSMS, station: ChargingStation, **options: Any) -> None:
    await enrolled(csms, station, **options)
    await station.wait_for("boot_accepted", times=2)


def upgrading(csms: CSMS, **options: Any) -> ChargingStation:
    return station_of(csms, profile3_url=csms.url(3), upgrade=True, **options)


def test_rotation_on_profile_3_reconnects_at_once_with_the_new_and_drops_the_old(
    tmp_path: Path,
) -> None:
    async def scene(csms: CSMS) -> None:
        async with upgrading(csms).running() as station:
            await on_profile_3(csms, station)
            old = csms.peers[-1]
            assert await csms.rotate() == {"status": "Accepted"}
            await station.wait_for("enrolled", times=2)
            assert csms.peers[-1] != old
            assert len(station.keystore.certificates) == 1
            assert len(csms.received["BootNotification"]) == 2, "no boot on a mere reconnect"

    talk(tmp_path, scene)


def test_falls_back_to_the_old_certificate_when_the_new_is_refused(tmp_path: Path) -> None:
    """A02.FR.28-29: alternate, discard the one that does not work, and say so."""

    async def scene(csms: CSMS) -> None:
        async with upgrading(csms).running() as station:
            await on_profile_3(csms, station)
            old = csms.peers[-1]
            await csms.sign_when_asked()
            chain = csms.issue(csms.received["SignCertificate"][-1]["csr"])
            new = x509.load_pem_x509_certificate(chain.encode()).serial_number
            csms.distrusted_serials.add(new)
            await csms.call("CertificateSigned", {"certificateChain": chain})
            await station.wait_for("enrolled", times=2)
            assert csms.peers[-1] == old
            assert station.last_refusal is not None
            assert station.last_refusal.status == 403
            assert station.count("certificate_discarded") == 1
            await until(
                lambda: (
                    csms.received["SecurityEventNotification"][-1]["type"]
                    == "DiscardedRenewedClientCertificate"
                )
            )

    talk(tmp_path, scene)


def test_station_that_prefers_the_latest_not_after_accepts_and_goes_on_with_the_old(
    tmp_path: Path,
) -> None:
    """Field lessons 11: an Accepted proves nothing."""

    async def scene(csms: CSMS) -> None:
        choice = CertificateChoice.LATEST_NOT_AFTER
        async with upgrading(csms, certificate_choice=choice).running() as station:
            await on_profile_3(csms, station, days=365)
            old = csms.peers[-1]
            assert await csms.rotate(days=90) == {"status": "Accepted"}
            await station.wait_for("enrolled", times=2)
            assert csms.peers[-1] == old
            assert len(station.keystore.certificates) == 2

    talk(tmp_path, scene)


def test_restart_goes_on_with_the_stored_certificate_password_and_profile(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        first = upgrading(csms, data=(data := tmp_path / "station"))
        async with first.running():
            await on_profile_3(csms, first)
        second = station_of(csms, data=data, password=None, csms_roots=[])
        async with second.running():
            await second.wait_for("boot_accepted")
            assert second.security_profile == 3
            assert csms.peers[-1] == first.certificate.serial  # type: ignore[union-attr]
        for path in data.rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o777 == 0o600, path

    talk(tmp_path, scene)


def test_password_set_by_the_csms_is_used_at_once(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            new = "another-password-1"
            csms.passwords["CS001"] = new
            answer = await csms.call(
                "SetVariables", variables("SecurityCtrlr", "BasicAuthPassword", new)
            )
            assert answer["setVariableResult"][0]["attributeStatus"] == "Accepted"
            await station.wait_for("connected", times=2)
            assert not station.refusals
            assert new not in str(list(station.history.entries))

    talk(tmp_path, scene)


def test_rejected_password_changes_nothing(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            answer = await csms.call(
                "SetVariables", variables("SecurityCtrlr", "BasicAuthPassword", "short")
            )
            assert answer["setVariableResult"][0]["attributeStatus"] == "Rejected"
            assert station.state.password == PASSWORD
            await station.call("Heartbeat", {})
            assert len(csms.connections) == 1

    talk(tmp_path, scene)


def test_unanswered_csr_is_repeated_with_doubled_waits_and_then_given_up(tmp_path: Path) -> None:
    """A02.FR.17-19, with the same CSR, as signing must be idempotent per CSR."""

    async def scene(csms: CSMS) -> None:
        settings = {dm.SIGNING_WAIT_MINIMUM: "5", dm.SIGNING_REPEAT_TIMES: "2"}
        async with station_of(csms, variables=settings).running() as station:
            await station.wait_for("boot_accepted")
            started = FAST.elapsed()
            await csms.sign_when_asked()
            await until(lambda: len(csms.received["SignCertificate"]) == 3)
            assert FAST.elapsed() - started >= 5 + 10
            await asyncio.sleep(FAST.real(60))
            assert len(csms.received["SignCertificate"]) == 3
            assert len({item["csr"] for item in csms.received["SignCertificate"]}) == 1

    talk(tmp_path, scene)


def test_rejected_csr_is_not_repeated(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        csms.answers["SignCertificate"] = lambda _: {"status": "Rejected"}
        settings = {dm.SIGNING_WAIT_MINIMUM: "1"}
        async with station_of(csms, variables=settings).running() as station:
            await station.wait_for("boot_accepted")
            await csms.sign_when_asked()
            await station.wait_for("csr_rejected")
            await asyncio.sleep(FAST.real(20))
            assert len(csms.received["SignCertificate"]) == 1

    talk(tmp_path, scene)


def test_certificate_after_more_than_an_hour_finds_no_key(tmp_path: Path) -> None:
    """Field lessons 4."""

    async def scene(csms: CSMS) -> None:
        clock = Clock(scale=0.0001)
        settings = {dm.SIGNING_REPEAT_TIMES: "0", dm.MESSAGE_TIMEOUT: "30000"}
        async with station_of(csms, clock=clock, variables=settings).running() as station:
            await station.wait_for("boot_accepted")
            await csms.sign_when_asked()
            await station.wait_for("csr_sent")
            await asyncio.sleep(clock.real(3700))
            chain = csms.issue(csms.received["SignCertificate"][-1]["csr"])
            answer = await csms.call("CertificateSigned", {"certificateChain": chain})
            assert answer["status"] == "Rejected"
            assert station.keystore.pending == []

    talk(tmp_path, scene)


def test_chain_under_a_root_the_station_lacks_is_rejected_with_an_event(tmp_path: Path) -> None:
    """Field lessons 5: the new root must be installed first."""

    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            other = Issuer.root("New Root")
            ours, csms.issuing = csms.issuing, other.issuing_ca("New Issuing CA")
            assert ours != csms.issuing
            answer = await csms.rotate()
            assert answer["status"] == "Rejected"
            await until(
                lambda: (
                    csms.received["SecurityEventNotification"][-1]["type"]
                    == "InvalidChargingStationCertificate"
                )
            )
            install = {"certificateType": "CSMSRootCertificate", "certificate": other.pem}
            assert await csms.call("InstallCertificate", install) == {"status": "Accepted"}
            assert await csms.rotate() == {"status": "Accepted"}

    talk(tmp_path, scene)


def test_renews_by_itself_below_thirty_days(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with upgrading(csms).running() as station:
            await on_profile_3(csms, station, days=20)
            # The check after the next 12 hours finds 20 days left.
            station._duties._renewal_check_at = 0.0
            station._duties._wake.set()
            await until(lambda: len(csms.received["SignCertificate"]) == 2)

    talk(tmp_path, scene)


def test_no_renewal_above_thirty_days(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with upgrading(csms).running() as station:
            await on_profile_3(csms, station, days=40)
            station._duties._renewal_check_at = 0.0
            station._duties._wake.set()
            await until(lambda: station._duties._renewal_check_at > 0)
            await station.call("Heartbeat", {})
            assert len(csms.received["SignCertificate"]) == 1

    talk(tmp_path, scene)


def test_csr_carries_what_an_everest_station_puts_there(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        station = station_of(csms, country="DE", organization="Example CSO", domain_component="CPO")
        async with station.running():
            await station.wait_for("boot_accepted")
            await csms.call(
                "SetVariables", variables("SecurityCtrlr", "OrganizationName", "Other CSO")
            )
            await csms.sign_when_asked()
            csr = x509.load_pem_x509_csr(csms.received["SignCertificate"][0]["csr"].encode())
            assert csr.is_signature_valid
            names = {item.oid: item.value for item in csr.subject}
            assert names == {
                NameOID.COUNTRY_NAME: "DE",
                NameOID.ORGANIZATION_NAME: "Other CSO",
                NameOID.COMMON_NAME: "SN001",
                NameOID.DOMAIN_COMPONENT: "CPO",
            }

    talk(tmp_path, scene)


def test_trigger_is_accepted_even_when_no_csr_can_follow(tmp_path: Path) -> None:
    """Field lessons 13: the CSMS needs a timeout of its own."""

    async def scene(csms: CSMS) -> None:
        async with station_of(csms, requires_organization=True).running() as station:
            await station.wait_for("boot_accepted")
            request = {"requestedMessage": "SignChargingStationCertificate"}
            assert await csms.call("TriggerMessage", request) == {"status": "Accepted"}
            await until(lambda: station.history.of("no_csr") != [])
            assert csms.received["SignCertificate"] == []

    talk(tmp_path, scene)


def test_call_answered_with_callerror_raises_its_code(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            csms.answers["Authorize"] = lambda _: {"!": [4, "", "SecurityError", "no", {}]}
            with pytest.raises(CallAnsweredWithError) as caught:
                await station.call("Authorize", {})
            assert caught.value.code == "SecurityError"
        with pytest.raises(LinkClosed):
            await station.call("Heartbeat", {})

    talk(tmp_path, scene)


def test_deflate_is_offered_only_when_switched_on(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        for deflate in (True, False):
            async with station_of(csms, deflate=deflate).running() as station:
                await station.wait_for("boot_accepted")
        assert "permessage-deflate" in csms.extensions[0]
        assert csms.extensions[1] == "None"

    talk(tmp_path, scene)


def test_history_tells_sent_acked_and_applied_in_order(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        history = History(keep=100)
        async with station_of(csms, history=history).running() as station:
            await enrolled(csms, station)
        events = [(e["event"], e.get("action", e.get("what"))) for e in history.entries]
        order = [
            ("sent", "BootNotification"),
            ("acked", "BootNotification"),
            ("sent", "SignCertificate"),
            ("received", "CertificateSigned"),
            ("applied", "certificate_installed"),
        ]
        places = [events.index(item) for item in order]
        assert places == sorted(places)
        assert all("payload" not in entry for entry in history.entries)

    talk(tmp_path, scene)


def test_profile_3_without_or_with_a_foreign_certificate_is_refused_by_tls(
    tmp_path: Path,
) -> None:
    """asyncio's TLS server hangs up without sending the alert, so only that can be said."""

    async def scene(csms: CSMS) -> None:
        foreign = Issuer.root("Foreign Root")
        key = KeyStore().new_pending_key(now=0)
        stranger = StationCertificate((foreign.sign("SN001", key.public_key()),), key)
        shown: list[StationCertificate]
        for shown in ([], [stranger]):
            keystore = KeyStore(certificates=list(shown))
            async with station_of(csms, profile=3, keystore=keystore).running() as station:
                await station.wait_for("refused")
                refusal = station.refusals[0]
                assert refusal.no_answer
                assert refusal.status is None
                assert not refusal.bad_server
        assert csms.connections == []

    talk(tmp_path, scene)


def test_tls_alert_about_the_certificate_is_told(tmp_path: Path) -> None:
    """`openssl s_server` sends its alerts; in TLS 1.3 they come in place of the response."""

    async def scene(csms: CSMS) -> None:
        (tmp_path / "root.pem").write_text(csms.root.pem)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = await asyncio.create_subprocess_exec(
            *f"openssl s_server -accept 127.0.0.1:{port} -Verify 2 -verify_return_error".split(),
            *["-cert", str(tmp_path / "server.pem"), "-CAfile", str(tmp_path / "root.pem")],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        station = station_of(csms, profile=3)
        station.state.network.slots[1] = NetworkProfile(f"wss://localhost:{port}/ocpp", 3)
        try:
            async with station.running():
                while station.last_refusal is None or station.last_refusal.tls_error is None:
                    await station.wait_for("refused", times=station.count("refused") + 1)
            assert "CERTIFICATE_REQUIRED" in str(station.last_refusal.tls_error)
            assert station.last_refusal.about_credentials
        finally:
            server.kill()
            await server.wait()

    talk(tmp_path, scene)


def test_new_certificate_is_kept_when_the_server_only_hung_up(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        async with upgrading(csms).running() as station:
            await on_profile_3(csms, station)
            old = csms.peers[-1]
            await csms.sign_when_asked()
            chain = csms.issue(csms.received["SignCertificate"][-1]["csr"])
            csms.hang_up = 1
            await csms.call("CertificateSigned", {"certificateChain": chain})
            await station.wait_for("enrolled", times=2)
            assert csms.peers[-1] == old
            station.drop()
            await station.wait_for("enrolled", times=3)
            assert csms.peers[-1] != old
            assert station.count("certificate_discarded") == 0

    talk(tmp_path, scene)


# Misbehaviours


def test_station_with_a_foreign_serial_number_says_so_in_boot_and_csr(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        wrong = Misbehaviour.parse(["boot-serial=SN999", "csr-serial=SN998", "csr-ca"])
        wrong.csr_san = "csms.example.com"
        async with station_of(csms, misbehaviour=wrong).running() as station:
            await station.wait_for("boot_accepted")
            await csms.sign_when_asked()
            sent = csms.received["BootNotification"][0]["chargingStation"]["serialNumber"]
            assert sent == "SN999"
            csr = x509.load_pem_x509_csr(csms.received["SignCertificate"][0]["csr"].encode())
            assert csr.subject.rfc4514_string() == "CN=SN998"
            san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert san.value.get_values_for_type(x509.DNSName) == ["csms.example.com"]
            assert csr.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    talk(tmp_path, scene)


def test_switches_for_answers_work_in_the_middle_of_a_conversation(tmp_path: Path) -> None:
    heartbeat = {"requestedMessage": "Heartbeat"}

    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            station.misbehaviour.never_answer = True
            with pytest.raises(TimeoutError):
                await csms.call("TriggerMessage", heartbeat, wait=0.1)
            station.misbehaviour.never_answer = False
            station.misbehaviour.silent_actions = {"GetVariables"}
            with pytest.raises(TimeoutError):
                await csms.call("GetVariables", {"getVariableData": []}, wait=0.1)
            station.misbehaviour.wrong_message_id = True
            with pytest.raises(TimeoutError):
                await csms.call("TriggerMessage", heartbeat, wait=0.1)
            assert "nobody-asked-this" in csms.stray[-1]
            station.misbehaviour.wrong_message_id = False
            station.misbehaviour.garbage_frame = True
            with pytest.raises(TimeoutError):
                await csms.call("TriggerMessage", heartbeat, wait=0.1)
            assert csms.stray[-1] == '[3,"garbage'
            station.misbehaviour.garbage_frame = False
            station.misbehaviour.late_answer = 0.15
            with pytest.raises(TimeoutError):
                await csms.call("TriggerMessage", heartbeat, wait=0.05)
            assert await csms.call("TriggerMessage", heartbeat) == {"status": "Accepted"}

    talk(tmp_path, scene)


def test_refusing_station_rejects_a_good_certificate(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        wrong = Misbehaviour(refuse_certificate=True)
        async with station_of(csms, misbehaviour=wrong).running() as station:
            await station.wait_for("boot_accepted")
            assert (await csms.rotate())["status"] == "Rejected"
            assert station.keystore.certificates == []

    talk(tmp_path, scene)


def test_dropping_station_leaves_without_a_close_frame(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        for drop, code in ((True, 1006), (False, 1000)):
            wrong = Misbehaviour(drop_socket=drop)
            async with station_of(csms, misbehaviour=wrong).running() as station:
                await station.wait_for("boot_accepted")
                left = csms.connections[-1]
                assert await csms.call("Reset", {"type": "OnIdle"}) == {"status": "Accepted"}
                await station.wait_for("boot_accepted", times=2)
                await left.wait_closed()
                assert left.close_code == code

    talk(tmp_path, scene)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not json", "RpcFrameworkError"),
        ('[9,"x",{}]', "MessageTypeNotSupported"),
        ('[2,"x","Explode",{}]', "NotImplemented"),
        ('[2,"x","UnlockConnector",{}]', "NotSupported"),
        ('[2,"x","Reset",{}]', "OccurrenceConstraintViolation"),
        ('[2,"x","SetVariables",{"setVariableData":5}]', "TypeConstraintViolation"),
    ],
)
def test_bad_frames_from_the_csms_are_answered_with_the_right_callerror(
    tmp_path: Path, text: str, code: str
) -> None:
    async def scene(csms: CSMS) -> None:
        async with station_of(csms).running() as station:
            await station.wait_for("boot_accepted")
            await csms.connections[-1].send(text)
            await until(lambda: csms.stray != [])
            assert f'"{code}"' in csms.stray[0]
            await station.call("Heartbeat", {})

    talk(tmp_path, scene)


def test_failure_in_the_body_stops_the_station_and_stays_itself(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        station = station_of(csms)

        async def body() -> None:
            async with station.running():
                await station.wait_for("connected")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await body()
        assert not station.connected

    talk(tmp_path, scene)


def test_configuration_and_refusal_never_print_the_password(tmp_path: Path) -> None:
    async def scene(csms: CSMS) -> None:
        csms.refuse_with = [401]
        async with station_of(csms).running() as station:
            await station.wait_for("connected")
            shown = repr((station.config, station.state, station.refusals))
            assert PASSWORD not in shown
            assert PASSWORD not in repr(replace(station.config, identity="CS002"))

    talk(tmp_path, scene)


def test_pem_of_several_certificates_is_one_text() -> None:
    root = Issuer.root()
    assert pem(root.certificate, root.certificate) == root.pem * 2
