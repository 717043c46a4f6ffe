"""What the PKI needs to be told, checked once; `csms.wiring` and `csms pki` build it from theirs.

No secret has a default: a role's secret id lies in a file that is read at each login; only the
ceremony's, which works once, may be handed over in memory.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from pki.x509.names import NameInvalid, parse_host_name, parse_organization


def _base_url(text: str) -> str:
    """http://HOST[:PORT] of AIA and CRL DP. RFC 5280 §4.2.1.6: an absolute URI whose host is a
    fully qualified name or an address; linters and stations refuse a single label.
    """
    parts = urlsplit(text)
    host = parts.hostname or ""
    if parts.scheme != "http" or parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError("http://HOST[:PORT] and nothing more (RFC 5280 §8: no https, no loop)")
    try:
        ip_address(host)
    except ValueError:
        try:
            parse_host_name(host)
        except NameInvalid as error:
            raise ValueError(str(error)) from error
        if "." not in host:
            raise ValueError("a fully qualified host name or an IP address") from None
    return text


class VaultSettings(BaseModel):
    """Exactly one secret id: in a 0600 file, or in memory, as the ceremony's is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    addr: str
    role_id: str
    secret_id_file: Path | None = None
    secret_id: SecretStr = SecretStr("")
    ca_file: Path | None = None
    namespace: str | None = None
    transit_mount: str = "transit"
    approle_mount: str = "approle"
    timeout_seconds: Annotated[float, Field(gt=0, le=5)] = 5.0

    @model_validator(mode="after")
    def _one_secret_id(self) -> Self:
        if (self.secret_id_file is None) == (not self.secret_id):
            raise ValueError("either secret_id_file or secret_id")
        return self

    def read_secret_id(self) -> str:
        """Read at every login, so that a rotated file needs no restart."""
        if self.secret_id_file is None:
            return self.secret_id.get_secret_value()
        return self.secret_id_file.read_text(encoding="ascii").strip()


class AuthoritySettings(BaseModel):
    """`public_base_url` stands in every certificate: where /pki/ca.pem and the CRLs are served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: str = Field(repr=False)  # may carry a password
    organization: Annotated[str, AfterValidator(parse_organization)]
    public_base_url: Annotated[str, AfterValidator(_base_url)]
    vault: VaultSettings
    profiles_file: Path
    ceremony_file: Path
    # Listeners have a second certificate, and its chain is RSA up to a root of its own.
    with_rsa: bool = False
    # Blocking work at once: CSR checks, linting, calls to Vault.
    threads: Annotated[int, Field(ge=1, le=64)] = 8
    # After that long an open intent is given up: its process has crashed. One process on SQLite
    # needs no patience, several on PostgreSQL do.
    intent_patience_seconds: Annotated[float, Field(ge=0, le=3600)] | None = None


def public_base_url(host: str, port: int) -> str:
    """The URL under which relying parties reach the public port; `localhost` is written as an
    address, since RFC 5280 wants a fully qualified name or one.
    """
    host = "127.0.0.1" if host == "localhost" else host
    return f"http://{host}:{port}"
