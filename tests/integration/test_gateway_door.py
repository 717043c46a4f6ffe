"""The door on real TLS sockets: who gets in, who does not, and what both leave behind."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from csms.domain.certificate import CertificateStatus
from csms.domain.station import SecurityProfile, Station
from tests.fixtures.gateway_house import (
    LOOPS,
    PASSWORD,
    House,
    World,
    basic,
    eventually,
    gone,
    house,
    run,
    upgrade,
)
from tests.fixtures.pki_small import ORGANIZATION, Leaf, SmallCA, name

CREDENTIALS = f"Authorization: {basic('cs001', PASSWORD)}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(params=sorted(LOOPS))
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def test_profile_2_admits_a_registered_station_with_its_password(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                assert client.subprotocol == "ocpp2.0.1"
                assert (await home.session(station)).epoch == 1
                assert client.response is not None
                assert "Server" not in client.response.headers
                assert "Date" not in client.response.headers
                assert home.gateway.health().sessions == 1
            assert await home.reasons() == [None]

    run(loop, main)


def test_profile_3_admits_the_certificate_of_the_station(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            record = await home.certify(station, leaf, status=CertificateStatus.DELIVERED)
            async with home.connect(3, "cs001", leaf=leaf):
                session = await home.session(station)
                assert session.certificate_id == record.id
                assert session.profile is SecurityProfile.TLS_CERTIFICATE
            now = datetime.now(UTC)
            async with home.store.writing() as work:
                jobs = await work.jobs.claim(now=now, lease_until=now, limit=10)
            # Seen for the first time: the worker is told what, by id.
            assert [job.payload["certificate_id"] for job in jobs] == [str(record.id)]
            assert jobs[0].payload["profile"] == 3

    run(loop, main)


def test_profile_1_admits_from_its_networks_only(loop: str, world: World, tmp_path: Path) -> None:
    async def main(networks: list[str], *, admitted: bool) -> None:
        settings = {"profile1_port": 0, "profile1_networks": networks}
        async with house(world, tmp_path, **settings) as home:
            if admitted:
                await home.add("CS001", "SN001", minimum=SecurityProfile.BASIC)
            answer = await first_bytes(home, 1, upgrade("/ocpp/cs001", CREDENTIALS))
            assert answer.startswith(b"HTTP/1.1 101 ") == admitted
            assert await home.reasons() == ([None] if admitted else [None, "network"])

    run(loop, lambda: main(["127.0.0.0/8"], admitted=True))
    run(loop, lambda: main(["10.0.0.0/8"], admitted=False))


async def first_bytes(home: House, profile: int, request: bytes) -> bytes:
    try:
        reader, writer = await home.hostile(profile, request)
        try:
            return await asyncio.wait_for(reader.read(400), 5)
        finally:
            await gone(writer)
    except OSError:
        return b""


# Each of these differs from the admitted request in one thing.
BASIC_REFUSALS = {
    "no credentials": ([], 401, "credentials_missing"),
    "wrong password": ([basic("cs001", "x" * 40)], 401, "password"),
    "empty password": ([basic("cs001", "")], 401, "password"),
    "user of another station": ([basic("cs002", PASSWORD)], 401, "user_name"),
    "bearer scheme": (["Bearer abc"], 401, "credentials_malformed"),
    "digest scheme": (['Digest username="cs001"'], 401, "credentials_malformed"),
    "no base64": (["Basic !!!!"], 401, "credentials_malformed"),
    "base64 without padding": (
        [basic("cs001", PASSWORD).rstrip("=") + "A"],
        401,
        "credentials_malformed",
    ),
    "no colon": (["Basic Y3MwMDE="], 401, "credentials_malformed"),
    "not UTF-8": (["Basic //86/w=="], 401, "credentials_malformed"),
    "two headers": ([basic("cs001", PASSWORD)] * 2, 401, "credentials_malformed"),
    "an endless header": (["Basic " + "A" * 4000], 401, "credentials_malformed"),
}
TARGET_REFUSALS = {
    "trailing slash": ("/ocpp/cs001/", 404, "target"),
    "query": ("/ocpp/cs001?x=1", 404, "target"),
    "another path": ("/ocpp2/cs001", 404, "target"),
    "absolute form": ("http://localhost/ocpp/cs001", 404, "target"),
    "double slash": ("//ocpp/cs001", 404, "target"),
    "encoded slash": ("/ocpp/cs001%2F..%2Fcs002", 404, "target"),
    "encoded NUL": ("/ocpp/cs001%00", 404, "target"),
    "double encoding": ("/ocpp/cs%2530", 404, "target"),
    "49 characters": ("/ocpp/" + "c" * 49, 404, "target"),
    "colon": ("/ocpp/cs:001", 404, "target"),
    "unknown station": ("/ocpp/nobody", 401, "user_name"),
}


def test_every_refusal_of_profile_2_is_recorded_and_all_401_are_the_same_bytes(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            blocked = await home.add("blocked", "SN002")
            await home.change(blocked, blocked=True)
            await home.add("high", "SN003", minimum=SecurityProfile.TLS_CERTIFICATE)
            expected, unauthorized = [], set()
            requests = [
                (upgrade("/ocpp/cs001", *[f"Authorization: {v}" for v in values]), status, reason)
                for values, status, reason in BASIC_REFUSALS.values()
            ]
            requests += [
                (upgrade(target, CREDENTIALS), status, reason)
                for target, status, reason in TARGET_REFUSALS.values()
            ]
            for identity, reason in (
                ("nobody", "unknown_station"),
                ("blocked", "blocked"),
                ("high", "profile_too_low"),
            ):
                header = f"Authorization: {basic(identity, PASSWORD)}"
                requests.append((upgrade(f"/ocpp/{identity}", header), 401, reason))
            for offered in (None, "ocpp1.6", "OCPP2.0.1", ", ".join(f"p{n}" for n in range(300))):
                request = upgrade("/ocpp/cs001", CREDENTIALS, subprotocol=offered)
                requests.append((request, 400, "subprotocol"))
            ordinary = upgrade("/ocpp/cs001", CREDENTIALS)
            for broken in (
                ordinary.replace(b"GET", b"POST"),
                ordinary.replace(b"Upgrade: websocket\r\n", b""),
                ordinary.replace(b"Version: 13", b"Version: 8"),
                ordinary.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="),
            ):
                requests.append((broken, 400, "http"))
            for request, status, reason in requests:
                answer = await home.answer(2, request)
                assert status_of(answer) == status, (reason, answer)
                assert b"Date" not in answer
                assert b"Server" not in answer
                assert (b"WWW-Authenticate: Basic" in answer) == (status == 401)
                expected.append(reason)
                if status == 401:
                    unauthorized.add(answer)
            assert len(unauthorized) == 1
            assert await home.reasons() == expected
            assert home.gateway.health().sessions == 0
            await eventually(lambda: home.gateway.health().strangers == 0)

    run(loop, main)


def test_headers_that_speak_for_others_are_not_read(
    loop: str, world: World, tmp_path: Path
) -> None:
    """A15: forwarded certificates and addresses change nothing."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            lies = [
                "X-Forwarded-For: 10.0.0.1",
                "Forwarded: for=10.0.0.1",
                "X-Client-Cert: MIIB",
                "X-SSL-Client-S-DN: CN=SN001",
                "X-Forwarded-Client-Cert: Subject=SN001",
            ]
            answer = await home.answer(2, upgrade("/ocpp/cs001", *lies))
            assert status_of(answer) == 401
            (record,) = await home.attempts()
            assert str(record.details["peer"]).startswith("127.0.0.1:")
            assert record.details["certificate"] is None

    run(loop, main)


def test_every_refusal_of_profile_3_is_a_403_of_the_same_bytes(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            ca = world.stations
            station = await home.add("CS001", "SN001")
            other = await home.add("CS002", "SN002")
            blocked = await home.add("CS003", "SN003")
            await home.change(blocked, blocked=True)

            async def known(leaf: Leaf, owner: Station = station, **more: Any) -> Leaf:
                await home.certify(owner, leaf, **more)
                return leaf

            def subject(*pairs: Any) -> Leaf:
                return ca.leaf(name(*pairs))

            org, cn = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME
            ca_leaf = ca.station(
                "SN001", extensions=((x509.BasicConstraints(ca=True, path_length=None), True),)
            )
            past = datetime.now(UTC) - timedelta(seconds=1)
            cases = [
                (ca.station("SN001"), "cs001", "certificate_unknown"),
                (await known(ca.station("SN001")), "cs002", "certificate_of_another_station"),
                (await known(ca.station("SN001")), "nobody", "unknown_station"),
                (
                    await known(ca.station("SN001"), status=CertificateStatus.REVOKED),
                    "cs001",
                    "certificate_revoked",
                ),
                (
                    await known(ca.station("SN001"), status=CertificateStatus.SIGNED),
                    "cs001",
                    "certificate_not_admissible",
                ),
                (
                    await known(ca.station("SN001"), status=CertificateStatus.SUPERSEDED),
                    "cs001",
                    "certificate_not_admissible",
                ),
                (await known(ca.station("SN001"), not_after=past), "cs001", "certificate_expired"),
                (await known(ca_leaf), "cs001", "certificate_is_ca"),
                (await known(ca.station("SN0010")), "cs001", "certificate_common_name"),
                (await known(ca.station("SN001 ")), "cs001", "certificate_common_name"),
                (await known(ca.station("sn001")), "cs001", "certificate_common_name"),
                (
                    await known(subject((org, ORGANIZATION))),
                    "cs001",
                    "certificate_common_name",
                ),
                (
                    await known(subject((org, ORGANIZATION), (cn, "SN001"), (cn, "SN002"))),
                    "cs001",
                    "certificate_common_name",
                ),
                (
                    await known(subject((org, "Another CSO"), (cn, "SN001"))),
                    "cs001",
                    "certificate_organization",
                ),
                (await known(subject((cn, "SN001"))), "cs001", "certificate_organization"),
                (
                    await known(subject((org, ORGANIZATION), (org, "Two"), (cn, "SN001"))),
                    "cs001",
                    "certificate_organization",
                ),
                (await known(ca.station("SN003"), blocked), "cs003", "blocked"),
            ]
            answers = set()
            for leaf, identity, reason in cases:
                # A correct password does not help on this port.
                header = f"Authorization: {basic(identity, PASSWORD)}"
                request = upgrade(f"/ocpp/{identity}", header)
                answer = await home.answer(3, request, leaf=leaf)
                assert status_of(answer) == 403, reason
                answers.add(answer)
            assert len(answers) == 1
            assert await home.reasons() == [reason for _, _, reason in cases]
            # A00.FR.408
            assert await home.events(other) == ["InvalidChargingStationCertificate"]

    run(loop, main)


def test_tls_itself_refuses_what_no_station_issuer_signed_and_the_reason_is_on_record(
    loop: str, world: World, tmp_path: Path
) -> None:
    """B01-B03, B09: each is one handshake with one thing wrong."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            good = world.stations.station("SN001")
            await home.certify(await home.add("CS001", "SN001"), good)
            critical = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
            refused = {
                "no certificate": None,
                "another CA": SmallCA("Elsewhere").station("SN001"),
                "the same CA name with another key": SmallCA("Stations").station("SN001"),
                "our server CA": world.servers.station("SN001"),
                "directly from the root": world.root.station("SN001"),
                "expired": world.stations.station("SN001", ends=timedelta(seconds=-1)),
                "not yet valid": world.stations.station("SN001", starts=timedelta(hours=1)),
                "an unknown critical extension": world.stations.station(
                    "SN001", extensions=((critical, True),)
                ),
                "a CA that calls itself the station": SmallCA("SN001").station("SN001"),
            }
            for leaf in refused.values():
                with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
                    await one_byte(home, leaf)
            records = await home.attempts()
            assert [record.reason for record in records] == ["tls_handshake"] * len(refused)
            assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(records[0].details["detail"])
            assert "expired" in str(records[5].details["detail"])
            async with home.connect(3, "cs001", leaf=good):
                assert home.gateway.health().sessions == 1

    run(loop, main)


def test_plain_http_and_old_tls_are_recorded_as_refused_handshakes(
    loop: str, world: World, tmp_path: Path
) -> None:
    """B12, B13: no byte before the handshake is treated as a request."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            reader, writer = await asyncio.open_connection("127.0.0.1", home.ports["2"])
            writer.write(upgrade("/ocpp/cs001", CREDENTIALS))
            data = await reader.read()
            assert b"HTTP/1.1 101" not in data
            await gone(writer)
            context = home.context()
            context.set_ciphers("AES128-SHA")
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, OSError)):
                await asyncio.open_connection(
                    "127.0.0.1", home.ports["2"], ssl=context, server_hostname="localhost"
                )
            records = await home.attempts()
            assert [record.reason for record in records] == ["tls_handshake"] * 2
            assert records[0].details["detail"] == "HTTP_REQUEST"
            assert records[1].details["detail"] == "NO_SHARED_CIPHER"

    run(loop, main)


async def one_byte(home: House, leaf: Leaf | None) -> bytes:
    reader, writer = await home.hostile(3, upgrade("/ocpp/cs001"), leaf=leaf)
    try:
        async with asyncio.timeout(3):
            return await reader.readexactly(1)
    finally:
        await gone(writer)


def tls12_visit(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[int, bool, ssl.SSLSession | None]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost", session=session) as secure,
    ):
        secure.sendall(upgrade("/ocpp/cs001"))
        head = secure.recv(400)
        outcome = status_of(head), bool(secure.session_reused), secure.session
        # OpenSSL forgets a session whose connection ended without close_notify.
        with suppress(OSError):
            secure.unwrap()
        return outcome


def test_a_revoked_certificate_is_refused_in_full_and_resumed_handshakes(
    loop: str, world: World, tmp_path: Path
) -> None:
    """B04, M1: TLS 1.2 resumes by session id whatever one sets; the record decides all the same."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            station = await home.add("CS001", "SN001")
            leaf = world.stations.station("SN001")
            record = await home.certify(station, leaf)
            context = home.context(leaf)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            port = home.ports["3"]
            status, reused, session = await asyncio.to_thread(tls12_visit, port, context, None)
            assert (status, reused) == (101, False)
            status, reused, _ = await asyncio.to_thread(tls12_visit, port, context, session)
            assert (status, reused) == (101, True)  # else the refusal below would prove nothing
            _, _, session = await asyncio.to_thread(tls12_visit, port, context, None)
            await home.set_status(record, CertificateStatus.REVOKED)
            status, reused, _ = await asyncio.to_thread(tls12_visit, port, context, session)
            assert (status, reused) == (403, True)
            status, reused, _ = await asyncio.to_thread(tls12_visit, port, context, None)
            assert (status, reused) == (403, False)
            assert (await home.reasons())[-2:] == ["certificate_revoked"] * 2

    run(loop, main)


def test_a_session_of_the_password_port_is_not_resumed_on_the_certificate_port(
    world: World, tmp_path: Path
) -> None:
    """B05: each listener has a session cache of its own."""

    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.certify(await home.add("CS001", "SN001"), world.stations.station("SN001"))
            context = home.context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            visit = asyncio.to_thread(tls12_visit, home.ports["2"], context, None)
            status, _, session = await visit
            assert status == 401
            with pytest.raises((ssl.SSLError, OSError)):
                await asyncio.to_thread(tls12_visit, home.ports["3"], context, session)

    run("asyncio", main)


def test_tls_1_3_gives_no_session_tickets(loop: str, world: World, tmp_path: Path) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            status, _, session = await asyncio.to_thread(
                tls12_visit, home.ports["2"], home.context(), None
            )
            assert status == 401
            assert session is None or not session.has_ticket

    run(loop, main)


def test_without_the_database_upgrades_are_put_off_before_the_identity_is_looked_at(
    loop: str, world: World, tmp_path: Path
) -> None:
    async def main() -> None:
        async with house(world, tmp_path) as home:
            await home.add("CS001", "SN001")
            await home.store.close()
            first = await home.answer(2, upgrade("/ocpp/cs001", CREDENTIALS))
            assert status_of(first) == 503
            assert b"Retry-After: 5\r\n" in first
            assert not home.gateway.health().database_available
            assert await home.answer(2, upgrade("/nowhere", CREDENTIALS)) == first
            assert await home.answer(2, upgrade("/ocpp/nobody")) == first

    run(loop, main)


def test_a_renewed_certificate_is_served_without_dropping_anybody(
    loop: str, tmp_path: Path
) -> None:
    """M10: connections live on, new handshakes see the new certificate."""

    async def main() -> None:
        own = World(tmp_path)
        async with house(own, tmp_path) as home:
            await home.add("CS001", "SN001")
            async with home.connect(2, "cs001") as client:
                before = client.transport.get_extra_info("ssl_object").getpeercert()
                own.servers.server().write(Path(own.directory), "listener.pem")
                home.gateway.reload_certificate()
                await client.ping()
                async with home.connect(2, "cs001") as newer:
                    after = newer.transport.get_extra_info("ssl_object").getpeercert()
                assert before["serialNumber"] != after["serialNumber"]

    run(loop, main)
