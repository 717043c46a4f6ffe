"""The servers that several figures put beside each other, each with its load on the other core."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Scale
from bench.measuring import Spoken, pinned, spoken, wait_for
from bench.world import ISSUER, LISTENER


@dataclass(frozen=True, slots=True)
class Pair:
    """A server and the stations that talk to it."""

    server: Spoken
    load: Spoken


@contextmanager
def gateway(scale: Scale, world: Path) -> Iterator[Pair]:
    with _pair(scale, world, "bench.servers.gateway", talk="ocpp") as pair:
        yield pair


@contextmanager
def plain(scale: Scale, world: Path) -> Iterator[Pair]:
    with _pair(scale, world, "bench.servers.plain", talk="ocpp") as pair:
        yield pair


@contextmanager
def echo(scale: Scale, world: Path) -> Iterator[Pair]:
    with _pair(scale, world, "bench.servers.raw", "echo", talk="echo") as pair:
        yield pair


@contextmanager
def tls_only(scale: Scale, world: Path) -> Iterator[Pair]:
    with _pair(scale, world, "bench.servers.raw", "tls", talk="tls") as pair:
        yield pair


@contextmanager
def _pair(scale: Scale, world: Path, module: str, *arguments: str, talk: str) -> Iterator[Pair]:
    name = "-".join([module.rpartition(".")[2], *arguments])
    with spoken(
        module,
        str(world),
        *arguments,
        core=scale.server_core,
        log=scale.scratch / f"{name}.log",
    ) as server:
        port = str(server.greeting["port"])
        log = scale.scratch / f"{name}-load.log"
        with spoken(
            "bench.load", str(world), port, talk, core=scale.load_core, log=log
        ) as stations:
            yield Pair(server, stations)


@contextmanager
def openssl_server(scale: Scale, world: Path) -> Iterator[tuple[int, int]]:
    """`openssl s_server`, the same TLS as the listener's: (process id, port)."""
    port = _free_port()
    process = subprocess.Popen(
        pinned(scale.server_core, _s_server(world, port)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: _accepts(port), seconds=10, what="openssl s_server")
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()


def _s_server(world: Path, port: int) -> list[str]:
    listener = str(world / LISTENER)
    return [
        *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet"),
        *("-cert", listener, "-key", listener, "-tls1_3", "-num_tickets", "0"),
        # As the gateway: only the issuing CA is trusted, and a certificate is required.
        *("-CAfile", str(world / ISSUER), "-partial_chain"),
        *("-Verify", "2", "-verify_return_error", "-verify_quiet"),
    ]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _accepts(port: int) -> bool | None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return None
    return True
