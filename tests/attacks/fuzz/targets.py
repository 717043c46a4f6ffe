"""What is fuzzed, and what must be true of it whatever comes in.

Each target takes bytes and returns nothing; an exception is a finding. `make test` runs every seed
through its target, so that what was found once stays found.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date

from csms.domain.admission import BasicCredentials, MalformedCredentials, identify
from csms.domain.station import IdentityInvalid
from csms.gateway.authorization import read_authorization
from csms.ocpp.actions import Action, Role
from csms.ocpp.frames import parse
from csms.ocpp.rpc import CallAnswered, CallFailed, CallReceived, RpcSession
from csms.ocpp.schemas import encode
from pki.x509.csr import CSRRejected, verify_csr
from pki.x509.keys import KeyPolicy
from tests.attacks.oracle_frames import ANYTHING, Kind, judge

TODAY = date(2026, 1, 1)
POLICY = KeyPolicy(
    curves=frozenset({"P-256", "P-384"}),
    rsa_bits_min=3072,
    rsa_bits_max=4096,
    rsa_2048_until=None,
)
MODEL_LIMIT = 4096  # the model reads character by character


def frames(data: bytes) -> None:
    """A text frame, on a session with a CALL outstanding: one answer at most, as the model says."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # 1007, before it comes here
    session = RpcSession(Role.CSMS)
    session.call(Action.GET_BASE_REPORT, REPORT, message_id="a", now=0)
    session.data_to_send()
    session.receive_text(text, 0)
    sent = [json.loads(one) for one in session.data_to_send()]
    events = session.events()
    assert len(sent) <= 1
    assert len(events) <= 2
    for event in events:
        if isinstance(event, CallReceived | CallAnswered):
            json.dumps(encode(event.payload), allow_nan=False).encode()
            repr(event)
    if sent:
        assert sent[0][0] == 4
        assert len(sent[0][3]) <= 255
    if len(text) <= MODEL_LIMIT:
        agree(text, sent, events)
    parse(text)


REPORT = {"requestId": 1, "reportBase": "FullInventory"}


def agree(text: str, sent: Sequence[Sequence[object]], events: Sequence[object]) -> None:
    verdict = judge(text)
    if verdict.kind is Kind.DROPPED:
        assert sent == []
        assert not any(isinstance(event, CallReceived) for event in events)
    elif verdict.ids == ANYTHING and sent == []:
        assert not any(isinstance(event, CallReceived) for event in events)
    elif verdict.kind is Kind.ANSWERED:
        assert len(sent) == 1
        assert verdict.ids == ANYTHING or sent[0][1] in verdict.ids
        assert sent[0][2] in verdict.codes
        assert not any(isinstance(event, CallFailed) for event in events)
    else:
        assert len(sent) + sum(isinstance(event, CallReceived) for event in events) == 1


def csr(data: bytes) -> None:
    """PEM, or DER that is put into PEM here so that the fuzzer need not learn base64."""
    if data.startswith(b"-----"):
        text = data.decode("latin-1")
    else:
        body = base64.encodebytes(data).decode()
        text = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
    try:
        verified = verify_csr(text, policy=POLICY, today=TODAY)
    except CSRRejected as error:
        str(error).encode()
        return
    assert verified.public_key_sha256
    for anomaly in verified.anomalies:
        str(anomaly).encode()


def authorization(data: bytes) -> None:
    """A header value as HTTP hands it over."""
    text = data.decode("latin-1")
    outcome = read_authorization([text])
    assert isinstance(outcome, BasicCredentials | MalformedCredentials)
    if isinstance(outcome, BasicCredentials):
        assert ":" not in outcome.user_name
        f"{outcome.user_name}{outcome.password}".encode()
    assert isinstance(read_authorization([text, text]), MalformedCredentials)


def target(data: bytes) -> None:
    """A request target: one identity or none, and never two readings of it."""
    text = data.decode("latin-1")
    try:
        identity = identify(text)
    except IdentityInvalid:
        return
    assert 1 <= len(identity) <= 48
    assert identity.isascii()
    assert identity.isprintable()
    assert not set(identity) & set("/:%?# ")
    assert identify(f"/ocpp/{identity}") == identity


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "frames": frames,
    "csr": csr,
    "authorization": authorization,
    "target": target,
}


def run(name: str, data: bytes) -> None:
    """A warning is a finding, too: it is a line on stderr that strangers write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=Warning, append=True)
        TARGETS[name](data)
