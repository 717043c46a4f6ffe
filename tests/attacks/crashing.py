"""The product, made to die by SIGKILL at a named step of issuance or delivery.

`FAULT_POINTS` is the whole list: where a step ends, which function says so, and for which calls of
it. The product has no hook for this and reads no variable for it. The functions are wrapped from
outside, and then the ordinary command line runs:

    python -m tests.attacks.crashing RECORD up

A life begins with a line on standard input, "NAME TIMES": the name of a point and at which of its
passes to die, or "- 0" to die at none. Each life is a process of its own; it is forked from one
that has imported everything and done nothing, which saves a second of imports. Lines that come
back: "began PID", "ended STATUS". Every pass through any point is appended to RECORD and synced.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

NOWHERE: Final = "-"
Call = dict[str, Any]  # the arguments by name; "return" is what came of it


@dataclass(frozen=True, slots=True)
class FaultPoint:
    """One step of one numbered procedure, and the function whose start or end is that step."""

    name: str
    step: str  # the procedure (a key of PROCEDURES) and the numbers that have just been done
    where: str  # module:attribute, as it is looked up when it is called
    after: bool = True
    only: Callable[[Call], bool] = lambda _call: True

    @property
    def procedure(self) -> str:
        return self.step.split()[0]

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(number) for number in self.step.split()[1:])


# Whose numbered lists must be covered: a docstring, by module and function.
PROCEDURES: Final = {
    "renewal": "csms.operations.renew_certificate:trigger_renewal",
    "request": "csms.blocks.security:sign_certificate",
    "issue": "csms.operations.issue_certificate:",
    "cycle": "pki.authority.issuance:",
    "delivery": "csms.operations.deliver_certificate:",
    "door": "csms.gateway.handshake:",
    "confirm": "csms.operations.confirm_session:",
}


def _job(kind: str) -> Callable[[Call], bool]:
    return lambda call: bool(call["job"].kind == kind)


def _action(name: str) -> Callable[[Call], bool]:
    return lambda call: bool(call["call"].action == name)


def _to_station(name: str) -> Callable[[Call], bool]:
    return lambda call: bool(call["action"] == name)


def _stations_key(call: Call) -> bool:
    return str(call["self"].name).endswith("issuer-stations")


def _stations_signer(call: Call) -> bool:
    return str(call["signer"].name).endswith("issuer-stations")


def _first_use(call: Call) -> bool:
    certificate = call["admitted"].certificate
    return certificate is not None and certificate.status != "active"


FAULT_POINTS: Final = (
    # The station is asked for a CSR.
    FaultPoint(
        "trigger to be sent",
        "renewal",
        "csms.operations.renew_certificate:_trigger",
        after=False,
    ),
    FaultPoint(
        "trigger answered",
        "renewal 1",
        "csms.adapters.station_link:BusStationLink.call",
        only=_to_station("TriggerMessage"),
    ),
    FaultPoint(
        "trigger stored",
        "renewal 2",
        "csms.operations.renew_certificate:_trigger",
    ),
    FaultPoint(
        "trigger job put off",
        "renewal 3",
        "csms.worker.runner:JobRunner._record",
        only=_job("trigger_renewal"),
    ),
    # The CSR comes.
    FaultPoint(
        "CSR received",
        "request",
        "csms.gateway.connection:StationConnection._ask",
        after=False,
        only=_action("SignCertificate"),
    ),
    FaultPoint(
        "CSR written, not committed",
        "request 1 2 3 4 5",
        "csms.blocks.security:_stored",
    ),
    FaultPoint(
        "CSR and job stored, not answered",
        "request 6",
        "csms.gateway.connection:StationConnection._reply",
        after=False,
        only=_action("SignCertificate"),
    ),
    FaultPoint(
        "issue job claimed",
        "issue",
        "csms.worker.runner:JobRunner._work",
        after=False,
        only=_job("issue_certificate"),
    ),
    FaultPoint(
        "PKI asked",
        "issue 1",
        "pki.authority.service:Authority.issue_station_certificate",
        after=False,
    ),
    # The PKI's own cycle.
    FaultPoint(
        "request permitted",
        "cycle 1",
        "pki.authority.service:decide",
        only=lambda call: bool(call["ask"].kind == "station"),
    ),
    FaultPoint(
        "built and linted",
        "cycle 2 3",
        "pki.authority.service:prepare",
        only=lambda call: bool(call["issuer"].name == "stations"),
    ),
    FaultPoint(
        "intent stored",
        "cycle 4",
        "pki.store.repository:SQLStore.open_intent",
        only=lambda call: bool(call["intent"].ask.kind == "station"),
    ),
    FaultPoint(
        "Vault signed",
        "cycle 5",
        "pki.signing.vault_transit:TransitSigner.sign_digest",
        only=_stations_key,
    ),
    FaultPoint(
        "signature verified",
        "cycle 6",
        "pki.authority.service:issue",
        only=_stations_signer,
    ),
    FaultPoint(
        "certificate written in the PKI, not committed",
        "cycle 6",
        "pki.store.repository:_store_certificate",
        only=lambda call: bool(call["certificate"].kind == "station"),
    ),
    FaultPoint(
        "certificate stored in the PKI",
        "cycle 7",
        "pki.store.repository:SQLStore.store_certificate",
        only=lambda call: bool(call["certificate"].kind == "station"),
    ),
    FaultPoint(
        "PKI has answered",
        "cycle 8",
        "pki.authority.service:Authority.issue_station_certificate",
    ),
    # The certificate goes to the station.
    FaultPoint(
        "result written, not committed",
        "issue 2",
        "csms.operations.issue_certificate:_send_on",
    ),
    FaultPoint(
        "result stored",
        "issue 3",
        "csms.operations.issue_certificate:_issued",
    ),
    FaultPoint(
        "issue job finished",
        "issue",
        "csms.worker.runner:JobRunner._record",
        only=_job("issue_certificate"),
    ),
    FaultPoint(
        "delivery committed, not sent",
        "delivery 1",
        "csms.operations.deliver_certificate:_step",
    ),
    FaultPoint(
        "CertificateSigned answered by the station",
        "delivery 2",
        "csms.gateway.calls:Calls.ended",
        after=False,
        only=lambda call: bool(call["outcome"].action == "CertificateSigned"),
    ),
    FaultPoint(
        "answer heard by the worker",
        "delivery 2",
        "csms.adapters.station_link:BusStationLink.call",
        only=_to_station("CertificateSigned"),
    ),
    FaultPoint(
        "answer settled",
        "delivery 3",
        "csms.operations.deliver_certificate:_settle",
    ),
    FaultPoint(
        "delivery job finished",
        "delivery",
        "csms.worker.runner:JobRunner._record",
        only=_job("deliver_certificate"),
    ),
    # The station comes with it.
    FaultPoint(
        "first use decided, not committed",
        "door 1 2 3 4 5",
        "csms.gateway.handshake:Door._seen",
        only=_first_use,
    ),
    FaultPoint(
        "first use committed, before the 101",
        "door 6",
        "csms.gateway.handshake:Door._claimed",
        only=_first_use,
    ),
    FaultPoint(
        "first use to be confirmed",
        "confirm",
        "csms.worker.runner:JobRunner._work",
        after=False,
        only=_job("session_seen"),
    ),
    FaultPoint(
        "predecessor retired, not committed",
        "confirm 1",
        "csms.operations.confirm_session:_certificate_seen",
    ),
    FaultPoint(
        "predecessor retired",
        "confirm 2 3",
        "csms.worker.runner:JobRunner._record",
        after=False,
        only=_job("session_seen"),
    ),
    FaultPoint(
        "first use confirmed",
        "confirm",
        "csms.worker.runner:JobRunner._record",
        only=_job("session_seen"),
    ),
)


class Passes:
    """Counts and records the passes of this life, and ends it at the chosen one."""

    def __init__(self, record: Path, chosen: str, times: int) -> None:
        # Line by line and by one write each: what is in it happened, also when we die after it.
        self._file = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._chosen = chosen
        self._times = times
        self._counts: Counter[str] = Counter()

    def passed(self, point: FaultPoint) -> None:
        self._counts[point.name] += 1
        dies = point.name == self._chosen and self._counts[point.name] == self._times
        os.write(self._file, f"{'killed' if dies else 'passed'} {point.name}\n".encode())
        os.fsync(self._file)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)


def wrap_all(passes: Callable[[], Passes | None]) -> None:
    """Put every point's wrapper around its function; `passes` is asked at each call."""
    for point in FAULT_POINTS:
        module_name, _, attribute = point.where.partition(":")
        *inside, name = attribute.split(".")
        holder: Any = importlib.import_module(module_name)
        for part in inside:
            holder = getattr(holder, part)
        setattr(holder, name, _wrapped(point, getattr(holder, name), passes))


def _wrapped(
    point: FaultPoint, function: Callable[..., Any], passes: Callable[[], Passes | None]
) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def note(result: Any, *args: Any, **kwargs: Any) -> None:
        current = passes()
        if current is None:
            return
        call = {**signature.bind(*args, **kwargs).arguments, "return": result}
        if point.only(call):
            current.passed(point)

    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            note(None, *args, **kwargs)
        result = await function(*args, **kwargs)
        if point.after:
            note(result, *args, **kwargs)
        return result

    @functools.wraps(function)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        if not point.after:
            note(None, *args, **kwargs)
        result = function(*args, **kwargs)
        if point.after:
            note(result, *args, **kwargs)
        return result

    return asynchronous if inspect.iscoroutinefunction(function) else synchronous


def main() -> None:
    record, words = Path(sys.argv[1]), sys.argv[2:]
    passes: Passes | None = None
    wrap_all(lambda: passes)
    importlib.import_module("csms.wiring")  # all that a life needs, and nothing has begun
    cli = importlib.import_module("csms.cli")
    for line in sys.stdin:
        chosen, _, times = line.rstrip("\n").rpartition(" ")
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)  # standard output is ours; the product's goes to the log
            passes = Passes(record, chosen, int(times))
            sys.argv = ["csms", *words]
            cli.main()  # ends the process
        _say(f"began {child}")
        _, status = os.waitpid(child, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    main()
