"""What a station does of its own accord while connected, one CALL at a time.

Boot comes first and is repeated at the interval the CSMS gives (B01-B03); then queued messages,
the signing cycle, and heartbeats. While not accepted only triggered messages pass (B02.FR.09). The
queue outlives connections for durable messages (A04.FR.02).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from station import device_model as dm
from station.behaviour import after_boot, boot_payload
from station.clock import Clock
from station.codec import Payload
from station.effects import (
    AskForCertificate,
    BootAgain,
    CertificateArrived,
    Effect,
    Milestone,
    Send,
)
from station.link import CallAnsweredWithError, CallFailed, CallTimedOut, Link, LinkClosed
from station.signing_cycle import RENEWAL_CHECK_PERIOD, RENEWAL_DAYS, SigningCycle
from station.signing_request import RequestedSubject, signing_request
from station.state import Registration, StationState

# B02.FR.07: interval 0 leaves the choice to the station.
_OWN_INTERVAL: Final = 30
# A station has finite memory: what is oldest and not durable goes first.
_QUEUE_LENGTH: Final = 200

Note = Callable[..., None]
Reach = Callable[[Milestone, dict[str, str]], Awaitable[None]]


class Duties:
    """The timers and the queue of one station."""

    def __init__(self, state: StationState, clock: Clock, note: Note, reach: Reach) -> None:
        self._state = state
        self._clock = clock
        self._note = note
        self._reach = reach
        self._queue: deque[Send] = deque(maxlen=_QUEUE_LENGTH)
        self._signing = SigningCycle()
        self._boot_at = 0.0
        self._heartbeat_at = 0.0
        self._renewal_check_at = 0.0
        self._wake = asyncio.Event()

    def take(self, effect: Effect) -> None:
        """An effect that is a duty: done as soon as its turn comes."""
        match effect:
            case Send():
                self._queue.append(effect)
            case AskForCertificate():
                self.ask_for_certificate(triggered=True)
            case CertificateArrived():
                self._signing.stop()
            case BootAgain():
                self._state.boot_required, self._boot_at = True, 0.0
            case _:
                raise TypeError(f"{type(effect).__name__} is no duty")
        self._wake.set()

    def take_once(self, message: Send) -> None:
        """Queues unless the same kind of message already waits."""
        kind = message.payload.get("type")
        if all(item.payload.get("type") != kind for item in self._queue):
            self.take(message)

    def ask_for_certificate(self, *, triggered: bool) -> None:
        self._signing.start(now=self._clock.elapsed(), triggered=triggered)
        self._wake.set()

    async def call(self, link: Link, action: str, payload: Payload) -> Payload:
        """One CALL with the model's timeout, in the history from sending to its end."""
        sent: list[str] = []

        def on_sent(message_id: str) -> None:
            sent.append(message_id)
            self._note("sent", action=action, id=message_id, payload=payload)

        seconds = self._state.model.integer(dm.MESSAGE_TIMEOUT)
        try:
            answer = await link.call(
                action, payload, timeout=self._clock.real(seconds), on_sent=on_sent
            )
        except CallFailed as error:
            self._note("failed", action=action, id="".join(sent), reason=str(error))
            raise
        self._note("acked", action=action, id="".join(sent), payload=answer)
        return answer

    async def run(self, link: Link) -> None:
        """Works until cancelled or until the link is gone."""
        if self._state.boot_required:
            self._boot_at = 0.0
        while True:
            self._wake.clear()
            duty = self._next_duty()
            try:
                if duty is None:
                    await self._rest()
                else:
                    await duty(link)
            except LinkClosed:
                return
            except CallFailed:
                # Noted in the history; each duty has already set its next time.
                continue

    def _next_duty(self) -> Callable[[Link], Awaitable[None]] | None:
        now = self._clock.elapsed()
        state = self._state
        if state.boot_required and self._boot_at <= now:
            return self._boot
        if self._signing.is_due(now) and (self._signing.triggered or self._is_accepted):
            return self._sign
        if self._next_message() is not None:
            return self._send_next
        if self._is_accepted and self._renewal_check_at <= now:
            return self._check_renewal
        if self._is_accepted and self._heartbeat_at <= now:
            return self._heartbeat
        return None

    @property
    def _is_accepted(self) -> bool:
        return self._state.registration is Registration.ACCEPTED

    async def _rest(self) -> None:
        deadlines = [self._boot_at] if self._state.boot_required else []
        if self._signing.due_at is not None and (self._signing.triggered or self._is_accepted):
            deadlines.append(self._signing.due_at)
        if self._is_accepted:
            deadlines += [self._heartbeat_at, self._renewal_check_at]
        try:
            if deadlines:
                pause = max(0.0, min(deadlines) - self._clock.elapsed())
                async with asyncio.timeout(self._clock.real(pause)):
                    await self._wake.wait()
            else:
                await self._wake.wait()
        except TimeoutError:
            return

    # The duties themselves

    async def _boot(self, link: Link) -> None:
        self._boot_at = self._clock.elapsed() + _OWN_INTERVAL
        answer = await self.call(link, "BootNotification", boot_payload(self._state))
        word, interval = answer.get("status"), answer.get("interval")
        seconds = interval if isinstance(interval, int) and interval > 0 else _OWN_INTERVAL
        self._boot_at = self._clock.elapsed() + seconds
        if word == Registration.ACCEPTED:
            self._state.registration = Registration.ACCEPTED
            self._state.boot_required = False
            self._state.model.put(dm.HEARTBEAT_INTERVAL, str(seconds))
            self._heartbeat_at = self._clock.elapsed() + seconds
            for effect in after_boot(self._state, self._clock):
                self.take(effect)
            await self._reach(Milestone.BOOT_ACCEPTED, {"interval": str(seconds)})
        elif word == Registration.PENDING:
            self._state.registration = Registration.PENDING
            await self._reach(Milestone.BOOT_PENDING, {"interval": str(seconds)})
        else:
            self._state.registration = Registration.REJECTED
            await self._reach(Milestone.BOOT_REJECTED, {"interval": str(seconds)})

    def _next_message(self) -> Send | None:
        if self._is_accepted:
            return self._queue[0] if self._queue else None
        if self._state.registration is Registration.REJECTED:
            return None
        return next((item for item in self._queue if item.triggered), None)

    async def _send_next(self, link: Link) -> None:
        message = self._next_message()
        if message is None:
            return
        # Also when the connection's end cancels us here, an unanswered durable message stays.
        keep = message.durable
        try:
            await self.call(link, message.action, message.payload)
            keep = False
        except CallAnsweredWithError:
            keep = False
            raise
        finally:
            if not keep and message in self._queue:
                self._queue.remove(message)

    async def _heartbeat(self, link: Link) -> None:
        seconds = self._state.model.integer(dm.HEARTBEAT_INTERVAL) or _OWN_INTERVAL
        self._heartbeat_at = self._clock.elapsed() + seconds
        await self.call(link, "Heartbeat", {})
        await self._reach(Milestone.HEARTBEAT, {})

    async def _check_renewal(self, _link: Link) -> None:
        """A03.FR.02: less than a month left of the certificate that would be shown."""
        self._renewal_check_at = self._clock.elapsed() + RENEWAL_CHECK_PERIOD
        self._state.keystore.forget_old_keys(now=self._clock.elapsed())
        shown = self._state.keystore.by_preference(self._state.config.certificate_choice)
        if not shown or not self._state.config.self_renewal or self._signing.due_at is not None:
            return
        left = shown[0].leaf.not_valid_after_utc - self._clock.now()
        if left < timedelta(days=RENEWAL_DAYS):
            self._signing.start(now=self._clock.elapsed(), triggered=False)

    async def _sign(self, link: Link) -> None:
        csr = self._signing.csr
        if csr is None or self._state.config.fresh_key_per_repeat:
            csr = self._new_csr()
        if csr is None:
            self._signing.stop()
            return
        self._signing.csr = csr
        wait = self._state.model.integer(dm.SIGNING_WAIT_MINIMUM)
        self._signing.delay(now=self._clock.elapsed(), seconds=wait)
        payload = {"csr": csr, "certificateType": "ChargingStationCertificate"}
        try:
            answer = await self.call(link, "SignCertificate", payload)
        except CallTimedOut:
            raise
        except LinkClosed:
            self._signing.delay(now=self._clock.elapsed(), seconds=0)
            raise
        except CallFailed:
            self._signing.stop()
            await self._reach(Milestone.CSR_REJECTED, {"reason": "CALLERROR"})
            raise
        await self._csr_answered(answer, csr)

    async def _csr_answered(self, answer: Payload, csr: str) -> None:
        if answer.get("status") != "Accepted":
            self._signing.stop()
            await self._reach(Milestone.CSR_REJECTED, {"reason": "Rejected"})
            return
        # A fast CSMS may have sent CertificateSigned before we are back here.
        if self._signing.csr == csr:
            self._signing.accepted(now=self._clock.elapsed(), model=self._state.model)
        await self._reach(Milestone.CSR_SENT, {})

    def _new_csr(self) -> str | None:
        state, wrong = self._state, self._state.misbehaviour
        organization = wrong.csr_organization or state.model.get(dm.ORGANIZATION_NAME)
        if state.config.requires_organization and not organization:
            self._note("no_csr", reason="OrganizationName is not set")
            return None
        state.keystore.forget_old_keys(now=self._clock.elapsed())
        key = state.keystore.new_pending_key(now=self._clock.elapsed())
        subject = RequestedSubject(
            common_name=wrong.csr_serial or state.config.serial_number,
            organization=organization or None,
            country=state.model.get(dm.COUNTRY_NAME) or None,
            domain_component=state.config.domain_component,
            san=wrong.csr_san,
            ca=wrong.csr_ca,
        )
        return signing_request(key, subject)
