"""P03: a CSR older than its key gets a fresh trigger, and the station its certificate all the same.

Store, blocks, jobs, worker and certification authority are the real ones; the clock is the test's,
the station answers what it is scripted to, and the authority's signing keys are away for an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from csms.blocks.security import sign_certificate
from csms.domain.certificate import CertificateStatus, RequestStatus
from csms.domain.station import Station
from csms.ocpp import messages
from csms.ocpp.actions import Action
from csms.operations.deliver_certificate import deliver_certificate
from csms.operations.issue_certificate import KEY_LIFE, issue_certificate
from csms.operations.renew_certificate import trigger_renewal
from csms.ports.records import JobKind
from csms.worker.runner import JobHandler, JobRunner
from pki.authority.hierarchy import IssuerName
from pki.authority.service import Authority
from pki.signing.signer import Signer, SignerUnavailable, SigningKey
from pki.wire import StationRegistration
from tests.attacks.scoreboard import Scoreboard
from tests.fixtures.inside import Inside, inside
from tests.fixtures.pki_memory import csr_pem, memory_authority, memory_ca, memory_store

_STEP = timedelta(seconds=31)  # longer than a job ever waits before it asks the PKI again


class AwayForAWhile:
    """A signer that is sealed until told otherwise."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.away = True

    @property
    def key_id(self) -> str:
        return self._signer.key_id

    @property
    def public_key(self) -> SigningKey:
        return self._signer.public_key

    def sign_digest(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        if self.away:
            raise SignerUnavailable("sealed")
        return self._signer.sign_digest(digest, algorithm)


def handlers(house: Inside, authority: Authority) -> Mapping[JobKind, JobHandler]:
    common: dict[str, Any] = {"store": house.store, "clock": house.clock}
    made: dict[str, Any] = {"randomness": house.randomness}
    return {
        JobKind.ISSUE_CERTIFICATE: partial(issue_certificate, pki=authority, **common, **made),
        JobKind.DELIVER_CERTIFICATE: partial(
            deliver_certificate, link=house.link, **common, **made
        ),
        JobKind.TRIGGER_RENEWAL: partial(trigger_renewal, link=house.link, **common),
    }


@asynccontextmanager
async def working(house: Inside, authority: Authority) -> AsyncIterator[None]:
    runner = JobRunner(
        store=house.store, bus=house.bus, clock=house.clock, handlers=handlers(house, authority)
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        try:
            yield
        finally:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def asks(house: Inside, station: Station, csr: str) -> str:
    kind = messages.CertificateSigningUseEnumType.CHARGING_STATION_CERTIFICATE
    request = messages.SignCertificateRequest(csr=csr, certificate_type=kind)
    async with house.store.writing() as work:
        answer = await sign_certificate(house.context(station), request, work)
        await work.commit()
    await house.bus.publish("jobs.wake", {})
    assert isinstance(answer.payload, messages.SignCertificateResponse)
    return answer.payload.status.value


async def statuses(house: Inside) -> list[RequestStatus]:
    async with house.store.reading() as work:
        page = await work.certificate_requests.page(status=None, limit=9, cursor=None)
    return [request.status for request in page.items]


def test_a_csr_older_than_its_key_gets_a_fresh_trigger(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P03", "Vault away for longer than the key of a CSR lives")

    async def scene(house: Inside) -> None:
        (tmp_path / "pki").mkdir()
        ca = memory_ca(house.clock.now())
        signer = AwayForAWhile(ca.signers[IssuerName.STATIONS])
        async with (
            memory_store(tmp_path / "pki") as store,
            memory_authority(
                store,
                ca=ca,
                signers=ca.signers | {IssuerName.STATIONS: signer},
                clock=house.clock.now,
            ) as authority,
        ):
            station = await house.station()
            registration = StationRegistration(station.id, station.serial_number)
            await authority.register_station(registration)
            house.link.answers = [{"status": "Accepted"}, {"status": "Accepted"}]
            async with working(house, authority):
                first, second = csr_pem(station.serial_number), csr_pem(station.serial_number)
                assert await asks(house, station, first) == "Accepted"
                began = house.clock.now()
                # The key lives: nobody asks the station for another.
                while house.clock.now() - began < KEY_LIFE - _STEP:
                    house.clock.pass_time(_STEP)
                    await asyncio.sleep(0)
                await asyncio.sleep(1.1)  # the worker's own look at its table
                assert house.link.calls == []
                assert await statuses(house) == [RequestStatus.OPEN]
                # It has died: the station is asked, once, and comes with another.
                house.clock.pass_time(2 * _STEP)
                await until(lambda: len(house.link.calls) == 1)
                assert house.link.calls[0][1] is Action.TRIGGER_MESSAGE
                assert await asks(house, station, second) == "Accepted"
                assert await statuses(house) == [RequestStatus.OPEN, RequestStatus.SUPERSEDED]
                signer.away = False
                house.clock.pass_time(_STEP)
                await until(lambda: len(house.link.calls) == 2)
            assert house.link.calls[1][1] is Action.CERTIFICATE_SIGNED
            async with house.store.reading() as work:
                (made,) = await work.certificates.of_station(station.id)
            assert made.status is CertificateStatus.ACCEPTED

    with row.attempt():
        inside(tmp_path, scene)
