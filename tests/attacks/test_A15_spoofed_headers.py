"""A15: headers and PROXY lines that speak for others: never read, never believed."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from urllib.parse import quote

import pytest

from csms.domain.audit import AuditRecord
from csms.domain.station import Station
from tests.attacks.entering import Credential, certified, enter, request_of, visit
from tests.attacks.hostile import HostileStation, client_tls
from tests.attacks.keep import Keep, Witness, keep
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.gateway_house import World

PROFILE_1 = {"profile1_port": 0, "profile1_networks": ["127.0.0.0/8"]}
# In TEST-NET-3: nobody's address, so that it cannot be ours.
ELSEWHERE = "203.0.113.7"
ADDRESSES = {
    "X-Forwarded-For": f"{ELSEWHERE}, 127.0.0.1",
    "X-Forwarded-Host": "csms.example",
    "X-Forwarded-Server": "csms.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Prefix": "/ocpp/victim",
    "X-Original-Forwarded-For": ELSEWHERE,
    "X-Original-URL": "/ocpp/victim",
    "X-Rewrite-URL": "/ocpp/victim",
    "X-Real-IP": ELSEWHERE,
    "X-Client-IP": ELSEWHERE,
    "X-Cluster-Client-IP": ELSEWHERE,
    "X-Remote-IP": ELSEWHERE,
    "X-Remote-Addr": ELSEWHERE,
    "X-Originating-IP": ELSEWHERE,
    "X-Envoy-External-Address": ELSEWHERE,
    "X-Azure-ClientIP": ELSEWHERE,
    "X-ProxyUser-Ip": ELSEWHERE,
    "Forwarded": f"for={ELSEWHERE};proto=https;by=127.0.0.1;host=csms.example",
    "Client-IP": ELSEWHERE,
    "True-Client-IP": ELSEWHERE,
    "CF-Connecting-IP": ELSEWHERE,
    "CF-Connecting-IPv6": "2001:db8::7",
    "CF-IPCountry": "NL",
    "CF-Visitor": '{"scheme":"https"}',
    "Fastly-Client-IP": ELSEWHERE,
    "Fly-Client-IP": ELSEWHERE,
    "Proxy-Client-IP": ELSEWHERE,
    "WL-Proxy-Client-IP": ELSEWHERE,
    "Via": f"1.1 {ELSEWHERE}",
}
USERS = {
    "Remote-User": "victim",
    "X-Remote-User": "victim",
    "X-Forwarded-User": "victim",
    "X-Authenticated-User": "victim",
    "X-WEBAUTH-USER": "victim",
    "X-Station-Identity": "victim",
    "X-Security-Profile": "3",
    "X-HTTP-Method-Override": "POST",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def certificate_headers(pem: str, common_name: str) -> dict[str, str]:
    """What proxies say of a client certificate: nginx, Apache, Envoy, Traefik, HAProxy, clouds."""
    escaped, subject = quote(pem), f"CN={common_name},O=Example CSO"
    one_line = "".join(pem.splitlines()[1:-1])
    return {
        "X-Client-Cert": escaped,
        "X-Client-Certificate": escaped,
        "X-Client-Cert-CN": common_name,
        "X-Client-Cert-CommonName": common_name,
        "X-Client-Cert-Organization": "Example CSO",
        "X-Client-Cert-Present": "true",
        "X-Client-Cert-Chain-Verified": "true",
        "X-Client-Verify": "SUCCESS",
        "X-Client-DN": subject,
        "X-SSL-Cert": escaped,
        "X-SSL-Client-Cert": escaped,
        "X-SSL-Client-CN": common_name,
        "X-SSL-Client-DN": subject,
        "X-SSL-Client-S-DN": subject,
        "X-SSL-Client-Verify": "SUCCESS",
        "X-SSL-Client-Fingerprint": "00" * 20,
        "SSL-Client-Cert": escaped,
        "SSL_CLIENT_CERT": escaped,
        "SSL-Client-Verify": "SUCCESS",
        "SSL_CLIENT_S_DN_CN": common_name,
        "X-Forwarded-Client-Cert": f'Hash={"00" * 32};Cert="{escaped}";Subject="{subject}"',
        "X-Forwarded-SSL-Client-Cert": escaped,
        "X-Forwarded-Tls-Client-Cert": quote(one_line),
        "X-Forwarded-Tls-Client-Cert-Info": quote(f'Subject="{subject}"'),
        "X-Amzn-Mtls-Clientcert": escaped,
        "X-Amzn-Mtls-Clientcert-Subject": subject,
        "X-ARR-ClientCert": one_line,
        "X-Goog-Client-Cert-Present": "true",
        "CF-Client-Cert-DER-Base64": one_line,
        "Client-Cert": f":{one_line}:",
        "Client-Cert-Chain": f":{one_line}:",
    }


def spoofs(fort: Keep, victim: Credential) -> dict[str, str]:
    assert victim.leaf is not None
    text = victim.leaf.read_text()
    begin = text.index("-----BEGIN CERTIFICATE")
    pem = text[begin : text.index("-----END CERTIFICATE", begin)] + "-----END CERTIFICATE-----\n"
    return ADDRESSES | USERS | certificate_headers(pem, "SN-VICTIM")


def lines(headers: dict[str, str]) -> list[list[str]]:
    """So many at once: a request has at most 128 headers."""
    every, size = [f"{name}: {value}" for name, value in headers.items()], SIZES.headers_at_once
    return [every[at : at + size] for at in range(0, len(every), size)]


def admission(fort: Keep) -> AuditRecord:
    (record,) = fort.records()
    return record


@pytest.mark.timeout(120)
@pytest.mark.parametrize("profile", [1, 2, 3])
def test_no_header_changes_who_it_is_or_where_it_comes_from(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    row = scoreboard.row("A15", f"every known header, right and wrong credentials, {profile}")
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort), fort.bounded_lag():
        mine = fort.add("CS001", "SN001", minimum=profile, security_profile=profile)
        victim = fort.add("victim", "SN-VICTIM")
        theirs = certified(fort, victim)
        how = certified(fort, mine) if profile == 3 else Credential("cs001")
        wrong = Credential("victim", password="x" * 40, leaf=how.leaf)
        fort.records()
        for headers in lines(spoofs(fort, theirs)):
            with row.attempt(), enter(fort, profile, how, *headers) as wire:
                host, port = wire.socket.getsockname()
                said = admission(fort)
                assert (said.actor, said.reason) == ("station:cs001", None), headers
                assert said.details["peer"] == f"{host}:{port}"
                assert said.details["listener"] == str(profile)
                session = fort.session_of(mine)
                assert session is not None
                assert (session.profile, session.peer) == (profile, f"{host}:{port}")
                assert wire.call("Heartbeat", {})[0] == 3
            with row.attempt(), visit(fort, profile, wrong) as visitor:
                peer = "{}:{}".format(*visitor.socket.getsockname())
                status = visitor.ask(request_of(wrong, *headers)).status
                assert status == (403 if profile == 3 else 401), headers
                refused = admission(fort)
                reason = "certificate_of_another_station" if profile == 3 else "password"
                assert (refused.reason, refused.details["peer"]) == (reason, peer)
            assert fort.session_of(victim) is None


def test_without_a_certificate_headers_are_none(
    world: World, tmp_path: Path, scoreboard: Scoreboard
) -> None:
    """TLS itself ends it: nothing that HTTP says can stand for the handshake."""
    row = scoreboard.row("A15", "certificate headers in place of a certificate")
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort):
        victim = fort.add("victim", "SN-VICTIM")
        theirs = certified(fort, victim)
        for headers in lines(spoofs(fort, theirs)):
            bare = Credential("victim", leaf=None)
            request = request_of(bare, *headers).replace(b"Authorization:", b"X-Nothing:")
            with row.attempt():
                assert ask_without_certificate(fort, request) != 101
                assert fort.refusals() == ["tls_handshake"]
        assert fort.session_of(victim) is None


def ask_without_certificate(fort: Keep, request: bytes) -> int:
    try:
        with HostileStation(fort.port(3), context=client_tls(fort.trust)) as visitor:
            return visitor.ask(request).status
    except OSError:
        return 0


def proxy_v2(*, local: bool = False, ipv6: bool = False) -> bytes:
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    if ipv6:
        addresses = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + bytes(15) + b"\x01"
    else:
        addresses = socket.inet_aton(ELSEWHERE) + socket.inet_aton("127.0.0.1")
    body = addresses + struct.pack("!HH", 50000, 443)
    family = 0x21 if ipv6 else 0x11
    return signature + struct.pack("!BBH", 0x20 if local else 0x21, family, len(body)) + body


PROXY_LINES = {
    "v1 TCP4": f"PROXY TCP4 {ELSEWHERE} 127.0.0.1 50000 443\r\n".encode(),
    "v1 TCP6": b"PROXY TCP6 2001:db8::7 ::1 50000 443\r\n",
    "v1 UNKNOWN": b"PROXY UNKNOWN\r\n",
    "v2 IPv4": proxy_v2(),
    "v2 IPv6": proxy_v2(ipv6=True),
    "v2 LOCAL": proxy_v2(local=True),
}


@pytest.mark.parametrize("profile", [1, 2, 3])
def test_a_proxy_line_before_anything_is_refused_and_on_record(
    world: World, tmp_path: Path, scoreboard: Scoreboard, profile: int
) -> None:
    """No peer is listed that may say such a thing: it is no ClientHello, and no request."""
    row = scoreboard.row("A15", f"PROXY v1, v2 before the first byte, profile {profile}")
    with keep(world, tmp_path, **PROFILE_1) as fort, Witness(fort), fort.bounded_lag():
        station = fort.add("CS001", "SN001", minimum=profile, security_profile=profile)
        how = certified(fort, station) if profile == 3 else Credential("cs001")
        for what, line in PROXY_LINES.items():
            with row.attempt():
                peer, answer = proxied(fort, profile, how, line)
                assert b" 101 " not in answer, what
                (refused,) = audited(fort, station)
                assert refused.reason == ("http" if profile == 1 else "tls_handshake")
                assert refused.details["peer"] == peer
                assert ELSEWHERE not in repr(refused)
        assert fort.session_of(station) is None


def proxied(fort: Keep, profile: int, how: Credential, line: bytes) -> tuple[str, bytes]:
    """The PROXY line in clear, and then everything as if it had been taken."""
    with HostileStation(fort.port(profile)) as wire:
        peer = "{}:{}".format(*wire.socket.getsockname())
        wire.send(line)
        try:
            if profile > 1:
                context = client_tls(fort.trust, leaf=how.leaf)
                wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost")
            return peer, wire.ask(request_of(how)).raw
        except OSError:
            return peer, b""


def audited(fort: Keep, station: Station) -> list[AuditRecord]:
    """The one refusal that is written soon, checked as all refusals are."""
    fort.quiet()
    found = fort.records()
    assert all(record.outcome == "refused" for record in found), (station, found)
    return found
