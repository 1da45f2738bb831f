"""Rate limit: a token bucket for each caller."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import Scope

from mien.service.routes import problems

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


def address_of(scope: Scope) -> str:
    """The name of a caller without a key: its address, or of an IPv6 address the network, where it has 2^64 of them."""
    host: str = (scope.get("client") or ("",))[0]
    if len(host) <= len("255.255.255.255") and host.replace(".", "").isdigit():
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:  # what a proxy passed on
        return "unknown"
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def rate_refusal(rates: RateLimiter, scope: Scope, caller: str) -> Response | None:
    """Count a request; the answer to it (429) if it comes too early."""
    wait_s = rates.wait_s(caller)
    if wait_s == 0:
        return None
    detail = f"too many requests from one caller: the next may come in {wait_s:.2f} s"
    problem = problems.problem(HTTPStatus.TOO_MANY_REQUESTS, "rate", detail)
    return problems.response(problem, scope, {"Retry-After": str(int(wait_s) + 1)})
