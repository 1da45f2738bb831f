"""Load shedding: answers 503 while a limit is reached, before the body is read, and says whose the request is."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mien.index.deadline import DEADLINE_S
from mien.service.errors import QueueFullError
from mien.service.inference.admission import CALLER, Limit
from mien.service.middleware.auth import caller_of
from mien.service.middleware.request_log import ROUTE_KEY
from mien.service.routes import problems

_KIND: Final = problems.ANSWERS[QueueFullError][1]


class LoadShedding:
    """ASGI middleware: refuses requests that need a limit (``mien.service.inference.admission``) that is reached.

    Under twice the load that the cores can bear, every other request is refused, and what a refusal costs is taken
    from the requests that are answered. Here it costs neither routing nor reading of a body.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, Sequence[Limit]], max_s: float) -> None:
        """Guard ``app``.

        Args:
            app: the next ASGI app.
            limits: what a request to each path needs; other paths are never refused.
            max_s: how long an answer may take after the body, seconds.
        """
        self.app = app
        self._limits = limits
        self._max_s = max_s
        # Made once: all refusals for one limit are the same.
        self._refusals = {
            limit: problems.response_to(limit.refusal()) for needed in limits.values() for limit in needed
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] in ("http", "websocket"):
            CALLER.set(caller_of(scope))
        if scope["type"] == "http":
            DEADLINE_S.set(time.monotonic() + self._max_s)  # the end of a body sets it again
            for limit in self._limits.get(scope["path"], ()):
                if limit.is_full:
                    scope[ROUTE_KEY] = scope["path"]
                    scope[problems.SCOPE_KEY] = _KIND
                    await self._refusals[limit](scope, receive, send)
                    return
        await self.app(scope, receive, send)
