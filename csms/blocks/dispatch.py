"""Which handler answers which CALL: one visible table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from csms.blocks import availability, provisioning, security
from csms.blocks.context import CallHandler
from csms.ocpp.actions import Action

CALL_HANDLERS: Final[Mapping[Action, CallHandler]] = MappingProxyType(
    {
        Action.BOOT_NOTIFICATION: provisioning.boot_notification,
        Action.HEARTBEAT: availability.heartbeat,
        Action.STATUS_NOTIFICATION: availability.status_notification,
        Action.SECURITY_EVENT_NOTIFICATION: security.security_event_notification,
        Action.SIGN_CERTIFICATE: security.sign_certificate,
    }
)

# Answered without a transaction: they read and write nothing.
STATELESS: Final = frozenset({Action.HEARTBEAT})
