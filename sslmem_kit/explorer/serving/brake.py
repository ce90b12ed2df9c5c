"""The brake on guessing passwords: attempts are slowed down, nobody is locked out.

What failed is counted by name and by where it came from together, so that nobody can spend the attempts of somebody elsewhere. The answer
to an attempt after several failures is held back, each time longer. Behind a proxy that is not declared (``--trust-proxy``) all come from
one address; there a browser that signed in before is known by a cookie of its own and is not held up by what others do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from sslmem_kit.explorer.serving.credentials import RateLimiter

FREE, FREE_OF_ADDRESS = 5, 20
"""Failures without a delay: of a name from one place, and of a place."""

LONGEST_DELAY, LONGEST_OF_ADDRESS = 30.0, 4.0
"""Seconds that an answer is held back at most."""

AT_ONCE, AT_ONCE_OF_ADDRESS, AT_ONCE_IN_ALL = 3, 16, 64
"""Attempts that may wait: of a name from one place, of a place, and altogether."""


class TooManyError(Exception):
    """An attempt that is not even held back; ``wait`` in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = wait


class Brake:
    """Delay of attempts by name and place, and by place."""

    def __init__(self) -> None:
        self.pairs = RateLimiter(FREE, longest=LONGEST_DELAY)
        self.places = RateLimiter(FREE_OF_ADDRESS, longest=LONGEST_OF_ADDRESS)
        self._waiting: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def attempt(self, name: str, place: str) -> AsyncIterator[None]:
        """Wait as long as the failures so far ask for. It counts as one more until :meth:`worked` takes it back.

        Raises
        ------
        TooManyError
            So many wait already that this attempt is not taken.
        """
        pair = _pair(name, place)
        wait = max(self.pairs.wait(pair), self.places.wait(place))
        if self._waiting[pair] >= AT_ONCE or self._waiting[place] >= AT_ONCE_OF_ADDRESS or self._waiting[""] >= AT_ONCE_IN_ALL:
            raise TooManyError(max(wait, 1.0))
        self.pairs.failed(pair)
        self.places.failed(place)
        keys = (pair, place, "")
        self._waiting.update(keys)
        try:
            await asyncio.sleep(wait)
            yield
        finally:
            self._waiting.subtract(keys)
            for key in keys:
                if self._waiting[key] <= 0:
                    del self._waiting[key]

    def worked(self, name: str, place: str) -> None:
        """Forget the failures of a name from a place; those of the place stay, or an account of one's own would help guessing others'."""
        self.pairs.forget(_pair(name, place))
        self.places.take_back(place)


def _pair(name: str, place: str) -> str:
    return f"{name}\n{place}"
