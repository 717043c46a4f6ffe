"""`csms station | client | certificate` against the real API over HTTPS."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
import trustme
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from csms.api.server import ApiServer, listen
from csms.api_client import certificate, client, station
from csms.api_client.session import ApiSession
from csms.domain.access import Scope
from csms.domain.admission import RefusalReason
from csms.domain.certificate import CertificateRecord, CertificateStatus, CertificateUse
from csms.operations.oauth_clients import new_client
from csms.ports.records import ConnectionAttempt
from csms.ports.station_link import NotConnected, StationRefused
from tests.fixtures.api_room import ApiRoom, play
from tests.fixtures.inside import Inside
from tests.integration.test_api_server import server_context

APP = typer.Typer()
APP.add_typer(station.app, name="station")
APP.add_typer(client.app, name="client")
APP.add_typer(certificate.app, name="certificate")
CERTIFICATE_ID = uuid4()


def active_certificate(certificate_id: UUID, station_id: UUID, now: datetime) -> CertificateRecord:
    return CertificateRecord(
        id=certificate_id,
        station_id=station_id,
        use=CertificateUse.CHARGING_STATION,
        issuer="stations",
        serial=certificate_id.hex,
        fingerprint_sha256=certificate_id.hex * 2,
        status=CertificateStatus.ACTIVE,
        not_before=now,
        not_after=now + timedelta(days=90),
        certificate_pem="leaf",
        chain_pem="the chain\n",
        created_at=now,
    )


class Running:
    """The API in a thread of its own, with bootstrap/ in its data directory, as `csms up` does."""

    def __init__(self, store_url: str, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.house: Inside
        self._store_url = store_url
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        ca = trustme.CA()
        sock = listen("127.0.0.1", 0)
        url = f"https://localhost:{sock.getsockname()[1]}"

        async def scene(api: ApiRoom) -> None:
            server = ApiServer(api.app, ssl_context=server_context(ca), sock=sock)
            await server.start()
            self.house = api.house
            await self._furnish(api.house, ca, url)
            self._ready.set()
            await self._over.wait()
            await server.stop()

        await play(self._store_url, scene, issuer=url)

    def certify(self, identity: str) -> UUID:
        """A new station with a certificate."""

        async def act() -> UUID:
            now = self.house.clock.now()
            one = await self.house.station(identity)
            record = active_certificate(uuid4(), one.id, now)
            async with self.house.store.writing() as work:
                await work.certificates.add(record)
                await work.commit()
            return record.id

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(20)

    async def _furnish(self, house: Inside, ca: trustme.CA, url: str) -> None:
        now = house.clock.now()
        admin, secret = new_client(
            "admin", (), frozenset(Scope), now=now, randomness=house.randomness
        )
        one = await house.station("CS-1")
        record = active_certificate(CERTIFICATE_ID, one.id, now)
        attempt = ConnectionAttempt(
            at=now,
            peer="192.0.2.9",
            listener="2",
            outcome="refused",
            failing_check=RefusalReason.PASSWORD,
            detail="[bold]\x1b[31mred",
            identity="cs-1",
        )
        async with house.store.writing() as work:
            await work.oauth_clients.add(admin)
            await work.certificates.add(record)
            await work.connection_attempts.add_all([attempt])
            await work.commit()
        bootstrap = self.data_dir / "bootstrap"
        bootstrap.mkdir()
        ca.cert_pem.write_to_path(str(bootstrap / "csms-root.pem"))
        (bootstrap / "endpoints.json").write_text(json.dumps({"api": url}))
        (bootstrap / "admin-client.json").write_text(
            json.dumps(
                {
                    "client_id": admin.client_id,
                    "client_secret": secret,
                    "token_endpoint": f"{url}/oauth/token",
                }
            )
        )


@pytest.fixture(scope="module")
def running(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("cli")
    database = directory / "csms.db"
    database.write_bytes(sqlite_template.read_bytes())
    # In its own process the API would not write its log between the answers of `csms`.
    with capture_logs(), Running(f"sqlite+aiosqlite:///{database}", directory) as api:
        yield api


@pytest.fixture
def csms(running: Running, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("CSMS_URL", "CSMS_CLIENT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CSMS_DATA_DIR", str(running.data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    running.house.link.answers.clear()

    def run(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(APP, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def failed(result: Result) -> str:
    """The one line of an error."""
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("csms: ")
    return line


def test_station_add_prints_the_password_and_the_same_as_json(csms: Any) -> None:
    result = csms("station", "add", "NEW-1", "--serial-number", "SN-N1", "--profile", "2")
    assert result.exit_code == 0, result.output
    lines = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["identity"] == "NEW-1"
    assert lines["serial number"] == "SN-N1"
    assert lines["security profile"] == "2"
    assert len(lines["password"]) == 40
    result = csms("station", "add", "NEW-2", "--serial-number", "SN-N2", "--json")
    added = json.loads(result.stdout)
    assert set(added) == {"identity", "serial_number", "security_profile", "password"}
    assert "password" not in json.loads(csms("station", "show", "NEW-2", "--json").stdout)


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_password_goes_to_its_file_and_nowhere_else(
    csms: Any, tmp_path: Path, more: tuple[str, ...]
) -> None:
    file, identity = tmp_path / "password", f"FILE-{len(more)}"
    add = ("station", "add", identity, "--serial-number", identity, *more)
    result = csms(*add, "--password-file", str(file))
    assert result.exit_code == 0, result.output
    assert file.stat().st_mode & 0o777 == 0o600
    (password,) = file.read_text().splitlines()
    assert len(password) == 40
    assert file.read_text() == f"{password}\n"
    assert identity in result.stdout
    assert "password" not in result.output
    assert password not in result.output


def test_a_password_file_that_cannot_be_new_registers_nothing(csms: Any, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("mine")
    add = ("station", "add", "FILE-9", "--serial-number", "FILE-9", "--password-file")
    assert "exists already" in failed(csms(*add, str(file)))
    assert file.read_text() == "mine"
    assert "No such file" in failed(csms(*add, str(tmp_path / "no" / "password")))
    assert csms(*add, str(tmp_path / "three"), "--profile", "3").exit_code == 2
    assert "no such station" in failed(csms("station", "show", "FILE-9"))
    taken = ("station", "add", "CS-1", "--serial-number", "FILE-9", "--password-file")
    failed(csms(*taken, str(tmp_path / "taken")))
    assert [one.name for one in tmp_path.iterdir()] == ["password"]


def test_a_station_is_removed_unless_a_certificate_still_lets_it_in(
    csms: Any, running: Running
) -> None:
    csms("station", "add", "GONE-1", "--serial-number", "GONE-1")
    assert csms("station", "remove", "GONE-1").stdout == "Removed.\n"
    assert "no such station" in failed(csms("station", "remove", "GONE-1"))
    running.certify("GONE-902")
    assert "revoke them first" in failed(csms("station", "remove", "GONE-902"))
    assert csms("station", "show", "GONE-902").exit_code == 0


def test_a_narrow_terminal_gets_certificate_ids_whole_and_no_serials(
    csms: Any, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = running.certify("NARROW-901")
    piped = csms("certificate", "list").stdout
    assert "serial" in piped
    assert "2027-02-21T12:00:00Z" in piped  # no milliseconds
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    for width, shown in (("80", False), ("109", False), ("110", True)):
        monkeypatch.setenv("COLUMNS", width)
        table = csms("certificate", "list").stdout
        assert str(identity) in table
        assert ("serial" in table) is shown


def test_what_the_api_refuses_is_one_line_with_the_place(csms: Any) -> None:
    line = failed(csms("station", "add", "BAD-1", "--serial-number", "a.example.com"))
    assert "/serial_number: 1 to 25" in line
    assert "no such station" in failed(csms("station", "show", "BAD-1"))


def test_a_wrong_command_line_is_exit_code_2(csms: Any) -> None:
    for arguments in (
        ("station", "add", "X"),
        ("station", "add", "X", "--serial-number", "S", "--profile", "4"),
        ("station", "command", "CS-1", "Reset", "not json"),
        ("station", "command", "CS-1", "Reset", "[]"),
        ("station", "fly"),
    ):
        assert csms(*arguments).exit_code == 2, arguments


def test_station_list_and_show(csms: Any) -> None:
    listed = json.loads(csms("station", "list", "--json").stdout)
    assert "CS-1" in [one["identity"] for one in listed]
    table = csms("station", "list").stdout
    assert table.splitlines()[0].split()[:2] == ["identity", "serial"]
    assert "CS-1" in table
    assert json.loads(csms("station", "list", "--connected", "--json").stdout) == []
    assert "not" not in csms("station", "show", "CS-1").stdout.split()


def test_stations_are_imported_and_what_failed_is_named(csms: Any, tmp_path: Path) -> None:
    file = tmp_path / "stations.csv"
    file.write_text(
        "identity,serial_number,security_profile,groups\n"
        "IMP-1,SN-I1,2,depot;north\n"
        "CS-1,SN-I2,2,\n"
        "IMP-3,SN-I3,3,\n"
    )
    result = csms("station", "import", str(file), "--json")
    assert result.exit_code == 1
    created = json.loads(result.stdout)
    assert [one["identity"] for one in created] == ["IMP-1", "IMP-3"]
    assert ["password" in one for one in created] == [True, False]
    assert "csms: CS-1: the identity or the serial number is registered" in result.stderr
    assert "1 of 3 stations were not registered" in result.stderr
    shown = json.loads(csms("station", "show", "IMP-1", "--json").stdout)
    assert shown["groups"] == ["depot", "north"]


def test_doctor_names_the_failing_check_and_what_to_do(csms: Any) -> None:
    result = csms("station", "doctor", "CS-1")
    assert result.exit_code == 0, result.output
    assert "CS-1 is registered for profile 2, not connected." in result.stdout
    assert "password" in result.stdout
    assert "the password is wrong" in result.stdout
    assert "\x1b" not in result.stdout  # what a station sent is no command to the terminal
    assert "[bold]" in result.stdout
    found = json.loads(csms("station", "doctor", "CS-1", "--json").stdout)
    assert found["attempts"][0]["failing_check"] == "password"
    unknown = csms("station", "doctor", "NOBODY")
    assert unknown.exit_code == 1
    assert "NOBODY is not registered." in unknown.stdout
    assert "No attempt to connect has been seen" in unknown.stdout
    assert csms("station", "doctor", "NOBODY", "--json").exit_code == 1


def test_a_command_prints_the_stations_answer(csms: Any, running: Running) -> None:
    running.house.link.answers = [{"status": "Accepted"}, {"status": "Scheduled"}]
    payload = '{"type":"OnIdle"}'
    result = csms("station", "command", "CS-1", "Reset", payload)
    assert json.loads(result.stdout) == {"status": "Accepted"}
    result = csms("station", "command", "CS-1", "Reset", "-", stdin=payload)
    assert json.loads(result.stdout) == {"status": "Scheduled"}


def test_a_command_that_fails_says_how(csms: Any, running: Running) -> None:
    running.house.link.answers = [NotConnected(), StationRefused("NotSupported", "no reset")]
    command = ("station", "command", "CS-1", "Reset", '{"type":"OnIdle"}')
    assert "not connected" in failed(csms(*command))
    assert "NotSupported: no reset" in failed(csms(*command))
    assert "/type" in failed(csms(*command[:-1], '{"type":"Now"}'))


def test_disconnect_password_and_renew(csms: Any, running: Running) -> None:
    assert csms("station", "disconnect", "CS-1").stdout == "Disconnected.\n"
    assert "not connected" in failed(csms("station", "password", "CS-1"))
    operation = json.loads(csms("station", "renew", "CS-1", "--json").stdout)
    assert (operation["kind"], operation["state"]) == ("renew_certificate", "waiting")
    waited = csms("station", "renew", "CS-1", "--wait", "1")
    assert "not finished after 1 s: the operation is waiting" in failed(waited)
    assert "renew_certificate" in waited.stdout


def test_certificates_are_listed_shown_and_revoked(csms: Any) -> None:
    identity = str(CERTIFICATE_ID)
    listed = json.loads(csms("certificate", "list", "--station", "CS-1", "--json").stdout)
    assert [one["id"] for one in listed] == [identity]
    assert identity in csms("certificate", "list").stdout
    assert csms("certificate", "chain", identity).stdout == "the chain\n"
    assert "/reason" in failed(csms("certificate", "revoke", identity, "--reason", "because"))
    result = csms("certificate", "revoke", identity, "--reason", "keyCompromise")
    assert "revoked" in result.stdout
    shown = json.loads(csms("certificate", "show", identity, "--json").stdout)
    assert shown["revocation_reason"] == "keyCompromise"
    again = csms("certificate", "revoke", identity, "--reason", "keyCompromise")
    assert failed(again)


def test_a_client_is_added_to_a_file_used_and_removed(
    csms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "auditor.json"
    result = csms("client", "add", "auditor", "--role", "auditor", "--output", str(file), "--json")
    assert result.exit_code == 0, result.output
    added = json.loads(result.stdout)
    assert "client_secret" not in added
    assert file.stat().st_mode & 0o777 == 0o600
    assert added["client_id"] in csms("client", "list").stdout
    assert "exists already" in failed(
        csms("client", "add", "again", "--role", "auditor", "--output", str(file))
    )
    monkeypatch.setenv("CSMS_CLIENT_FILE", str(file))
    assert csms("station", "list").exit_code == 0
    assert "needs the scope stations:write" in failed(
        csms("station", "add", "NO-1", "--serial-number", "SN-NO1")
    )
    monkeypatch.delenv("CSMS_CLIENT_FILE")
    assert csms("client", "remove", added["client_id"]).stdout == "Removed.\n"
    monkeypatch.setenv("CSMS_CLIENT_FILE", str(file))
    line = failed(csms("station", "list"))
    assert "does not accept the client" in line
    assert json.loads(file.read_text())["client_secret"] not in line


def test_where_the_api_is_not_there_is_one_line(
    csms: Any, tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSMS_URL", "https://localhost:1")
    assert "cannot reach https://localhost:1" in failed(csms("station", "list"))
    monkeypatch.setenv("CSMS_URL", "http://localhost:1")
    assert "by https only" in failed(csms("station", "list"))
    monkeypatch.delenv("CSMS_URL")
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    line = failed(csms("station", "--root", str(stranger), "list"))
    assert "the certificate is not trusted" in line
    monkeypatch.setenv("CSMS_DATA_DIR", str(tmp_path / "nowhere"))
    assert "no such file" in failed(csms("station", "list"))


def test_every_command_has_an_example_in_its_help(csms: Any) -> None:
    for name, sub in (("station", station), ("client", client), ("certificate", certificate)):
        for command in sub.app.registered_commands:
            assert command.callback is not None
            word = command.name or command.callback.__name__
            result = csms(name, word, "--help")
            assert result.exit_code == 0
            assert f"Example: csms {name} {word}" in result.stdout, word


def test_an_import_that_is_interrupted_shows_the_passwords_so_far(
    csms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are shown once, and then never again."""
    file = tmp_path / "stations.csv"
    file.write_text("identity,serial_number,security_profile\nINT-1,I-1,2\nINT-2,I-2,2\n")
    post = ApiSession.post
    done: list[str] = []

    def interrupted(api: ApiSession, path: str, body: Any = None) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(path)
        return post(api, path, body)

    monkeypatch.setattr(ApiSession, "post", interrupted)
    result = csms("station", "import", str(file), "--json")
    assert result.exit_code != 0
    (created,) = json.loads(result.stdout)
    assert created["password"]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1",
        "https://[",
        "https://",
        "https://localhost:99999",
        "https://me:hunter2@localhost:1",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_none_is_one_line(
    csms: Any, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CSMS_URL", url)
    assert "hunter2" not in failed(csms("station", "list"))


def test_a_secret_is_not_sent_to_a_token_endpoint_without_tls(
    csms: Any, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = json.loads((running.data_dir / "bootstrap" / "admin-client.json").read_text())
    file = tmp_path / "client.json"
    file.write_text(json.dumps(known | {"token_endpoint": "http://localhost:1/oauth/token"}))
    monkeypatch.setenv("CSMS_CLIENT_FILE", str(file))
    assert "https only" in failed(csms("station", "list"))
