"""Memory of people who have left, given back to the system.

A document is full of cycles, which only the collector frees, and glibc keeps most of what is freed for itself.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable

REST_SECONDS = 10
"""Seconds between two collections, each of which takes a moment in which nobody is answered."""

ROUNDS = 2
"""Collections after somebody has left: at the first, answers under way may still hold a document."""


class Memory:
    """Watches who leaves.

    Parameters
    ----------
    give_back, clock
        What is done, and the time; others only in tests.
    """

    def __init__(self, give_back: Callable[[], None] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._give_back, self._clock = give_back or collect, clock
        self._present: set[str] = set()
        self._rounds, self._last = 0, -float("inf")

    def look(self, present: set[str]) -> None:
        """Note which sessions there are now, and give memory back once some have left."""
        if self._present - present:
            self._rounds = ROUNDS
        self._present = present
        if self._rounds and self._clock() - self._last >= REST_SECONDS:
            self._rounds -= 1
            self._last = self._clock()
            self._give_back()


def collect() -> None:
    """Free cycles, and hand free pages back where the C library can."""
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)


_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
