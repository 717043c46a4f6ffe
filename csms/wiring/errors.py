"""What stops a start, in one line for the person who started it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from csms.adapters.openbao import OpenBaoFailed
from csms.adapters.vault import PolicyTooWide, PolicyUnreadable, VaultError
from csms.gateway.tls import TLSPolicyInvalid
from csms.ports.store import StoreError
from csms.store.database import DatabaseURLInvalid
from pki.api.callers import CallersInvalid
from pki.wire import PkiError
from pki.wiring import HierarchyInvalid
from pki.x509.profile import ProfileInvalid


class StartFailed(Exception):
    """What is missing or wrong, and what to do."""


class RoleEnded(StartFailed):
    """A role ended while the others ran; the process ended with it."""


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what users can mend into StartFailed; everything else is a bug and keeps its trace."""
    try:
        yield
    except (OpenBaoFailed, VaultError, PolicyTooWide, PolicyUnreadable) as error:
        raise StartFailed(str(error)) from error
    except (PkiError, HierarchyInvalid, ProfileInvalid, CallersInvalid) as error:
        raise StartFailed(str(error)) from error
    except (TLSPolicyInvalid, StoreError, DatabaseURLInvalid) as error:
        raise StartFailed(str(error)) from error
    except OSError as error:
        what = error.filename or "a listener"
        raise StartFailed(f"{what}: {error.strerror or error}") from error
