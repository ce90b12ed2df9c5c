"""Turns: one thing at a time, in between which everybody else is answered, and nobody is served twice before others were once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable

from sslmem_kit.explorer.serving.messages import Allowance

REST_SECONDS, REST_SHARE = 0.1, 0.5
"""Pause after a turn: at least so long, and this share of what the turn took."""

AT_ONCE, PER_SECOND = 12, 0.5
"""Turns that one person has whenever they come up, and how many further ones per second."""

LOOK_SECONDS = 0.25
"""Seconds after which it is checked again whether somebody may have another turn."""


class Turns:
    """A queue in which people alternate, however many places one of them has.

    Parameters
    ----------
    most, most_of_one
        Places in the queue, and those that one person may have; who has none may have one though the queue is full, up to four times as many.
    at_once, per_second
        Turns that one person may have.
    """

    def __init__(self, most: int, most_of_one: int, *, at_once: float = AT_ONCE, per_second: float = PER_SECOND) -> None:
        self.most, self.most_of_one = most, most_of_one
        self._bounds = per_second, at_once
        self._queues: OrderedDict[str, deque[tuple[asyncio.Future[bool], Callable[[], bool]]]] = OrderedDict()
        self._allowed: dict[str, Allowance] = {}
        self._taken = False
        self._looking: asyncio.TimerHandle | None = None

    def waiting(self, who: str | None = None) -> int:
        """Return the number of those who wait; of one person where one is named."""
        queues = self._queues.values() if who is None else [self._queues.get(who, ())]
        return sum(map(len, queues))

    def full(self, who: str) -> bool:
        """Return whether a person has to be sent away."""
        own, all_ = self.waiting(who), self.waiting()
        return own >= self.most_of_one or (own > 0 and all_ >= self.most) or all_ >= 4 * self.most

    @contextlib.asynccontextmanager
    async def turn(self, who: str, gone: Callable[[], bool] = lambda: False) -> AsyncIterator[bool]:
        """Wait for a turn; the next one starts a pause after this one has ended. False, and no turn, for who is ``gone`` when it comes."""
        if gone():
            yield False
            return
        if self._taken or not self._may(who):
            place = asyncio.get_running_loop().create_future()
            self._queues.setdefault(who, deque()).append((place, gone))
            if not self._taken:
                self._look_again()
            try:
                mine = await place
            except asyncio.CancelledError:
                if not place.done() or place.cancelled():
                    self._leave(who, place)
                elif place.result():
                    self._next()
                raise
            if not mine:
                yield False
                return
        self._taken, started = True, time.monotonic()
        try:
            yield True
        finally:
            rest = max(REST_SECONDS, REST_SHARE * (time.monotonic() - started))
            asyncio.get_running_loop().call_later(rest, self._next)

    def forget(self, present: set[str]) -> None:
        """Keep the allowances of these people, and of who waits, only."""
        self._allowed = {who: own for who, own in self._allowed.items() if who in present or who in self._queues or not own.full()}

    def _may(self, who: str) -> bool:
        return self._allowed.setdefault(who, Allowance(*self._bounds)).take(1)

    def _next(self) -> None:
        self._taken = False
        for who in [*self._queues]:
            places = self._queues[who] = deque(one for one in self._queues[who] if _waits(*one))
            if places and self._may(who):
                self._taken = True
                self._queues.move_to_end(who)
                places.popleft()[0].set_result(True)
            if not places:
                del self._queues[who]
            if self._taken:
                return
        if self._queues:
            self._look_again()

    def _look_again(self) -> None:
        """Check again later: none of those who wait may have a turn now."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        if not self._taken:
            self._next()

    def _leave(self, who: str, place: asyncio.Future[bool]) -> None:
        with contextlib.suppress(KeyError):
            self._queues[who] = deque(one for one in self._queues[who] if one[0] is not place)
            if not self._queues[who]:
                del self._queues[who]


def _waits(place: asyncio.Future[bool], gone: Callable[[], bool]) -> bool:
    """Return whether somebody still waits at a place; a page that nobody waits for any more costs no turn."""
    if not place.done() and gone():
        place.set_result(False)
    return not place.done()
