"""`ChargingStation`: one simulated station, from power-up to power-off.

It keeps a connection by its network profiles, boots, answers the CSMS, enrols and renews its
certificate, and comes back after every loss. What it answers is decided in `behaviour`, what waits
for what in `duties`; here connections begin and end.

    station = ChargingStation(config)
    async with station.running():
        await station.wait_for(Milestone.BOOT_ACCEPTED)
        await station.call("Heartbeat", {})
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Final

from cryptography import x509
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from station import device_model as dm
from station.back_off import BackOff
from station.behaviour import react
from station.certificates import security_event
from station.clock import Clock, timestamp
from station.codec import (
    Call,
    CallError,
    CallResult,
    Frame,
    FrameInvalid,
    Payload,
    decode,
    encode,
)
from station.connecting import ConnectionRefused, Refusal, open_connection
from station.duties import Duties
from station.effects import CallRefused, Effect, Milestone, Reached, Reconnect
from station.history import History
from station.keystore import CSMS_ROOT, CertificateChoice, KeyStore, StationCertificate
from station.link import Link, LinkClosed
from station.misbehaviour import Misbehaviour
from station.state import Registration, StationConfig, StationState, new_state

_REFUSALS_KEPT: Final = 16
_KEYS_DIRECTORY: Final = "keys"

Gate = AbstractAsyncContextManager[object]
Listener = Callable[["ChargingStation", Milestone, dict[str, str]], None]


class ChargingStation:
    """One station; `state`, `misbehaviour` and the key store may be changed while it runs."""

    def __init__(
        self,
        config: StationConfig,
        *,
        keystore: KeyStore | None = None,
        csms_roots: list[x509.Certificate] | None = None,
        misbehaviour: Misbehaviour | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        history: History | None = None,
        connect_gate: Gate | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or Clock()
        self.history = history or History(keep=500, payloads=True)
        self.state: StationState = new_state(
            config,
            keystore=keystore or _keystore(config),
            misbehaviour=misbehaviour or Misbehaviour(),
        )
        for root in csms_roots or ():
            self.keystore.install_root(CSMS_ROOT, root)
        self.refusals: deque[Refusal] = deque(maxlen=_REFUSALS_KEPT)
        self.close_code: int | None = None
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._gate: Gate = connect_gate or nullcontext()
        self._back_off = BackOff()
        self._duties = Duties(self.state, self.clock, self._note, self._reach)
        self._counts: Counter[Milestone] = Counter()
        self._moved = asyncio.Condition()
        self._connection: ClientConnection | None = None
        self._link: Link | None = None
        self._candidate = 0
        self._intended = False
        self._told_why = False
        self._late_answers: list[asyncio.Task[None]] = []
        self.on_milestone: list[Listener] = []

    # What tests and scripts use

    @property
    def keystore(self) -> KeyStore:
        return self.state.keystore

    @property
    def misbehaviour(self) -> Misbehaviour:
        return self.state.misbehaviour

    @property
    def security_profile(self) -> int:
        """Of the active slot, whether connected or trying."""
        return self.state.network.current.security_profile

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def certificate(self) -> StationCertificate | None:
        """The certificate it would show next."""
        candidates = self.keystore.by_preference(self.config.certificate_choice)
        return candidates[self._candidate % len(candidates)] if candidates else None

    @property
    def last_refusal(self) -> Refusal | None:
        return self.refusals[-1] if self.refusals else None

    def count(self, milestone: Milestone | str) -> int:
        """How often a milestone has been reached since the station was made."""
        return self._counts[Milestone(milestone)]

    async def wait_for(
        self,
        milestone: Milestone | str,
        *,
        times: int = 1,
        timeout: float = 10.0,  # noqa: ASYNC109 - a convenience for tests, raised as TimeoutError
    ) -> None:
        """Returns once the milestone has been reached `times` times in this station's life."""
        wanted = Milestone(milestone)
        async with asyncio.timeout(timeout), self._moved:
            await self._moved.wait_for(lambda: self._counts[wanted] >= times)

    async def call(self, action: str, payload: Payload) -> Payload:
        """A CALL of the test's own, in turn with the station's; the answer or `CallFailed`."""
        if self._link is None:
            raise LinkClosed("not connected")
        return await self._duties.call(self._link, action, payload)

    def request_certificate(self) -> None:
        """Starts A03 by the station itself."""
        self._duties.ask_for_certificate(triggered=False)

    async def send_text(self, text: str) -> None:
        """A raw WebSocket message, for frames no codec would write."""
        if self._connection is None:
            raise LinkClosed("not connected")
        await self._connection.send(text)

    def drop(self) -> None:
        """Power cut: the socket ends without a close frame."""
        if self._connection is not None:
            self._connection.transport.abort()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ChargingStation]:
        """Runs the station beside the body, and stops it after."""
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.run())
            try:
                yield self
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                failure = error
            finally:
                task.cancel()
        if failure is not None:
            raise failure

    async def run(self) -> None:
        """Connects and comes back, until cancelled."""
        while True:
            try:
                async with self._gate:
                    connection = await open_connection(self.state, self._shown())
            except ConnectionRefused as refused:
                await self._refused(refused.refusal)
                continue
            await self._serve(connection)
            if not self._intended:
                await self._wait_before_retry()

    # One connection

    async def _serve(self, connection: ClientConnection) -> None:
        self._connection, self._intended = connection, False
        link = self._link = Link(partial(_write, connection))
        try:
            await self._connected()
            async with asyncio.TaskGroup() as group:
                duties = group.create_task(self._duties.run(link))
                try:
                    await self._receive(connection, link, group)
                finally:
                    link.close()
                    duties.cancel()
                    for answer in self._late_answers:
                        answer.cancel()
                    self._late_answers.clear()
        finally:
            self._connection = self._link = None
            link.close()
            await self._end(connection)
        self.close_code = connection.close_code
        await self._reach(Milestone.DISCONNECTED, {"code": str(connection.close_code)})

    async def _connected(self) -> None:
        self._back_off.reset()
        self.state.network.connected()
        shown = self._shown()
        self._settle_certificates(shown)
        self.state.save()
        facts = {"profile": str(self.security_profile)}
        if shown is not None:
            facts["certificate"] = shown.serial
        await self._reach(Milestone.CONNECTED, facts)
        if shown is not None:
            await self._reach(Milestone.ENROLLED, facts)

    async def _receive(
        self, connection: ClientConnection, link: Link, group: asyncio.TaskGroup
    ) -> None:
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    await connection.close(1003, "text only")
                    return
                await self._received(message, connection, link, group)
        except ConnectionClosed:
            return

    async def _received(
        self, text: str, connection: ClientConnection, link: Link, group: asyncio.TaskGroup
    ) -> None:
        try:
            frame = decode(text)
        except FrameInvalid as invalid:
            self._note("invalid", code=invalid.code.value)
            answer = CallError(invalid.message_id, invalid.code, invalid.description, {})
            await connection.send(encode(answer))
            return
        if not isinstance(frame, Call):
            if not link.settle(frame):
                self._note("unexpected", id=frame.message_id)
            return
        self._note("received", action=frame.action, id=frame.message_id, payload=frame.payload)
        wrong = self.misbehaviour
        if wrong.never_answer or frame.action in wrong.silent_actions:
            return
        if wrong.late_answer:
            # Answering late must not stop the station from reading on.
            task = group.create_task(self._answer_late(frame, connection))
            self._late_answers.append(task)
            return
        await self._answer(frame, connection)

    async def _answer_late(self, call: Call, connection: ClientConnection) -> None:
        await asyncio.sleep(self.misbehaviour.late_answer)
        try:
            await self._answer(call, connection)
        except ConnectionClosed:
            return

    async def _answer(self, call: Call, connection: ClientConnection) -> None:
        then: tuple[Effect, ...] = ()
        try:
            reaction = react(self.state, call, self.clock)
        except CallRefused as refused:
            answer: Frame = CallError(call.message_id, refused.code, refused.description, {})
        else:
            answer, then = CallResult(call.message_id, reaction.answer), reaction.then
        await connection.send(self._written(answer))
        self._note("answered", action=call.action, id=call.message_id)
        for effect in then:
            await self._carry_out(effect, connection)

    def _written(self, answer: Frame) -> str:
        if self.misbehaviour.garbage_frame:
            return '[3,"garbage'
        if self.misbehaviour.wrong_message_id and isinstance(answer, CallResult):
            return encode(CallResult("nobody-asked-this", answer.payload))
        return encode(answer)

    async def _carry_out(self, effect: Effect, connection: ClientConnection) -> None:
        match effect:
            case Reached():
                self._note("applied", what=effect.milestone.value, **effect.facts)
                await self._reach(effect.milestone, effect.facts)
            case Reconnect():
                await self._leave(connection, boot=effect.boot)
            case _:
                self._duties.take(effect)

    async def _leave(self, connection: ClientConnection, *, boot: bool) -> None:
        self._intended = True
        self._candidate = 0
        if boot:
            self.state.boot_required = True
            self.state.registration = Registration.UNKNOWN
            self.state.network.boot()
        await self._end(connection)

    async def _end(self, connection: ClientConnection) -> None:
        if self.misbehaviour.drop_socket:
            # What was written still leaves, only the close frame does not.
            connection.transport.close()
        else:
            await connection.close()

    # Refusals and certificates

    async def _refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)
        self._note("refused", status=refusal.status, reason=refusal.reason)
        if refusal.bad_server:
            self._duties.take_once(security_event(self.clock, "InvalidCsmsCertificate"))
        if refusal.maybe_about_certificate:
            # A02.FR.28: alternate with the certificate that worked before.
            self._candidate += 1
        self._told_why = self._told_why or refusal.about_credentials
        await self._reach(Milestone.REFUSED, {"reason": refusal.reason})
        attempts = self.state.model.integer(dm.CONNECTION_ATTEMPTS) or 1
        if (self._back_off.failures + 1) % attempts == 0:
            self.state.network.advance()
        await self._wait_before_retry(refusal.retry_after or 0.0)

    async def _wait_before_retry(self, at_least: float = 0.0) -> None:
        delay = max(at_least, self._back_off.next_delay(self.state.model, self._rng))
        self._note("back_off", seconds=round(delay, 3))
        await self.clock.sleep(delay)

    def _shown(self) -> StationCertificate | None:
        return self.certificate if self.security_profile == 3 else None

    def _settle_certificates(self, shown: StationCertificate | None) -> None:
        """Connected: the certificates not in use are discarded (A02.FR.10, FR.29)."""
        if shown is None or self.config.certificate_choice is CertificateChoice.LATEST_NOT_AFTER:
            return
        newest = self.keystore.by_preference(self.config.certificate_choice)[0]
        told_why, self._told_why, self._candidate = self._told_why, False, 0
        if newest is not shown and not told_why:
            # A server that only hung up may have been restarting: the new one gets another chance.
            return
        if newest is not shown:
            event = security_event(self.clock, "DiscardedRenewedClientCertificate", newest.serial)
            self._duties.take(event)
            self._counts[Milestone.CERTIFICATE_DISCARDED] += 1
        for certificate in list(self.keystore.certificates):
            if certificate is not shown:
                self.keystore.discard(certificate)

    # Record

    def _note(self, event: str, **facts: object) -> None:
        self.history.add(timestamp(self.clock.now()), self.config.identity, event, **facts)

    async def _reach(self, milestone: Milestone, facts: dict[str, str]) -> None:
        self._counts[milestone] += 1
        if milestone in {Milestone.CONNECTED, Milestone.DISCONNECTED}:
            self._note(milestone.value, **facts)
        for listener in self.on_milestone:
            listener(self, milestone, facts)
        async with self._moved:
            self._moved.notify_all()


async def _write(connection: ClientConnection, text: str) -> None:
    try:
        await connection.send(text)
    except ConnectionClosed as error:
        raise LinkClosed("connection lost") from error


def _keystore(config: StationConfig) -> KeyStore:
    return KeyStore(config.data / _KEYS_DIRECTORY if config.data is not None else None)
