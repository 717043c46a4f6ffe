"""P31 (G04, A01.FR.09): no secret leaves by any way that people or machines read later.

Every secret of a running product is a canary: those that it made are learned from where they
rightly are, others are made up here and thrown at every door. Then everything is searched: the
log, every file of the data directory, every readable route of the API, metrics, health, the
arguments and the environment of every process, and the wire's own refusals.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from csms.adapters.openbao import BundledOpenBao
from csms.adapters.vault import Role, VaultSession, read_pepper
from tests.attacks.hostile import Answer, HostileStation, basic, client_tls, upgrade
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures import pki_hostile as h
from tests.fixtures.peer import Peer, trusting
from tests.fixtures.peer import basic as basic_header
from tests.fixtures.product import Product, make_product
from tests.system.test_A_security import enrolled

# Where a secret rightly is: the administrator's file, the bundled server's own, our listener's key.
HOMES = ("bootstrap/admin-client.json", "openbao/secrets/", "openbao/seal.key", "tls/")


class Canaries:
    """Secrets by what they are."""

    def __init__(self) -> None:
        self.by_name: dict[str, bytes] = {}

    def make(self, name: str) -> str:
        value = f"canary{secrets.token_hex(16)}"
        self.add(name, value)
        return value

    def add(self, name: str, value: str | bytes) -> None:
        raw = value.encode() if isinstance(value, str) else value
        assert len(raw) >= 16, name
        self.by_name[name] = raw

    def found_in(self, text: bytes) -> list[str]:
        """Which of them stand there, in any of the forms that software gives a secret."""
        return [
            name for name, raw in self.by_name.items() if any(form in text for form in _forms(raw))
        ]


def _forms(raw: bytes) -> set[bytes]:
    encoded = base64.b64encode(raw)
    return {
        raw,
        encoded.rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
        raw.hex().encode(),
        quote(raw).encode(),
        # Behind "user:" in an Authorization header the alignment is another one.
        base64.b64encode(b"x" + raw)[4:-4],
        base64.b64encode(b"xx" + raw)[4:-4],
    }


@pytest.fixture(scope="module")
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, canaries: Canaries) -> Iterator[Product]:
    """A product of its own, after a day full of secrets."""
    networks = {
        "CSMS_GATEWAY__PROFILE1_PORT": "0",
        "CSMS_GATEWAY__PROFILE1_NETWORKS": '["127.0.0.0/8"]',
    }
    running = make_product(tmp_path_factory.mktemp("canaries"), **networks)
    running.start()
    try:
        _learn(running, canaries)
        _live_a_day(running, canaries, tmp_path_factory.mktemp("station"))
        yield running
    finally:
        running.stop()


def _learn(product: Product, canaries: Canaries) -> None:
    """The secrets that the product made for itself."""
    client = product.client_file()
    canaries.add("the administrator's client secret", client["client_secret"])
    canaries.add("the administrator's access token", product.token())
    openbao = product.data_dir / "openbao"
    canaries.add("the seal key", (openbao / "seal.key").read_bytes())
    for file in sorted((openbao / "secrets").glob("*.secret-id")):
        canaries.add(file.name, file.read_text().strip())
    server = BundledOpenBao(openbao, policies_dir=Path("policies/vault").resolve())

    async def peppers() -> list[bytes]:
        async with VaultSession(server.running_settings(Role.GATEWAY)) as session:
            return list((await read_pepper(session)).by_version.values())

    for number, pepper in enumerate(asyncio.run(peppers())):
        canaries.add(f"pepper {number}", pepper)


def _live_a_day(product: Product, canaries: Canaries, directory: Path) -> None:
    station = product.station()
    identity, password = station["identity"], station["password"]
    canaries.add("a station's password", password)
    _a_connected_station(product, canaries, identity, password)
    _at_the_door(product, canaries, identity)
    _at_the_api(product, canaries, identity)
    key = enrolled(product, product.station(), directory)
    private = key.private.private_numbers().private_value
    canaries.add("a station's private key", private.to_bytes(32))


def _a_connected_station(
    product: Product, canaries: Canaries, identity: str, password: str
) -> None:
    """Secrets in what it says, in what it is told, and in what it answers."""
    context = trusting(product.root_pem)
    headers = basic_header(identity, password)
    with Peer.connect(product.ocpp(2), identity, context=context, headers=headers) as peer:
        peer.boot()
        # Its private key where a CSR belongs, and a CSR with a challenge password.
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        canaries.add("a key sent as a CSR", pem.splitlines()[1])
        assert peer.call("SignCertificate", {"csr": pem.decode()})[0] in {3, 4}
        challenge = canaries.make("a challengePassword")
        attribute = h.sequence(h.CHALLENGE_PASSWORD, h.tlv(0x31, h.tlv(h.UTF8, challenge.encode())))
        hostile = h.request(ec.generate_private_key(ec.SECP256R1()), attributes=[attribute])
        peer.call("SignCertificate", {"csr": h.pem(hostile)})
        # A CALL that breaks its schema with a secret in it, and one that is no JSON.
        peer.call("StatusNotification", {"password": canaries.make("in a broken CALL")})
        peer.connection.send(f'[2,"x","Heartbeat",{{"key":"{canaries.make("in a broken frame")}"')
        custom = {"vendorId": "V", "secret": canaries.make("in customData")}
        peer.call("Heartbeat", {"customData": custom})
    _commands(product, canaries, identity, password)


def _commands(product: Product, canaries: Canaries, identity: str, password: str) -> None:
    """By the API to the station and back."""
    location = f"https://user:{canaries.make('in a log URL')}@files.example.com/up"
    read_back = canaries.make("a password read back by GetVariables")
    names = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
    }
    chosen = {**names, "attributeValue": canaries.make("a password in SetVariables")}
    log = {"remoteLocation": location}
    asked = [
        ("SetVariables", {"setVariableData": [chosen]}, 422),  # there is a route for passwords
        ("GetVariables", {"getVariableData": [names]}, 200),
        ("GetLog", {"logType": "SecurityLog", "requestId": 1, "log": log}, 200),
        ("GetLog", {"log": log, "broken": canaries.make("in a bad body")}, 422),
    ]
    context = trusting(product.root_pem)
    headers = basic_header(identity, password)
    with Peer.connect(product.ocpp(2), identity, context=context, headers=headers) as peer:

        def obey() -> None:
            message_id, _ = peer.expect("GetVariables")
            result = {**names, "attributeStatus": "Accepted", "attributeValue": read_back}
            peer.reply(message_id, {"getVariableResult": [result]})
            message_id, _ = peer.expect("GetLog")
            peer.reply(message_id, {"status": "Accepted"})
            # The password that the product itself makes (A01).
            message_id, said = peer.expect("SetVariables")
            canaries.add("made for A01", said["setVariableData"][0]["attributeValue"])
            refused = {**names, "attributeStatus": "Rejected"}
            peer.reply(message_id, {"setVariableResult": [refused]})

        station = threading.Thread(target=obey)
        station.start()
        for number, (action, payload, status) in enumerate(asked):
            done = product.api(
                "POST",
                f"/api/v1/stations/{identity}/commands/{action}",
                payload,
                headers={"Idempotency-Key": f"canary-{number}"},
            )
            assert done.status_code == status, done.text
            assert status == 200 or canaries.found_in(done.content) == []
        changed = product.api("POST", f"/api/v1/stations/{identity}/password", {})
        assert changed.status_code == 200, changed.text
        station.join(20)
    assert "made for A01" in canaries.by_name


def _at_the_door(product: Product, canaries: Canaries, identity: str) -> None:
    """Wrong credentials in every place where somebody may put some."""
    trust = product.root_pem.read_text()
    for profile in (1, 2, 3):
        port = int(product.ocpp(profile).rsplit(":", 1)[1].split("/")[0])
        wrong = canaries.make(f"a wrong password on profile {profile}")
        requests = [
            upgrade(f"/ocpp/{identity}", f"Authorization: {basic(identity, wrong)}"),
            upgrade(f"/ocpp/{identity}", f"Authorization: Bearer {wrong}"),
            upgrade(f"http://{identity}:{wrong}@localhost/ocpp/{identity}"),
            upgrade(f"/ocpp/{identity}?password={wrong}"),
            upgrade(f"/ocpp/{wrong}/x"),
            upgrade(f"/ocpp/{identity}", f"Cookie: session={wrong}", f"X-Token: {wrong}"),
        ]
        for request in requests:
            context = client_tls(trust) if profile > 1 else None
            with suppress(OSError), HostileStation(port, context=context) as visitor:
                assert visitor.ask(request).status != 101


def _at_the_api(product: Product, canaries: Canaries, identity: str) -> None:
    made = product.api("POST", "/api/v1/oauth-clients", {"name": "c", "roles": ["auditor"]})
    assert made.status_code == 201, made.text
    canaries.add("a client's secret", made.json()["client_secret"])
    endpoint = product.client_file()["token_endpoint"]
    with product.http() as http:
        data = {"grant_type": "client_credentials"}
        wrong = canaries.make("a wrong client secret")
        http.post(endpoint, data=data, auth=(product.client_file()["client_id"], wrong))
        http.post(endpoint, data={**data, "client_secret": canaries.make("in a form")})
        base = product.endpoints["api"].rstrip("/")
        for path in (f"/api/v1/stations?token={canaries.make('in a query')}", "/api/v1/stations"):
            bearer = canaries.make(f"a wrong token on {path[:18]}")
            http.get(base + path, headers={"Authorization": f"Bearer {bearer}"})
        forged = product.token().rsplit(".", 1)[0] + "." + canaries.make("a forged signature")
        http.get(f"{base}/api/v1/stations", headers={"Authorization": f"Bearer {forged}"})
        http.get(f"{base}/api/v1/stations/{canaries.make('in a path')}", headers=_auth(product))
    broken = {"identity": "CS-X", "serial_number": "S", "password": canaries.make("in a field")}
    assert product.api("POST", "/api/v1/stations", broken).status_code == 422
    token = product.token("stations:read")
    canaries.add("a narrow access token", token)


def _auth(product: Product) -> dict[str, str]:
    return {"Authorization": f"Bearer {product.token()}"}


# --- the search ---------------------------------------------------------------------------------


def test_no_secret_is_in_the_log_or_in_any_file_but_its_own(
    product: Product, canaries: Canaries, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P31", f"{len(canaries.by_name)} canaries: log, databases, files")
    searched = 0
    for path in sorted(product.data_dir.rglob("*")):
        name = path.relative_to(product.data_dir).as_posix()
        if path.is_file() and not name.startswith(HOMES):
            with row.attempt():
                searched += 1
                assert canaries.found_in(path.read_bytes()) == [], name
    assert {"csms.log", "csms.db", "pki.db", "openbao/audit.log"} <= {
        path.relative_to(product.data_dir).as_posix() for path in product.data_dir.rglob("*")
    }
    assert searched >= 8


def test_the_search_would_have_found_them(product: Product, canaries: Canaries) -> None:
    """In their own homes they are found: the search is not blind."""
    admin = (product.data_dir / "bootstrap" / "admin-client.json").read_bytes()
    assert canaries.found_in(admin) == ["the administrator's client secret"]
    header = basic("CS001", canaries.by_name["a station's password"].decode())
    assert canaries.found_in(header.encode()) == ["a station's password"]
    assert "the seal key" in canaries.found_in((product.data_dir / "openbao/seal.key").read_bytes())


def test_no_route_metric_or_health_check_shows_a_secret(
    product: Product, canaries: Canaries, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P31", "every readable route of the API, metrics, health")
    identity = product.api("GET", "/api/v1/stations").json()["items"][0]["identity"]
    document = product.api("GET", "/api/v1/openapi.json").json()
    paths = [path for path, operations in document["paths"].items() if "get" in operations]
    assert len(paths) >= 11
    base = product.endpoints["api"].rstrip("/")
    certificate = product.api("GET", "/api/v1/certificates").json()["items"][0]["id"]
    renewal = product.api("POST", f"/api/v1/stations/{identity}/certificates/renewal", {})
    ids = {"certificate_id": certificate, "operation_id": renewal.json()["id"]}
    urls = [base + path.format(identity=identity, **ids) for path in paths]
    metrics = product.endpoints["metrics"]
    with product.http() as http:
        for url in urls:
            with row.attempt():
                answer = http.get(
                    url,
                    headers=_auth(product),
                    params={"limit": "200"} if "entries" in url else None,
                )
                assert canaries.found_in(answer.content) == [], url
                assert canaries.found_in(repr(answer.headers).encode()) == [], url
    for url in (f"{metrics}/metrics", f"{metrics}/readyz", f"{metrics}/healthz"):
        with row.attempt():
            assert canaries.found_in(httpx2.get(url, trust_env=False).content) == [], url


def _processes_of(product: Product) -> list[Path]:
    """/proc of the product and of everything it started."""
    assert product.process is not None
    found, waiting = [], [product.process.pid]
    while waiting:
        pid = waiting.pop()
        found.append(Path(f"/proc/{pid}"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        waiting += map(int, children)
    return found


def test_no_secret_is_in_arguments_or_environment(
    product: Product, canaries: Canaries, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P31", "arguments and environment of every process")
    processes = _processes_of(product)
    assert len(processes) >= 2, "the product and its OpenBao"
    for process in processes:
        for file in ("cmdline", "environ"):
            with row.attempt():
                assert canaries.found_in((process / file).read_bytes()) == [], process / file


def test_the_log_is_one_json_object_a_line(product: Product) -> None:
    lines = [line for line in product.log_file.read_text().splitlines() if line.startswith("{")]
    assert len(lines) > 10
    for line in lines:
        assert json.loads(line)["event"].replace("_", "").isalnum()
    assert "Traceback" not in product.log_file.read_text()


# --- refusals tell nothing of the house -----------------------------------------------------------

JUNK = {
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "a bare line": b"GET\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "another path": b"GET /nobody HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "another method": b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a long line": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
    "a broken length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    "an upgrade": upgrade("/ocpp/nobody"),
}
TELLING = (b"uvicorn", b"websockets", b"starlette", b"fastapi", b"python", b"traceback", b"h11")


def test_no_server_header_and_no_body_tells_what_we_are_made_of(
    product: Product, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P31", "junk at every port: no Server header, no trace in a body")
    trust = product.root_pem.read_text()
    doors = {
        **{f"ocpp {n}": (product.ocpp(n), n > 1) for n in (1, 2, 3)},
        "api": (product.endpoints["api"], True),
        "metrics": (product.endpoints["metrics"], False),
        "pki": (product.endpoints["pki"], False),
    }
    for door, (url, secure) in doors.items():
        port = int(url.split("//")[1].split("/")[0].rsplit(":", 1)[1])
        for what, junk in JUNK.items():
            with row.attempt():
                answer = Answer(b"")
                context = client_tls(trust) if secure else None
                with suppress(OSError), HostileStation(port, context=context, seconds=1) as visitor:
                    answer = visitor.ask(junk)
                assert answer.header("Server") is None, (door, what)
                assert answer.header("X-Powered-By") is None, (door, what)
                lowered = answer.raw.lower()
                assert not any(word in lowered for word in TELLING), (door, what, answer.raw)


# --- no picture of the memory ---------------------------------------------------------------------


def test_a_crash_leaves_no_core_file(
    tmp_path: Path, canaries: Canaries, scoreboard: Scoreboard
) -> None:
    """H06: the memory of a live product holds secrets; not even SIGSEGV puts them on a disk."""
    row = scoreboard.row("P31", "SIGSEGV with core files allowed by whoever starts it")
    allowed = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (allowed[1], allowed[1]))
    product = make_product(tmp_path)
    try:
        product.start()
        assert product.process is not None
        with row.attempt():
            processes = _processes_of(product)
            for process in processes:
                limits = (process / "limits").read_text().splitlines()
                (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
                assert core[4:6] == ["0", "0"], (process, core)
            os.kill(product.process.pid, signal.SIGSEGV)
            _, status = os.waitpid(product.process.pid, 0)
            product.process.returncode = -signal.SIGSEGV
            product.process = None
            assert os.WTERMSIG(status) == signal.SIGSEGV
            assert not os.WCOREDUMP(status)
            assert not [path for path in tmp_path.rglob("core*") if path.is_file()]
            for process in processes[1:]:
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, allowed)
        product.stop()
