"""No picture of our memory leaves the process (threat H06).

Memory holds the pepper, Vault tokens, passwords and access tokens on their way through; a core file
would hold them too, on a disk that nobody thinks of. Python cannot wipe what it has used, so the
picture is forbidden instead.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # <sys/prctl.h>


def forbid_core_dumps() -> None:
    """For this process and, by the limit, for those it starts. Before any secret is read.

    On Linux also for a core pattern that is a program, which the limit does not bind, and for
    other processes of the same user, who could otherwise read our memory (prctl(2)).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
