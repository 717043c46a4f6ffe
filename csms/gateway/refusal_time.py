"""When a refusal goes out: so long after its request, whatever was done in between (A06).

The row of a known station takes some 20 to 60 microseconds longer to read than none, and 2,000
probes on loopback could tell. An event loop's own timer hides nothing of it: epoll counts in whole
milliseconds from when the work is done, so that the difference comes out at the end again. A
timerfd is due at a time, and not after one.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
import time
from itertools import count
from typing import Final

_TFD_TIMER_ABSTIME: Final = 1  # <sys/timerfd.h>
_NANOSECONDS: Final = 1_000_000_000
_TICKS_BYTES: Final = 8


class RefusalTime:
    """Belongs to the running event loop. Without timerfd (elsewhere than Linux) its timer serves,
    and the promise is the weaker one.
    """

    def __init__(self, seconds: float) -> None:
        self._wait = int(seconds * _NANOSECONDS)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, int, asyncio.Event]] = []
        self._order = count()
        self._timer = _timerfd() if sys.platform == "linux" else None
        if self._timer is not None:
            self._loop.add_reader(self._timer, self._ready)

    def due(self) -> int:
        """Of a request that comes now."""
        return time.monotonic_ns() + self._wait

    async def reached(self, due: int) -> None:
        """Wait until then; at once when it has passed."""
        left = due - time.monotonic_ns()
        if left <= 0:
            return
        if self._timer is None:
            await asyncio.sleep(left / _NANOSECONDS)
            return
        released = asyncio.Event()
        heapq.heappush(self._waiting, (due, next(self._order), released))
        if self._waiting[0][2] is released:
            _arm(self._timer, due)
        await released.wait()

    def close(self) -> None:
        """Whoever waits still is released."""
        for _, _, released in self._waiting:
            released.set()
        self._waiting.clear()
        if self._timer is not None:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = None

    def _ready(self) -> None:
        if self._timer is None:
            return
        try:
            os.read(self._timer, _TICKS_BYTES)
        except BlockingIOError:  # armed anew since
            return
        now = time.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now:
            heapq.heappop(self._waiting)[2].set()
        if self._waiting:
            _arm(self._timer, self._waiting[0][0])


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Timer(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc: Final = ctypes.CDLL(None, use_errno=True)


def _timerfd() -> int | None:
    descriptor: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    return None if descriptor < 0 else descriptor


def _arm(descriptor: int, due: int) -> None:
    """At that time of CLOCK_MONOTONIC, once."""
    seconds, nanoseconds = divmod(due, _NANOSECONDS)
    timer = _Timer(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
    _libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(timer), None)
