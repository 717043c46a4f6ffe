"""File descriptors: each connection is one, and the process has only so many (P50).

Strangers must not use up the last ones: the database opens files in mid-transaction, and an order
to close a session may need a socket. So the listeners stop short of the limit.
"""

from __future__ import annotations

import resource
from typing import Final

# For the database's files, the PKI's and Vault's sockets and the API's clients in one process.
RESERVED: Final = 64


def ceiling() -> int:
    """The descriptor from which on there is no room for a stranger. Raises the process's own limit
    as far as it may first: the usual 1,024 is a login shell's, and 10,000 stations need more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - RESERVED
