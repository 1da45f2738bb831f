"""Connections: what uvicorn does, but for heads of requests that do not come."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class TimedProtocol(HttpToolsProtocol):
    """Closes a connection on which the head of a request takes too long.

    uvicorn waits for a first request, and for the rest of a head, for ever: callers that send nothing could hold all
    the connections there may be.
    """

    longest_s = 30.0
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A caller is there: the first head is awaited."""
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        """The head of a request, the first or a later one, has begun."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_waiting()
        self._alarm = self.loop.call_later(self.longest_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def timed_protocol(longest_s: float) -> type[TimedProtocol]:
    """The protocol with a time of its own."""
    return type("TimedProtocol", (TimedProtocol,), {"longest_s": longest_s})
