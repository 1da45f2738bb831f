"""Rate limit: a token bucket for each caller."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MAX_CALLERS: Final = 10_000
"""Callers with a bucket; of more, those whose last request is longest ago lose it, and start with a full one."""

BURST_S: Final = 2.0
"""Size of a bucket, as seconds of the rate: so many requests may come at once."""


class RateLimiter:
    """Token buckets that fill at the same rate, one for each caller. Belongs to one event loop."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow ``per_s`` requests per second of each caller; 0 sets no limit."""
        self._per_s = per_s
        self._bucket_size = max(1.0, per_s * BURST_S)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, caller: str) -> float:
        """Count a request of ``caller``, and return 0; if it is too early, the seconds until the next is allowed."""
        if self._per_s == 0:
            return 0.0
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (self._bucket_size, now))
        tokens = min(self._bucket_size, tokens + max(0.0, now - since) * self._per_s)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_s
