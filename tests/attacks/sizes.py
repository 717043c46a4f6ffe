"""How much of each attack is tried: in `make test`, and in `make attack`.

The one place for it. `make test` has eight minutes for all of `tests/attacks`; `make attack` has
thirty. A test takes its numbers from `SIZES` and has none of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

FULL_BY: Final = "CSMS_TEST_ATTACK"  # =full


def _size(ordinary: Any, full: Any) -> Any:
    return ordinary if os.environ.get(FULL_BY) != "full" else full


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts, and seconds where the name says so. First the ordinary size, then the full one."""

    # Sessions
    interleavings: int = _size(400, 10_000)  # A03


SIZES: Final = Sizes()
IS_FULL: Final = os.environ.get(FULL_BY) == "full"
