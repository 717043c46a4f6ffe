"""Settings of the PKI: what stands in certificates for years is checked before it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pki.settings import AuthoritySettings, VaultSettings, public_base_url


def settings(**changes: Any) -> AuthoritySettings:
    return AuthoritySettings(
        **{
            "database_url": "postgresql+asyncpg://pki:hunter2@localhost/pki",
            "organization": "Example CSO",
            "public_base_url": "http://pki.example.com:8080",
            "vault": VaultSettings(
                addr="http://127.0.0.1:1", role_id="r", secret_id_file=Path("s")
            ),
            "profiles_file": Path("p"),
            "ceremony_file": Path("c"),
            **changes,
        }
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://[::1]:8080", "http://a.example"])
def test_an_address_or_a_full_name_is_accepted(url: str) -> None:
    assert settings(public_base_url=url).public_base_url == url


@pytest.mark.parametrize(
    "url",
    ["https://a.example", "http://localhost:8080", "http://csms", "http://a.example/pki",
     "http://u@a.example", "http://*.example.com", "ftp://a.example", "http://", "a.example"],
)  # fmt: skip
def test_what_relying_parties_could_not_fetch_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        settings(public_base_url=url)


def test_localhost_is_written_as_an_address() -> None:
    assert public_base_url("localhost", 8080) == "http://127.0.0.1:8080"
    assert public_base_url("a.example", 80) == "http://a.example:80"


@pytest.mark.parametrize("changes", [{"organization": " x"}, {"threads": 0}, {"unknown": 1}])
def test_other_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_the_databases_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(settings())
