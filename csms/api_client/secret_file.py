"""A new file for a secret that is shown once: readable by its owner alone from the first byte on.

It is made before the secret is asked for, so that a path that cannot be written costs no
registration, and it is gone again when there was nothing to write.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from csms.api_client.session import ApiFailed

_OWNER_ONLY: Final = 0o600


@contextmanager
def secret_file(path: Path | None) -> Iterator[IO[str] | None]:
    """The open file; None where no file is wanted. Raises ApiFailed."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except FileExistsError:
        raise ApiFailed(f"{path}: exists already") from None
    except OSError as error:
        raise ApiFailed(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        path.unlink(missing_ok=True)
        what = "what the secret is for is registered: remove it"
        raise ApiFailed(f"{path}: {error.strerror}; {what}") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
