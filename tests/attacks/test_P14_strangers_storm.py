"""P14: a storm of strangers of every kind does not keep out those who belong here."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from csms.domain.station import SecurityProfile
from tests.attacks.hostile import HostileStation, basic, client_tls, upgrade
from tests.attacks.outpost import Outpost, outpost
from tests.attacks.scoreboard import Scoreboard
from tests.attacks.sizes import SIZES
from tests.fixtures.pki_small import SmallCA

MIB = 1 << 20
THREADS = 6
PROFILE_3 = int(SecurityProfile.TLS_CERTIFICATE)


class Strangers:
    """Bad certificates, bad passwords and silence, from many addresses, until told to stop."""

    def __init__(self, fort: Outpost, directory: Path) -> None:
        self.came: Counter[str] = Counter()
        self.stop = threading.Event()
        self._fort = fort
        self._password = client_tls(fort.trust)
        leaf = SmallCA("Strangers").station("SN001").write(directory, "stranger.pem")
        self._certificate = client_tls(fort.trust, leaf=leaf)
        self._silent: list[HostileStation] = []
        self._sources = itertools.cycle(
            f"127.0.5.{number + 1}" for number in range(SIZES.storm_sources)
        )
        self._lock = threading.Lock()

    def _bad_password(self, source: str) -> None:
        with self._fort.visit(2, source=source, context=self._password) as wire:
            header = f"Authorization: {basic('cs000', 'x' * 40)}"
            assert wire.ask(upgrade("/ocpp/cs000", header)).status in (0, 401, 503)

    def _bad_certificate(self, source: str) -> None:
        with self._fort.visit(PROFILE_3, source=source, context=self._certificate) as wire:
            assert wire.ask(upgrade("/ocpp/cs000")).status == 0

    def _silence(self, source: str) -> None:
        wire = self._fort.visit(2, source=source, context=None)
        with self._lock:
            self._silent.append(wire)

    def rage(self) -> None:
        kinds: dict[str, Callable[[str], None]] = {
            "password": self._bad_password,
            "certificate": self._bad_certificate,
            "silent": self._silence,
        }
        for kind in itertools.cycle(kinds):
            if self.stop.is_set():
                return
            with self._lock:
                source = next(self._sources)
            try:
                kinds[kind](source)
                self.came[kind] += 1
            except OSError:
                self.came["turned away"] += 1

    def close(self) -> None:
        for wire in self._silent:
            wire.close()


@pytest.mark.timeout(240)
def test_honest_stations_reconnect_through_a_storm_of_strangers(
    tmp_path: Path, scoreboard: Scoreboard
) -> None:
    row = scoreboard.row("P14", "bad passwords, bad certificates, silence; honest reconnects")
    identities = [f"cs{number:03}" for number in range(SIZES.storm_stations)]
    with outpost(tmp_path, failures_per_source=20, handshake_timeout_seconds=5.0) as fort:
        fort.add(*identities, "witness")
        with (
            fort.connected("witness") as witness,
            contextlib.closing(Strangers(fort, tmp_path)) as strangers,
        ):
            memory, took = fort.rss(), []
            fort.health()
            began = time.monotonic()
            with ThreadPoolExecutor(THREADS) as pool:
                raging = [pool.submit(strangers.rage) for _ in range(THREADS)]
                try:
                    for number, identity in enumerate(identities * SIZES.storm_reconnects):
                        source = f"127.0.6.{number % len(identities) + 1}"
                        took.append(fort.seconds_to_connect(identity, source=source))
                    assert witness.call("Heartbeat", {})[0] == 3
                    grown = fort.rss() - memory
                finally:
                    strangers.stop.set()
            seconds = time.monotonic() - began
            strangers.close()
            for attacker in raging:
                attacker.result()
            fort.quiet()
            lag = fort.health()["lag"]
            assert grown < 200 * MIB
            assert lag < 2
            assert witness.call("Heartbeat", {})[0] == 3
            row.count(len(took))
    took.sort()
    rate = strangers.came.total() / seconds
    row.measure(f"strangers {rate:.0f}/s: {dict(strangers.came)}")
    row.measure(f"reconnect p99 {took[int(len(took) * 0.99)]:.2f} s; RSS +{grown / MIB:.0f} MiB")
    row.measure(f"lag {lag * 1000:.0f} ms")
