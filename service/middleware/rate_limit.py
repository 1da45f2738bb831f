"""How fast one caller may ask: a token bucket for each."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_CALLERS: Final = 10_000
"""Callers that are remembered; of more, those that have been quiet for longest are forgotten, and start afresh."""

BURST_S: Final = 2.0
"""A caller that was quiet may ask as much at once as it may in this time."""


class RateLimiter:
    """Token buckets, one per caller, that fill at one rate. Belongs to one event loop."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow ``per_s`` requests a second to each caller; 0 allows all."""
        self._per_s = per_s
        self._most = max(1.0, per_s * BURST_S)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, caller: str) -> float:
        """0 where ``caller`` may ask now, which then counts; otherwise the seconds until it may."""
        if self._per_s == 0:
            return 0.0
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (self._most, now))
        tokens = min(self._most, tokens + max(0.0, now - since) * self._per_s)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_s
