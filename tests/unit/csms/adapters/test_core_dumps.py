"""Forbidden in a process of its own, where it can be seen from outside."""

import subprocess
import sys

PROGRAM = """
import ctypes, resource
from csms.adapters.core_dumps import forbid_core_dumps
forbid_core_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_neither_a_file_nor_a_program_nor_a_neighbour_gets_the_memory() -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    expected = "(0, 0) 0" if sys.platform == "linux" else "(0, 0) "
    assert said.stdout.strip().startswith(expected)
