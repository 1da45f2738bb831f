"""The protocols of a connection: uvicorn's, for HTTP and for WebSockets, with limits on what a client may take.

uvicorn has none for the size of a head, the time that it takes, connections at once, answers that nobody reads and
frames without content: without keys, and before any is asked for, clients could take all memory and all time.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from mien.service.operation.connections import Connections
from mien.service.operation.logs import FIELDS
from mien.service.routes import problems

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a request's line and headers, and of all that is not content in its body: lengths of chunks, and trailers."""

MAX_HEADERS: Final = 256

MAX_PIPELINED: Final = 16
"""Requests that a client may send before the first is answered."""

OVERHEAD: Final = 8
"""Times the content of a body that may come as lengths of chunks."""

BODY_WHEN_STOPPING_S: Final = 5.0
"""How long a body may still take to arrive after the signal to stop."""

FRAME_COSTS: Final = ((1024, 1.0), (16 * 1024, 0.25))
"""What a frame of a WebSocket below so many bytes counts: a control frame, a fragment or a message. Larger ones count
``LARGE_FRAME_COST``: their bytes take longer than the frame."""

LARGE_FRAME_COST: Final = 0.02

FRAMES: Final = 256
"""Frames, counted so, that may come at once; in the long run ``ConnectionLimits.frames_per_s`` may."""

SLICE_BYTES: Final = 4096
"""Bytes of a WebSocket that are parsed before its frames are counted: at least 2 bytes a frame, 10 us each."""

IS_BODY_THERE: Final = "mien.is_body_there"
"""Key of a request's scope: whether its whole body has arrived."""

_log = logging.getLogger("mien.connections")


class LimitedHttp(HttpToolsProtocol):
    """HTTP/1.1 within the limits of ``connections``, which a subclass sets (``limited_protocols``)."""

    all: Connections
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _overhead_bytes = 0
    _is_refused = False

    def connection_made(self, transport: Any) -> None:
        """Count the connection, and start the timer of its first head."""
        super().connection_made(transport)
        if self.all.add(self, self.client[0] if self.client else ""):
            self._start_timer()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "mien is busy: there are too many connections")

    def data_received(self, data: bytes) -> None:
        """Parse, and answer with a problem what is no HTTP or has too long a head.

        Bytes that begin no request do not touch the timers.
        """
        if self._is_refused:
            return
        self._overhead_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
            self.cycle.keep_alive = False  # curl offers HTTP/2 so: it is answered in HTTP/1.1, and nothing after it
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _TooLongError):
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", str(cause))
            else:
                self._refuse(HTTPStatus.BAD_REQUEST, "malformed-head", "this is no HTTP/1.1")
        else:
            if self._overhead_bytes > MAX_HEAD_BYTES:
                reason = str(_too_long())
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", reason)

    def on_message_begin(self) -> None:
        """Start the timer of a head."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _TooLongError(f"at most {MAX_PIPELINED} requests may wait for their answers")
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._head_bytes = 0
        self.scope[IS_BODY_THERE] = False  # type: ignore[typeddict-unknown-key]
        self._start_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, up to the limits: each takes more memory than it has bytes."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            raise _too_long()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the timer, and refuse a head that is too long with its first line."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._overhead_bytes = 0
        if len(self.url) + self._head_bytes > MAX_HEAD_BYTES:
            raise _too_long()
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.headers = []  # trailers: they belong to no request

    def on_body(self, body: bytes) -> None:
        """Hand on the body; its content is no overhead."""
        self._overhead_bytes = max(0, self._overhead_bytes - OVERHEAD * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has come as a whole."""
        self._overhead_bytes = 0
        self.scope[IS_BODY_THERE] = True  # type: ignore[typeddict-unknown-key]
        self.all.answers(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the client to take the answer."""
        super().on_response_complete()
        if self.cycle.response_complete or self.cycle.more_body:
            self.all.waits(self)
        if self.transport.get_write_buffer_size():
            self.all.watch(self)

    def pause_writing(self) -> None:
        """Watch that the client takes the answer."""
        super().pause_writing()
        self.all.watch(self)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to a WebSocket."""
        self._stop_timer()
        super().handle_websocket_upgrade()

    def shutdown(self) -> None:
        """Close what waits; a body has a little time left to arrive, and an answer to be taken."""
        super().shutdown()
        self.all.stop()
        if self.transport.get_write_buffer_size():
            self.all.watch(self)
        if self.cycle is not None and self.cycle.more_body:
            self.loop.call_later(BODY_WHEN_STOPPING_S, self._close_without_body, self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer."""
        self._stop_timer()
        self.all.remove(self)
        super().connection_lost(exc)

    def _refuse(self, status: HTTPStatus, kind: str, detail: str) -> None:
        """Answer what is no request, if nothing else is being answered, and close the connection."""
        self._is_refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.all.note(kind)
        _log.warning("refused a connection", extra={FIELDS: {"reason": kind}})
        if self.cycle is None or self.cycle.response_complete:
            body = problems.problem(status, kind, detail).model_dump_json().encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _close_without_body(self, cycle: object) -> None:
        if self.cycle is cycle and self.cycle.more_body:
            self.transport.abort()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.all.limits.head_s, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket on which frames with little content are limited: parsing one takes as long as that of a picture."""

    all: Connections
    _frames_left = float(FRAMES)
    _counted_s = 0.0

    def connection_made(self, transport: Any) -> None:
        """Take the place of the connection that has become a WebSocket."""
        super().connection_made(transport)
        self.all.replace(transport.get_protocol(), self)

    def data_received(self, data: bytes) -> None:
        """Parse a little at a time, as one read can have 100,000 frames."""
        for begin in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[begin : begin + SLICE_BYTES])

    def handle_events(self) -> None:
        """Count frames before they are handled."""
        cost = sum(_frame_cost(len(event.data)) for event in self.conn.events if isinstance(event, Frame))
        if cost and not self._take(cost):
            self.all.note("frames")
            self.conn.fail(CloseCode.POLICY_VIOLATION, "too many frames with little content")
            self.handle_parser_exception()
            return
        super().handle_events()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Watch that the client takes the last message."""
        super().on_task_complete(task)
        self._watch()

    def pause_writing(self) -> None:
        """Watch that the client takes the messages."""
        super().pause_writing()
        self._watch()

    def shutdown(self) -> None:
        """Close the WebSocket; the client has a little time to take the last message."""
        super().shutdown()
        self.all.stop()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection no longer."""
        self.all.remove(self)
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.transport.get_write_buffer_size():
            self.all.watch(self)

    def _take(self, cost: float) -> bool:
        now = self.loop.time()
        more = (now - self._counted_s) * self.all.limits.frames_per_s
        self._frames_left, self._counted_s = min(FRAMES, self._frames_left + more) - cost, now
        return self._frames_left >= 0


def _frame_cost(size: int) -> float:
    return next((cost for below, cost in FRAME_COSTS if size < below), LARGE_FRAME_COST)


class _TooLongError(Exception):
    """A head is too long."""


def _too_long() -> _TooLongError:
    return _TooLongError(
        f"the head of a request may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers, this has more"
    )


def limited_protocols(connections: Connections) -> tuple[type[LimitedHttp], type[LimitedWebSocket]]:
    """The protocols of a process for HTTP and for WebSockets."""
    shared = {"all": connections}
    return type("LimitedHttp", (LimitedHttp,), shared), type("LimitedWebSocket", (LimitedWebSocket,), shared)
