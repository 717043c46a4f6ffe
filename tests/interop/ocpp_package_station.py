"""A Charging Station on the `ocpp` package (PyPI): its ChargePoint, its schemas, its dataclasses.

Of ours is only what a manufacturer writes on top: keys, a CSR, checks of what is delivered, and
what outlives a connection. CALLs of the station are made by the test, never inside a handler:
the package handles frames one after the other, and such a CALL would wait for itself.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from ocpp import routing
from ocpp.v201 import ChargePoint, call_result, datatypes
from ocpp.v201.enums import Action
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.fixtures.peer import Key, basic, trusting
from tests.interop.operator_desk import normal

Json = dict[str, Any]
Handler = TypeVar("Handler", bound=Callable[..., Any])
PATIENCE = 15

# The package tells what it could not read or refused only here; it logs every frame as well.
LOGGER = logging.getLogger("interop.ocpp_package")
LOGGER.propagate = False
LOGGER.setLevel(logging.WARNING)


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What the package has against the frames that it was sent."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear()
    LOGGER.addHandler(ear)
    try:
        yield heard
    finally:
        LOGGER.removeHandler(ear)


@dataclass
class Memory:
    """What a station keeps over a reconnect."""

    identity: str
    serial_number: str
    directory: Path
    root_pem: Path
    pending: Key | None = None
    keys: list[Key] = field(default_factory=list)
    roots: list[x509.Certificate] = field(default_factory=list)
    variables: dict[tuple[str, str], str] = field(default_factory=dict)
    network_profiles: dict[int, Json] = field(default_factory=dict)
    cut_at_delivery: bool = False  # the line breaks when the next certificate arrives

    def signing_request(self, common_name: str | None = None) -> str:
        """A CSR over a fresh key; the key before it is thrown away (A02.FR.02)."""
        directory = self.directory / str(len(self.keys) + 1)
        directory.mkdir(exist_ok=True)
        self.pending = Key(directory)
        return self.pending.csr(common_name or self.serial_number)

    def keep(self, chain_pem: str) -> bool:
        """Whether the chain is one to come back with: our key, signed up to the CSMS root."""
        if self.pending is None or not _fits(chain_pem, self.pending, self.root_pem):
            return False
        self.pending.keep(chain_pem)
        self.keys.append(self.pending)
        self.pending = None
        return True

    def serial_of(self, index: int) -> str:
        leaf = x509.load_pem_x509_certificate(self.keys[index].chain_file.read_bytes())
        return normal(f"{leaf.serial_number:x}")


def _fits(chain_pem: str, key: Key, root_pem: Path) -> bool:
    chain = x509.load_pem_x509_certificates(chain_pem.encode())
    root = x509.load_pem_x509_certificate(root_pem.read_bytes())
    # Leaf and issuing CA; the root is what the station trusts already.
    if len(chain) != 2 or chain[0].public_key() != key.private.public_key():
        return False
    try:
        chain[0].verify_directly_issued_by(chain[1])
        chain[1].verify_directly_issued_by(root)
    except (InvalidSignature, ValueError):
        return False
    return True


def answers(action: Action) -> Callable[[Handler], Handler]:
    """The package's `on`, which has no types of its own."""
    decorator: Callable[[Handler], Handler] = routing.on(action)
    return decorator


def answered(action: Action) -> Callable[[Handler], Handler]:
    """The package's `after`: the answer has been sent."""
    decorator: Callable[[Handler], Handler] = routing.after(action)
    return decorator


class Station(ChargePoint):  # type: ignore[misc]  # the package is untyped
    """Handlers only: they answer from memory; what the test acts upon is noted once answered."""

    def __init__(self, connection: Any, memory: Memory) -> None:
        super().__init__(memory.identity, connection, response_timeout=PATIENCE, logger=LOGGER)
        self.memory = memory
        self.asked: asyncio.Queue[tuple[Action, Json]] = asyncio.Queue()
        self.offline = asyncio.Event()

    async def next_asked(self, action: Action) -> Json:
        """The next CALL that the CSMS made on its own, which must be this one."""
        async with asyncio.timeout(PATIENCE):
            asked, payload = await self.asked.get()
        assert asked == action, (asked, payload)
        return payload

    @answers(Action.trigger_message)
    def on_trigger_message(self, **payload: Any) -> call_result.TriggerMessage:
        return call_result.TriggerMessage(status="Accepted")

    @answered(Action.trigger_message)
    def note_trigger_message(self, **payload: Any) -> None:
        self.asked.put_nowait((Action.trigger_message, payload))

    @answers(Action.certificate_signed)
    async def on_certificate_signed(self, **payload: Any) -> call_result.CertificateSigned:
        if self.memory.cut_at_delivery:
            self.memory.cut_at_delivery = False
            await self._connection.close()
            return call_result.CertificateSigned(status="Rejected")  # which never leaves
        kept = self.memory.keep(payload["certificate_chain"])
        return call_result.CertificateSigned(status="Accepted" if kept else "Rejected")

    @answered(Action.certificate_signed)
    def note_certificate_signed(self, **payload: Any) -> None:
        self.asked.put_nowait((Action.certificate_signed, payload))

    @answers(Action.install_certificate)
    def on_install_certificate(
        self, certificate_type: str, certificate: str
    ) -> call_result.InstallCertificate:
        assert certificate_type == "CSMSRootCertificate"
        self.memory.roots.append(x509.load_pem_x509_certificate(certificate.encode()))
        return call_result.InstallCertificate(status="Accepted")

    @answers(Action.get_installed_certificate_ids)
    def on_get_installed_certificate_ids(
        self, certificate_type: list[str] | None = None
    ) -> call_result.GetInstalledCertificateIds:
        chains = [
            datatypes.CertificateHashDataChainType(
                certificate_type="CSMSRootCertificate", certificate_hash_data=hash_data(root)
            )
            for root in self.memory.roots
        ]
        return call_result.GetInstalledCertificateIds(
            status="Accepted" if chains else "NotFound", certificate_hash_data_chain=chains or None
        )

    @answers(Action.set_variables)
    def on_set_variables(self, set_variable_data: list[Json]) -> call_result.SetVariables:
        for data in set_variable_data:
            self.memory.variables[_name(data)] = data["attribute_value"]
        results = [
            datatypes.SetVariableResultType(
                attribute_status="Accepted", component=data["component"], variable=data["variable"]
            )
            for data in set_variable_data
        ]
        return call_result.SetVariables(set_variable_result=results)

    @answers(Action.get_variables)
    def on_get_variables(self, get_variable_data: list[Json]) -> call_result.GetVariables:
        return call_result.GetVariables(
            get_variable_result=[self._variable(data) for data in get_variable_data]
        )

    def _variable(self, data: Json) -> datatypes.GetVariableResultType:
        value = self.memory.variables.get(_name(data))
        return datatypes.GetVariableResultType(
            attribute_status="UnknownVariable" if value is None else "Accepted",
            attribute_value=value,
            component=data["component"],
            variable=data["variable"],
        )

    @answers(Action.set_network_profile)
    def on_set_network_profile(
        self, configuration_slot: int, connection_data: Json
    ) -> call_result.SetNetworkProfile:
        self.memory.network_profiles[configuration_slot] = connection_data
        return call_result.SetNetworkProfile(status="Accepted")

    @answers(Action.reset)
    def on_reset(self, **payload: Any) -> call_result.Reset:
        return call_result.Reset(status="Accepted")

    @answered(Action.reset)
    def note_reset(self, **payload: Any) -> None:
        self.asked.put_nowait((Action.reset, payload))


def _name(data: Json) -> tuple[str, str]:
    return data["component"]["name"], data["variable"]["name"]


def hash_data(root: x509.Certificate) -> datatypes.CertificateHashDataType:
    """RFC 6960's CertID of a self-signed certificate, as CertificateHashDataType has it."""
    public_key = root.public_key()
    bits = public_key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return datatypes.CertificateHashDataType(
        hash_algorithm="SHA256",
        issuer_name_hash=hashlib.sha256(root.issuer.public_bytes()).hexdigest(),
        issuer_key_hash=hashlib.sha256(bits).hexdigest(),
        serial_number=f"{root.serial_number:x}",
    )


@asynccontextmanager
async def connected(
    url: str, memory: Memory, *, password: str | None = None, key: Key | None = None
) -> AsyncIterator[Station]:
    """On line by password (profile 2) or certificate (profile 3); a refusal raises."""
    async with connect(
        f"{url}/{memory.identity}",
        ssl=trusting(memory.root_pem, key),
        additional_headers=None if password is None else basic(memory.identity, password),
        subprotocols=[Subprotocol("ocpp2.0.1")],
        proxy=None,
        open_timeout=PATIENCE,
        close_timeout=1,
    ) as connection:
        assert connection.subprotocol == "ocpp2.0.1"
        station = Station(connection, memory)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_listen(station))
            try:
                yield station
            finally:
                await connection.close()


async def _listen(station: Station) -> None:
    with suppress(ConnectionClosed):
        await station.start()
    station.offline.set()
