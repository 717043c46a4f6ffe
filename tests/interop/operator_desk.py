"""A registered station as its operator sees it: through the REST API and nothing else."""

from dataclasses import dataclass
from typing import Any

from tests.fixtures.product import Product

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OperatorDesk:
    """One station's records and commands; every method is one or a few HTTP requests."""

    product: Product
    registration: Json

    @property
    def identity(self) -> str:
        return str(self.registration["identity"])

    @property
    def serial_number(self) -> str:
        return str(self.registration["serial_number"])

    @property
    def password(self) -> str:
        return str(self.registration["password"])

    def _get(self, path: str) -> Json:
        answer = self.product.api("GET", path)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def _items(self, path: str) -> list[Json]:
        items: list[Json] = self._get(path)["items"]
        return items

    def renew(self) -> str:
        """Ask for a new certificate (A02); the id of the operation to watch."""
        answer = self.product.api("POST", f"/api/v1/stations/{self.identity}/certificates/renewal")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def command(self, action: str, payload: Json) -> Json:
        """The station's CALLRESULT; anything else fails the test."""
        answer = self.product.command(self.identity, action, payload)
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        assert body["status"] == "answered", body
        response: Json = body["response"]
        return response

    def certificates(self) -> dict[str, str]:
        """Status by certificate serial number, in hexadecimal without leading zeros."""
        items = self._items(f"/api/v1/certificates?station={self.identity}")
        return {normal(item["serial"]): item["status"] for item in items}

    def wait_for_certificates(self, expected: dict[str, str]) -> None:
        """Until every certificate of the station has the status expected of it."""
        self.product.eventually(lambda: self.certificates() == expected)

    def wait_for_operation(self, operation: str, state: str) -> None:
        self.product.eventually(
            lambda: self._get(f"/api/v1/operations/{operation}")["state"] == state
        )

    def profiles(self) -> tuple[int, int]:
        """The station's security profile and the least one that is still let in."""
        found = self._get(f"/api/v1/stations/{self.identity}")
        return found["security_profile"], found["minimum_security_profile"]

    def last_seen(self) -> str | None:
        """When it last said anything over OCPP."""
        seen: str | None = self._get(f"/api/v1/stations/{self.identity}")["last_seen_at"]
        return seen

    def security_events(self) -> set[tuple[str, str | None]]:
        items = self._items(f"/api/v1/security-events?station={self.identity}")
        return {(item["type"], item["tech_info"]) for item in items if item["source"] == "station"}

    def failing_checks(self) -> list[str]:
        """Why this station was refused, newest first."""
        items = self._items(f"/api/v1/stations/{self.identity}/connection-attempts")
        return [item["failing_check"] for item in items if item["failing_check"] is not None]


def normal(serial: str) -> str:
    """A certificate serial number as hexadecimal, however it was written."""
    return serial.replace(":", "").lower().lstrip("0")
