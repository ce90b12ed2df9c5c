"""Values that all sessions of a process share, within a bounded memory, and the state of a store that they are of."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

Stamp = tuple[int, int]


class Cache:
    """Least recently used values within a budget of bytes; safe to share between threads. Values must not be changed."""

    def __init__(self, budget: int) -> None:
        self.budget, self.held = budget, 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return the value of a key, made where it is not held; two sessions that ask at once make it once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            value = make()
            size = value.nbytes
            self._values[key] = (value, size)
            self.held += size
            while self.held > self.budget and len(self._values) > 1:
                self.held -= self._values.popitem(last=False)[1][1]
            return value

    def get_many(self, keys: Sequence[Hashable], make: Callable[[list[Hashable]], Sequence[Any]]) -> list[Any]:
        """Return the values of keys; those that are not held are made together."""
        with self._lock:
            missing = [key for key in dict.fromkeys(keys) if key not in self._values]
            made = dict(zip(missing, make(missing), strict=True)) if missing else {}
            held = {key: self._values[key][0] for key in keys if key not in made}
            values = held | {key: self.get(key, lambda key=key: made[key]) for key in made}
            return [values[key] for key in keys]


def stamp_of(path: Path) -> Stamp:
    """Return times that change whenever a run finishes a store, or scores another block of it."""
    try:
        metadata = (path / "zarr.json").stat()
        # While a run is at work the metadata stay and only the completeness changes.
        scored = path / "completeness" / "scored" / "c"
        newest = max((entry.stat().st_mtime_ns for entry in (scored, *scored.glob("*"))), default=0) if scored.exists() else 0
        return (metadata.st_mtime_ns, newest)
    except OSError:
        return (0, 0)
