"""Settings: every rule has a value that passes and one that stops the start in one line."""

from pathlib import Path

import pytest

from csms.settings import BearerPolicy, Settings, SettingsInvalid, load_settings


@pytest.fixture(autouse=True)
def _an_empty_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("CSMS_OAUTH__BEARER", "CSMS_DATA_DIR", "CSMS_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)


def refused(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CSMS_BIND", "0.0.0.0"),
        ("CSMS_BIND", "::1"),
        ("CSMS_METRICS__BIND", "10.0.0.1"),
        ("CSMS_HOSTNAME", "csms.example.com"),
        ("CSMS_ORGANIZATION", "O" * 64),
        ("CSMS_NODE", "node_2.a-b"),
        ("CSMS_API__PORT", "0"),
        ("CSMS_API__PORT", "65535"),
        ("CSMS_BUS_URL", "memory://"),
        ("CSMS_DATABASE_URL", "sqlite+aiosqlite:////tmp/x.db"),
        ("CSMS_DATABASE_URL", "postgresql+asyncpg://u:p@127.0.0.1/csms"),
        ("CSMS_GATEWAY__MAX_MESSAGE_BYTES", "4096"),
        ("CSMS_GATEWAY__CALL_TIMEOUT_SECONDS", "300"),
        ("CSMS_GATEWAY__HANDSHAKE_TIMEOUT_SECONDS", "30"),
        ("CSMS_GATEWAY__MESSAGE_ASSEMBLY_SECONDS", "60"),
        ("CSMS_GATEWAY__PING_INTERVAL_SECONDS", "10"),
        ("CSMS_GATEWAY__HEARTBEAT_INTERVAL_SECONDS", "86400"),
        ("CSMS_GATEWAY__MAX_STRANGERS", "1"),
        ("CSMS_GATEWAY__MAX_HANDSHAKES", "256"),
        ("CSMS_TLS__POLICY", "ocpp-certification"),
        ("CSMS_OAUTH__BEARER", "all"),
    ],
)
def test_a_value_within_its_rule_is_taken(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert isinstance(load_settings(), Settings)


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("CSMS_BIND", "localhost", "bind='localhost'"),
        ("CSMS_BIND", "", "bind=''"),
        ("CSMS_METRICS__BIND", "everywhere", "metrics.bind='everywhere'"),
        ("CSMS_HOSTNAME", "a_b", "hostname"),
        ("CSMS_HOSTNAME", "a" * 65, "hostname"),
        ("CSMS_HOSTNAME", "a\n", "hostname"),
        ("CSMS_ORGANIZATION", "", "organization"),
        ("CSMS_ORGANIZATION", "O" * 65, "organization"),
        ("CSMS_ORGANIZATION", "Stra\u00dfe", "organization"),
        ("CSMS_NODE", "a b", "node"),
        ("CSMS_API__PORT", "65536", "api.port='65536'"),
        ("CSMS_API__PORT", "-1", "api.port"),
        ("CSMS_BUS_URL", "redis://", "bus_url"),
        ("CSMS_DATABASE_URL", "sqlite+aiosqlite:///:memory:", "database_url"),
        ("CSMS_GATEWAY__MAX_MESSAGE_BYTES", "4095", "gateway.max_message_bytes"),
        ("CSMS_GATEWAY__MAX_MESSAGE_BYTES", "1048577", "gateway.max_message_bytes"),
        ("CSMS_GATEWAY__CALL_TIMEOUT_SECONDS", "0", "gateway.call_timeout_seconds"),
        ("CSMS_GATEWAY__CALL_TIMEOUT_SECONDS", "nan", "gateway.call_timeout_seconds"),
        ("CSMS_GATEWAY__HANDSHAKE_TIMEOUT_SECONDS", "31", "gateway.handshake_timeout_seconds"),
        ("CSMS_GATEWAY__MESSAGE_ASSEMBLY_SECONDS", "inf", "gateway.message_assembly_seconds"),
        ("CSMS_GATEWAY__PING_INTERVAL_SECONDS", "9", "gateway.ping_interval_seconds"),
        ("CSMS_GATEWAY__HEARTBEAT_INTERVAL_SECONDS", "9", "gateway.heartbeat_interval_seconds"),
        ("CSMS_GATEWAY__MAX_STRANGERS", "0", "gateway.max_strangers"),
        ("CSMS_GATEWAY__MAX_STRANGERS_PER_SOURCE", "0", "gateway.max_strangers_per_source"),
        ("CSMS_GATEWAY__MAX_HANDSHAKES", "257", "gateway.max_handshakes"),
        ("CSMS_GATEWAY__PROFILE1_PORT", "9001", "profile1_networks"),
        ("CSMS_GATEWAY__PROFILE1_NETWORKS", "10.0.0.0/8", "lists are JSON"),
        ("CSMS_GATEWAY__PROFILE1_NETWORKS", '["0.0.0.0/0"]', "A00.FR.201"),
        ("CSMS_GATEWAY", "on", "gateway"),
        ("CSMS_TLS__POLICY", "weak", "tls.policy='weak'"),
        ("CSMS_OAUTH__BEARER", "write", "oauth.bearer='write'"),
        ("CSMS_PKI__URL", "http://pki:9444", "pki.url"),
        ("CSMS_PKI__URL", "https://pki:9444", "callers_dir"),
    ],
)
def test_a_value_outside_its_rule_stops_the_start_and_names_the_key(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, key: str
) -> None:
    assert key in refused(monkeypatch, **{variable: value})


@pytest.mark.parametrize("bind", ["CSMS_BIND", "CSMS_API__BIND"])
def test_plain_bearer_tokens_may_write_only_at_home(
    monkeypatch: pytest.MonkeyPatch, bind: str
) -> None:
    """SECURITY.md: refused when anything binds to another address than loopback."""
    monkeypatch.setenv("CSMS_OAUTH__BEARER", "all")
    assert load_settings().oauth.bearer is BearerPolicy.ALL
    assert "oauth.bearer=all" in refused(monkeypatch, **{bind: "0.0.0.0"})


def test_profile_1_with_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_GATEWAY__PROFILE1_PORT", "9001")
    monkeypatch.setenv("CSMS_GATEWAY__PROFILE1_NETWORKS", '["10.0.0.0/8","fd00::/8"]')
    assert len(load_settings().gateway.profile1_networks) == 2


@pytest.mark.parametrize(
    "variable",
    [
        "CSMS_HOSTNAM",
        "CSMS_API__PROT",
        "CSMS_GATEWAY_PROFILE2_PORT",
        "CSMS_HOSTNAME__PORT",
        "CSMS_BIND__",
        "csms_bindd",
    ],
)
def test_an_unknown_variable_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    assert "unknown setting" in refused(monkeypatch, **{variable: "hunter2"})


def test_the_value_of_an_unknown_key_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have meant to hand over a secret."""
    assert "hunter2" not in refused(monkeypatch, CSMS_VAULT__SECRET_ID="hunter2")
    monkeypatch.delenv("CSMS_VAULT__SECRET_ID")
    Path("csms.toml").write_text('[vault]\ntoken = "hunter2"\n')
    assert refused(monkeypatch) == "vault.token: unknown setting"


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:hunter2@h/db", "mysql://u:hunter2@h/db", "hunter2", "sqlite:///"],
)
def test_a_database_url_is_never_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    line = refused(monkeypatch, CSMS_DATABASE_URL=url)
    assert "hunter2" not in line
    assert "database_url" in line


def test_the_password_of_the_database_is_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_DATABASE_URL", "postgresql+asyncpg://u:hunter2@h/db")
    assert "hunter2" not in repr(load_settings())


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"a = [", "not TOML"),
        (b"\xff", "not TOML"),
        (b'data-dir = "x"', "data-dir: unknown setting"),
        (b"[gateway]\nprofile9_port = 1", "gateway.profile9_port: unknown setting"),
        (b"gateway = 1", "gateway"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, content: bytes, part: str
) -> None:
    Path("csms.toml").write_bytes(content)
    assert part in refused(monkeypatch)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="no such file"):
        load_settings(tmp_path / "nothing.toml")


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("csms.toml").write_text('hostname = "file"\nnode = "file"\n[api]\nport = 1\n')
    monkeypatch.setenv("CSMS_HOSTNAME", "env")
    monkeypatch.setenv("CSMS_API__PORT", "2")
    settings = load_settings()
    assert (settings.hostname, settings.node, settings.api.port) == ("env", "file", 2)


def test_the_api_may_stay_at_home_while_stations_come_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CSMS_OAUTH__BEARER", "all")
    monkeypatch.setenv("CSMS_BIND", "0.0.0.0")
    monkeypatch.setenv("CSMS_API__BIND", "127.0.0.1")
    settings = load_settings()
    assert settings.oauth.bearer is BearerPolicy.ALL
    assert (settings.bind, settings.api_bind) == ("0.0.0.0", "127.0.0.1")
    monkeypatch.delenv("CSMS_API__BIND")
    assert "oauth.bearer=all" in refused(monkeypatch)
