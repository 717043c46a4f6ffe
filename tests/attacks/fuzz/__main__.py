"""`python -m tests.attacks.fuzz [--seconds 60] [TARGET…]`: exit code 1 when something was found.

Each target runs in a process of its own (libFuzzer ends its process with the first finding), from
the seeds beside this file. What it learns stays in the working directory and goes with it; a
finding is written to `.fuzz/`, to be added to the seeds with its fix.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.attacks.fuzz.targets import TARGETS

HERE = Path(__file__).resolve().parent
FINDINGS = HERE.parents[2] / ".fuzz"
ONE = "--one"
SHARES = {"frames": 5, "csr": 3, "authorization": 1, "target": 1}  # of the time, by their size


def fuzz(name: str, arguments: list[str]) -> None:
    """In the child: never returns."""
    import atheris

    with atheris.instrument_imports(include=["csms", "pki"], enable_loader_override=False):
        for module in [one for one in sys.modules if one.split(".")[0] in {"csms", "pki", "tests"}]:
            del sys.modules[module]
        from tests.attacks.fuzz import targets

    atheris.Setup([sys.argv[0], *arguments], lambda data: targets.run(name, data))
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Whether nothing was found."""
    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        arguments = [
            corpus,
            str(HERE / "seeds" / name),
            f"-max_total_time={seconds}",
            f"-artifact_prefix={FINDINGS}/{name}-",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ]
        print(f"fuzz {name}: {seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.attacks.fuzz", ONE, name, *arguments]
        return subprocess.run(command, check=False).returncode == 0


def main() -> int:
    if sys.argv[1:2] == [ONE]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(prog="tests.attacks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all unless named")
    chosen = parser.parse_args()
    names = chosen.targets or list(TARGETS)
    each = chosen.seconds / sum(SHARES[name] for name in names)
    found = [name for name in names if not run(name, max(1, round(SHARES[name] * each)))]
    for name in found:
        print(f"FOUND something in {name}: see {FINDINGS}", file=sys.stderr)
    return 1 if found else 0


sys.exit(main())
