"""Turns: a number of places that callers get one after the other, so that none waits for all the work of another."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mien.service.inference.admission import CALLER


class Turns:
    """Places for work that is done at once. Belongs to one event loop.

    Who waits gets a place in turn: the callers one after the other, and the work of one in the order in which it came.

    Attributes:
        places: how many there are.
        per_caller: how many of them one caller may have at once.
    """

    def __init__(self, places: int, per_caller: int | None = None) -> None:
        """Make ``places``, of which one caller may have ``per_caller``; None lets it have all."""
        self.places = places
        self.per_caller = per_caller or places
        self._taken: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self) -> str:
        """Wait for a place of the present caller, and return its name, for ``give_back``."""
        caller = CALLER.get()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._next()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give_back(caller)
            raise
        return caller

    def give_back(self, caller: str) -> None:
        """Give the place of a caller to the next."""
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        self._next()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A place inside an ``async with`` block."""
        caller = await self.take()
        try:
            yield
        finally:
            self.give_back(caller)

    def _next(self) -> None:
        """Give free places to those who wait."""
        for caller in list(self._waiting):
            if self._taken.total() >= self.places:
                return
            if self._taken[caller] >= self.per_caller:
                continue
            turns = self._waiting.pop(caller)
            while turns and turns[0].done():  # cancelled
                turns.popleft()
            if turns:
                turns.popleft().set_result(None)
                self._taken[caller] += 1
            if turns:
                self._waiting[caller] = turns  # behind the others
