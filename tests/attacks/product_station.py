"""A hostile station of the running product: registered by the API, talking in raw bytes."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Self
from urllib.parse import urlsplit

from tests.attacks.hostile import HostileStation, basic, client_tls, frame, upgrade
from tests.fixtures.product import Product

Json = dict[str, Any]


@dataclass
class ProductStation:
    product: Product
    identity: str
    serial_number: str
    password: str
    _calls: list[Any] = field(default_factory=list)

    @contextmanager
    def connected(
        self, *, boot: bool = True, leaf: Path | None = None, seconds: float = 30
    ) -> Iterator[HostileStation]:
        """Booted, so that it may talk. Over profile 2, or 3 with a certificate."""
        port = urlsplit(self.product.ocpp(3 if leaf else 2)).port
        assert port is not None
        trust = client_tls(self.product.root_pem.read_text(), leaf=leaf)
        with HostileStation(port, context=trust, seconds=seconds) as wire:
            header = f"Authorization: {basic(self.identity, self.password)}"
            answer = wire.ask(upgrade(f"/ocpp/{self.identity}", *([] if leaf else [header])))
            assert answer.status == 101, answer.raw
            self._calls.clear()
            if boot:
                assert self.boot(wire)[2]["status"] == "Accepted"
            yield wire

    def boot(self, wire: HostileStation) -> Any:
        station = {"model": "Hostile", "vendorName": "Tests"}
        return self.call(
            wire, "BootNotification", {"reason": "PowerUp", "chargingStation": station}
        )

    def call(self, wire: HostileStation, action: str, payload: Json) -> Any:
        """A CALL and its answer; CALLs of the CSMS that cross it are kept for `expect`."""
        used = os.urandom(8).hex()
        wire.send(frame(json.dumps([2, used, action, payload]).encode()))
        while (said := wire.read_text())[:2] not in ([3, used], [4, used]):
            self._calls.append(said)
        return said

    def sign(self, wire: HostileStation, csr: str, **more: str) -> Any:
        return self.call(wire, "SignCertificate", {"csr": csr, **more})

    def said_nothing(self, wire: HostileStation) -> None:
        """The CSMS has sent it no CALL; a round trip, since messages keep their order."""
        assert self.call(wire, "Heartbeat", {})[0] == 3
        assert self._calls == []

    def expect(self, wire: HostileStation, action: str) -> tuple[str, Json]:
        """The next CALL of the CSMS, which must be this one: its message id and payload."""
        said = self._calls.pop(0) if self._calls else wire.read_text()
        assert said[0] == 2, said
        assert said[2] == action, said
        return str(said[1]), said[3]

    def reply(self, wire: HostileStation, message_id: str, payload: Json) -> None:
        wire.send(frame(json.dumps([3, message_id, payload]).encode()))


def register(product: Product, count: int, **fields: Any) -> list[ProductStation]:
    """So many stations at once, by one connection to the API."""
    url = product.endpoints["api"].rstrip("/") + "/api/v1/stations"
    headers = {"Authorization": f"Bearer {product.token()}"}
    made = []
    with product.http() as http:
        for _ in range(count):
            number = next(product._names)
            body = {
                "identity": f"HS{os.getpid()}-{number:05d}",
                "serial_number": f"SH{os.getpid()}-{number:05d}",
                "security_profile": 2,
            }
            answer = http.post(url, json=body | fields, headers=headers)
            assert answer.status_code == 201, answer.text
            said = answer.json()
            made.append(
                ProductStation(product, said["identity"], said["serial_number"], said["password"])
            )
    return made


class Witness:
    """An honest station that stays connected and asks the time all the while. Whatever is done to
    others, it is answered, on the same connection; what it waits is the product's lag, and more.
    """

    # A guard against a product that stands still, no benchmark: the attacks share its two cores.
    GUARD_SECONDS = 10.0
    PERIOD_SECONDS = 0.02

    def __init__(self, product: Product) -> None:
        (self._station,) = register(product, 1)
        self._over = Event()
        self.worst = 0.0

    def _watch(self, wire: HostileStation) -> None:
        while not self._over.wait(self.PERIOD_SECONDS):
            began = time.monotonic()
            self._station.said_nothing(wire)
            self.worst = max(self.worst, time.monotonic() - began)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        wire = self._stack.enter_context(self._station.connected())
        self._threads = self._stack.enter_context(ThreadPoolExecutor(1))
        self._watching = self._threads.submit(self._watch, wire)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._stack:
            self._watching.result()
        assert self.worst < self.GUARD_SECONDS, f"the product stood still for {self.worst:.1f} s"


def pages(product: Product, path: str, **query: str) -> list[Json]:
    """All items of a listing."""
    url = product.endpoints["api"].rstrip("/") + "/api/v1/" + path
    headers = {"Authorization": f"Bearer {product.token()}"}
    items: list[Json] = []
    with product.http() as http:
        while True:
            answer = http.get(url, params={"limit": "200"} | query, headers=headers)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            items += page["items"]
            if page["next"] is None:
                return items
            query["cursor"] = page["next"]


def rows(product: Product, table: str, database: str = "csms") -> int:
    """How many rows a table has: what a flood must not make grow."""
    return int(scalar(product, f"select count(*) from {table}", database=database))


def scalar(product: Product, statement: str, *values: Any, database: str = "csms") -> Any:
    path = product.data_dir / f"{database}.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as books:
        return books.execute(statement, values).fetchone()[0]


def signatures(product: Product) -> int:
    """How many signatures of the issuing CA of stations OpenBao's audit file knows of."""
    wanted = b"transit/sign/csms-issuer-stations"
    lines = (product.data_dir / "openbao" / "audit.log").read_bytes().splitlines()
    asked = [json.loads(line) for line in lines if wanted in line]
    return sum(entry["type"] == "response" and "error" not in entry for entry in asked)
