"""docker-compose.yml and Dockerfile: no engine here can run them, so what can be read is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from csms.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def known_settings() -> set[str]:
    names = set()
    for name, field in Settings.model_fields.items():
        nested = getattr(type(field.default), "model_fields", None)
        names |= {f"CSMS_{name}__{key}".upper() for key in nested} if nested else set()
        names.add(f"CSMS_{name}".upper())
    return names


def test_every_setting_it_gives_exists() -> None:
    given = {key for key in SERVICES["csms"]["environment"] if key.startswith("CSMS_")}
    assert given
    assert given <= known_settings()


@pytest.mark.parametrize("service", list(SERVICES))
def test_nothing_listens_beyond_loopback(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert str(port).startswith("127.0.0.1:"), port
    assert "CSMS_BIND" not in SERVICES[service].get("environment", {})


@pytest.mark.parametrize("service", list(SERVICES))
def test_no_secret_stands_in_the_file(service: str) -> None:
    """A password has no default: compose refuses to start without one."""
    for key, value in SERVICES[service].get("environment", {}).items():
        if "PASSWORD" in key or "://" in str(value):
            assert ":?" in str(value), key


def test_named_volumes_are_declared() -> None:
    used = {
        str(volume).split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])


def test_the_image_has_what_the_product_reads_at_run_time() -> None:
    copied = {
        line.split()[1]
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY")
    }
    assert {"csms", "pki", "station", "certs", "policies"} <= copied
    assert "USER csms" in (ROOT / "Dockerfile").read_text()
