"""Settings: TOML file and environment, checked once, frozen, handed on.

Environment (`CSMS_*`, `__` for nesting) wins over the file. An unknown key or a weaker value than
allowed stops the start with one line that names the key, the value and the rule. No secret has a
default, and none is a setting: secrets come as files or from Vault.
"""

from __future__ import annotations

import os
import tomllib
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from csms.domain.signing_budget import MAXIMUM_OPEN

Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port, written to endpoints.json
HostName = Annotated[
    str,
    StringConstraints(
        max_length=64,  # ub-common-name (X.520): the FQDN is CN (A00.FR.510)
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$",
    ),
]
# X.520 ub-organization-name is 64; printable ASCII keeps O comparable byte by byte (B07).
Organization = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,64}$")]


def _ip_address(text: str) -> str:
    """A host name could resolve to more than one address, and to another one tomorrow."""
    return str(ip_address(text))


Address = Annotated[str, AfterValidator(_ip_address)]
# May hold a password, so it is in no repr and in no error.
DatabaseUrl = Annotated[
    str, StringConstraints(pattern=r"^(sqlite(\+aiosqlite)?:///[^:]|postgresql\+asyncpg://).*$")
]


class SettingsInvalid(Exception):
    """One line: which key, what value, which rule."""


class TLSPolicyName(StrEnum):
    MODERN = "modern"
    OCPP_CERTIFICATION = "ocpp-certification"


class BearerPolicy(StrEnum):
    READ_ONLY = "read-only"
    ALL = "all"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class GatewaySettings(_Part):
    profile1_port: Port | None = None
    """Plain WebSocket with password; off unless set, and then only for `profile1_networks`."""
    profile1_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that may use profile 1 (A00.FR.201), as JSON: `["10.20.0.0/16"]`."""
    profile2_port: Port | None = 9002
    """TLS with password."""
    profile3_port: Port | None = 9003
    """TLS with client certificate."""
    # Every message of certification runs, and a chain of 10,000 characters, fit (D04).
    max_message_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 1 << 16
    """Largest message a station may send, after decompression."""
    call_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30.0  # Part 2 §3.2
    """How long a station may take to answer a CALL."""
    handshake_timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 5.0  # D10
    """For each of: first words, turn at the handshake gate, TLS handshake, HTTP request."""
    message_assembly_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long one message may take to arrive."""
    # A queue kept while offline is sent one by one, each behind its answer: 20 to 150 a second over
    # real networks. Honest stations send one in seconds (D09).
    messages_per_second: Annotated[float, Field(ge=1, le=100_000)] = 50.0
    """Of one station, in the long run; faster ones are read later, none is refused."""
    messages_burst: Annotated[int, Field(ge=16, le=1_000_000)] = 500
    """How many one station may send at once before that."""
    ping_interval_seconds: Annotated[float, Field(ge=10, le=3600)] = 120.0
    """Between our pings to a silent station."""
    heartbeat_interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 300
    """The interval that BootNotification is answered with."""
    max_strangers: Annotated[int, Field(ge=1)] = 2000
    """Sockets that have not authenticated yet, in all; when they are used up, addresses that have
    many give up theirs to those that have few."""
    max_strangers_per_source: Annotated[int, Field(ge=1)] = 200
    """The same, from one address."""
    # Twenty: a station that is set up wrong, and the person who sets it up, get several tries each.
    failures_per_source: Annotated[int, Field(ge=5, le=10_000)] = 20  # A09
    """Attempts of one address (an IPv6 /64) that may fail before it is turned away unheard, but for
    stations that are known there. More where many stations, or health checks that end after the TLS
    handshake, come through one address."""
    failure_recovery_seconds: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """How long until it has one more."""
    # More do not raise the rate; fewer keep connected stations from waiting behind a storm.
    max_handshakes: Annotated[int, Field(ge=1, le=256)] = 16
    """TLS handshakes at once."""

    max_open_certificate_requests: Annotated[int, Field(ge=1, le=100_000)] = MAXIMUM_OPEN
    """Requests of the whole fleet that may wait for the CA, while Vault is sealed for example."""

    @model_validator(mode="after")
    def _profile_1_needs_networks(self) -> Self:
        if self.profile1_port is not None and not self.profile1_networks:
            raise ValueError(
                "profile1_port needs profile1_networks: A00.FR.201, trusted networks only"
            )
        if any(network.prefixlen == 0 for network in self.profile1_networks):
            raise ValueError("profile1_networks: everybody is no trusted network (A00.FR.201)")
        return self


class APISettings(_Part):
    port: Port = 8443
    """HTTPS: management API and OAuth."""
    bind: Address | None = None
    """The API's own address; unset: `bind`. On loopback it may be administered with plain bearer
    tokens (`oauth.bearer=all`) while stations connect to a real address."""


class PkiSettings(_Part):
    port: Port = 9444
    """Mutual TLS, of `csms pki`."""
    public_port: Port = 8080
    """Plain HTTP: the CA certificates. Its URL, with `hostname`, stands in every certificate."""
    url: Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.:\[\]-]+$")] | None = None
    """Where a PKI in a process of its own answers; unset: the authority runs inside this one."""
    callers_dir: Path | None = None
    """What `csms pki` left for its callers: csms-root.pem, key and certificate of each role."""

    @model_validator(mode="after")
    def _a_url_needs_callers(self) -> Self:
        if self.url is not None and self.callers_dir is None:
            raise ValueError("url needs callers_dir: the PKI answers nobody without a certificate")
        return self


class MetricsSettings(_Part):
    port: Port = 9464
    """Plain HTTP: /healthz, /readyz, /metrics."""
    bind: Address = "127.0.0.1"
    """Apart from `bind`: it stays on loopback unless set."""


class OAuthSettings(_Part):
    bearer: BearerPolicy = BearerPolicy.READ_ONLY
    """What a plain bearer token may do: `read-only`, or `all` while the API is on loopback."""


class TLSSettings(_Part):
    policy: TLSPolicyName = TLSPolicyName.MODERN
    """A name of policies/tls.toml: `modern`, or for certification runs `ocpp-certification`, which
    adds static RSA and RSA certificates. Set it before the first start: it makes their CA keys."""


class ExternalVault(_Part):
    """An operator's own Vault or OpenBao; unset: the bundled OpenBao."""

    addr: str | None = None
    """`https://HOST:8200` of your own Vault or OpenBao; unset: the bundled one."""
    ca_file: Path | None = None
    """Whom to trust there, PEM."""
    namespace: str | None = None
    """Its namespace, if it has any."""
    secrets_dir: Path | None = None
    """Role id and secret id of every role, as `csms vault apply --secrets-dir` leaves them."""
    role_id: str | None = None
    """Instead of `secrets_dir`, for a process that runs one role."""
    secret_id_file: Path | None = None
    """Goes with `role_id`; mode 0600."""


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="CSMS_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path("var")
    """Databases, OpenBao's storage, keys of our listeners, bootstrap files; made 0700."""
    database_url: Annotated[DatabaseUrl | None, Field(repr=False)] = None
    """`postgresql+asyncpg://USER:PASSWORD@HOST/NAME`; unset: SQLite in `data_dir`."""
    bus_url: Annotated[str, StringConstraints(pattern=r"^memory://$")] = "memory://"
    """Only the bus inside one process so far."""
    hostname: HostName = "localhost"
    """FQDN of the listeners: CN and SAN of their certificate. Set it before the first start: the
    CA certificates name the public port by it."""
    organization: Organization = "Example CSO"
    """O of every certificate, checked on every client certificate (A00.FR.404)."""
    bind: Address = "127.0.0.1"
    """IP address of every listener that has none of its own."""
    node: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "node-1"
    """Name of this process among several."""
    policies_dir: Path = Path(__file__).resolve().parent.parent / "policies"
    """Reviewed policy files: TLS, certificate profiles, Vault, callers."""
    gateway: GatewaySettings = GatewaySettings()
    api: APISettings = APISettings()
    pki: PkiSettings = PkiSettings()
    metrics: MetricsSettings = MetricsSettings()
    oauth: OAuthSettings = OAuthSettings()
    tls: TLSSettings = TLSSettings()
    vault: ExternalVault = ExternalVault()

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir.resolve()}/csms.db"

    @property
    def for_certification(self) -> bool:
        """Listeners also hold an RSA certificate, and the PKI its hierarchy (tension T2)."""
        return self.tls.policy is TLSPolicyName.OCPP_CERTIFICATION

    @property
    def api_bind(self) -> str:
        return self.api.bind or self.bind

    @model_validator(mode="after")
    def _bearer_all_stays_at_home(self) -> Self:
        """Tokens are taken by the API alone: where that is on loopback, none crosses a network."""
        if self.oauth.bearer is BearerPolicy.ALL and not ip_address(self.api_bind).is_loopback:
            raise ValueError("oauth.bearer=all is allowed only while the API is on loopback")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the hook's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


_SPOKEN_BY_OTHERS = frozenset({"CSMS_CONFIG", "CSMS_URL", "CSMS_CLIENT_FILE"})  # the command line's


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read the file (if there is one) and the environment. Raises SettingsInvalid."""
    if config is not None and not config.is_file():
        raise SettingsInvalid(f"--config {config}: no such file")
    file = config or Path("csms.toml")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file if file.is_file() else None)

    _refuse_unknown_environment()
    try:
        return FromFile(**overrides)
    except ValidationError as error:
        raise SettingsInvalid(_rule_broken(error)) from None
    except SettingsError as error:
        raise SettingsInvalid(f'{error}; lists are JSON, such as ["10.0.0.0/8"]') from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{file}: not TOML: {error}") from None
    except OSError as error:
        raise SettingsInvalid(f"{file}: {error.strerror}") from None


def _rule_broken(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    # Its value may be a secret that somebody meant to hand over here.
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown setting"
    if key == "database_url":
        return f"{key}: sqlite+aiosqlite:///FILE or postgresql+asyncpg://…"
    rule = first["msg"].removeprefix("Value error, ")
    # A rule over several keys names them itself.
    if not isinstance(first["input"], str | int | float | None):
        return ".".join(str(part) for part in first["loc"]) + (": " if first["loc"] else "") + rule
    return f"{key}={first['input']!r}: {rule}"


def _refuse_unknown_environment() -> None:
    """pydantic-settings ignores variables it does not know; a typo in a security setting must not
    pass silently.
    """
    fields = Settings.model_fields.items()
    nested = {f"CSMS_{name.upper()}" for name, field in fields if _is_part(field.annotation)}
    known = {f"CSMS_{name.upper()}" for name, _ in fields} | _SPOKEN_BY_OTHERS
    for variable in os.environ:
        if not variable.upper().startswith("CSMS_") or variable.startswith("CSMS_TEST_"):
            continue
        name, inside, _ = variable.upper().partition("__")
        if name not in (nested if inside else known):
            raise SettingsInvalid(f"{variable}: unknown setting")


def _is_part(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, _Part)
