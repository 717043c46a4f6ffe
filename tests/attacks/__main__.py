"""`make attack`: everything in here at full size, in two processes, and one table at the end.

Half of the tests wait (for Vault to be unsealed, for certificates to be renewed), the other half
work; beside each other they take little longer than one of them. Exits with the worse of the two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.attacks.scoreboard import BOARD_BY, Row, Scoreboard
from tests.attacks.sizes import FULL_BY

HERE: Final = Path(__file__).parent
BESIDE: Final = HERE.parent / "property" / "test_message_parity.py"  # it has a full size, too
# Whose time is mostly somebody else's.
WAITING: Final = ("B16", "C08", "C11", "D12", "H01", "P01", "P02", "P03", "P04", "P05", "P26")


def lanes() -> tuple[list[Path], list[Path]]:
    files = sorted(HERE.glob("test_*.py"))
    waiting = [file for file in files if file.name.split("_")[1] in WAITING]
    return waiting, [*(file for file in files if file not in waiting), BESIDE]


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        boards = [Path(directory) / f"{number}.json" for number in range(2)]
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "pytest", "--durations=10", "-p", "no:cacheprovider"]
                + [str(file) for file in files],
                env=os.environ | {FULL_BY: "full", BOARD_BY: str(board)},
            )
            for files, board in zip(lanes(), boards, strict=True)
        ]
        codes = [process.wait() for process in running]
        table = Scoreboard()
        for board in boards:
            rows = json.loads(board.read_text()) if board.exists() else []
            table.rows += [Row(**row) for row in rows]
    print("\npromises under attack\n")
    print("\n".join(table.lines()))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
