"""Turns: one thing at a time, in between which everybody else is answered, and nobody is served twice before others were once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator

REST_SECONDS, REST_SHARE = 0.1, 0.5
"""Pause after a turn: at least so long, and this share of what the turn took."""


class Turns:
    """A queue in which people alternate, however many places one of them has.

    Parameters
    ----------
    most, most_of_one
        Places in the queue, and those that one person may have.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self.most, self.most_of_one = most, most_of_one
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._taken = False

    def waiting(self, who: str | None = None) -> int:
        """How many wait; of one person where one is named."""
        queues = self._queues.values() if who is None else [self._queues.get(who, ())]
        return sum(map(len, queues))

    def full(self, who: str) -> bool:
        """Whether a person has to be sent away."""
        return self.waiting() >= self.most or self.waiting(who) >= self.most_of_one

    @contextlib.asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """Wait for a turn; the next one begins a pause after this one has ended."""
        if self._taken:
            place = asyncio.get_running_loop().create_future()
            self._queues.setdefault(who, deque()).append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._next()
                else:
                    self._leave(who, place)
                raise
        self._taken, began = True, time.monotonic()
        try:
            yield
        finally:
            rest = max(REST_SECONDS, REST_SHARE * (time.monotonic() - began))
            asyncio.get_running_loop().call_later(rest, self._next)

    def _next(self) -> None:
        self._taken = False
        while self._queues:
            who, places = self._queues.popitem(last=False)
            place = places.popleft()
            if places:
                self._queues[who] = places
            if not place.done():
                self._taken = True
                place.set_result(None)
                return

    def _leave(self, who: str, place: asyncio.Future[None]) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._queues[who].remove(place)
            if not self._queues[who]:
                del self._queues[who]
