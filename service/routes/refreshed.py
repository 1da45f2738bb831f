"""Answers about a gallery that changes: made anew once it has changed, but not all the time."""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Final

from mien.service.routes.cached_json import Written

LEAST_AGE_S: Final = 2.0
"""A younger answer is given as it is."""

COST_SHARE: Final = 0.05
"""An answer that takes long is made so rarely that it takes at most this share of a core."""


class Refreshed:
    """An answer, kept. Thread-safe: while one thread makes it anew, others are given the old one."""

    def __init__(
        self,
        make: Callable[[], Written],
        version: Callable[[], Hashable],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what ``make`` makes.

        Args:
            make: the answer.
            version: of what it is made from; as long as it is equal, the answer is the same.
            clock: seconds.
        """
        self._make = make
        self._version = version
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: Written | None = None
        self._made_of: Hashable = None
        self._good_until_s = 0.0

    def current(self) -> Written:
        """The answer, as old as it may be."""
        known = self._answer
        if known is not None and self._clock() < self._good_until_s:
            return known
        if not self._lock.acquire(blocking=known is None):
            assert known is not None  # noqa: S101
            return known
        try:
            return self._looked_after()
        finally:
            self._lock.release()

    def _looked_after(self) -> Written:
        known, version = self._answer, self._version()
        began = self._clock()
        if known is not None and (began < self._good_until_s or version == self._made_of):
            self._good_until_s = max(self._good_until_s, began + LEAST_AGE_S)
            return known
        answer = self._make()
        ended = self._clock()
        self._answer, self._made_of = answer, version
        self._good_until_s = ended + max(LEAST_AGE_S, (ended - began) / COST_SHARE)
        return answer
