"""Around every request: its id, its line in the log, its place in the figures, and the last word on errors."""

import logging
import re
import secrets
from http import HTTPStatus
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.service.operation.logs import FIELDS, request_id
from mien.service.operation.metrics import Metrics
from mien.service.routes import problems

REQUEST_ID: Final = b"x-request-id"
"""The header that carries a request's id, both ways."""

ROUTE_KEY: Final = "mien.route"
"""Where the scope of a request that was answered before it met its route has the route's path."""

FAILED: Final = 1011
"""The code with which a WebSocket is closed on which the service failed."""

_FITS: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""What a caller may choose as an id: nothing that could end a line or fill the log."""

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

_log = logging.getLogger("mien.requests")


class RequestLog:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and see its answer through."""
        if scope["type"] == "websocket":
            await self._see_through(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        identity = _identity(scope)
        token = request_id.set(identity.decode("ascii"))
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS if name not in given]
                message = {**message, "headers": [*message["headers"], *added, (REQUEST_ID, identity)]}
            await send(message)

        try:
            await self.app(scope, receive, answered)
        except Exception:
            _log.exception("failed")
            if status:  # half an answer is out: the server breaks the connection off
                raise
            response = problems.response(problems.INTERNAL)
            await response(scope, receive, answered)
        finally:
            self._note(scope, status, perf_counter() - began)
            request_id.reset(token)

    async def _see_through(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, from its opening to its end: one request, and one line in the log."""
        began, status = perf_counter(), 0
        identity = _identity(scope)
        token = request_id.set(identity.decode("ascii"))

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.accept":
                status = HTTPStatus.SWITCHING_PROTOCOLS
                message = {**message, "headers": [*message.get("headers", []), (REQUEST_ID, identity)]}
            elif message["type"] == "websocket.http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (REQUEST_ID, identity)]}
            elif message["type"] == "websocket.close" and not status:
                status = HTTPStatus.FORBIDDEN
            await send(message)

        try:
            await self.app(scope, receive, answered)
        except Exception:  # noqa: BLE001  the last word on errors
            _log.exception("failed")
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                await send({"type": "websocket.close", "code": FAILED})
        finally:
            self._note(scope, status, perf_counter() - began)
            request_id.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get(ROUTE_KEY) or getattr(
            scope.get("route"), "path", "none"
        )  # as it is declared: callers do not choose labels
        asked = scope.get("method", "GET")
        method = asked if asked in _METHODS else "other"
        self.metrics.requests.labels(method, route, int(status)).inc()
        if scope["type"] == "http":
            self.metrics.request_seconds.labels(route).observe(seconds)
        problem = scope.get(problems.SCOPE_KEY)
        if problem is not None:
            self.metrics.rejections.labels(problem).inc()
        if _log.isEnabledFor(logging.INFO):
            fields = {"method": method, "route": route, "status": int(status), "ms": round(seconds * 1000, 2)}
            if problem is not None:
                fields["problem"] = problem
            if "key" in scope:
                fields["key"] = scope["key"]
            _log.info("answered", extra={FIELDS: fields})


def _identity(scope: Scope) -> bytes:
    """The id that the caller chose, if it fits, or another."""
    sent: bytes = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
    return sent if _FITS.fullmatch(sent) else secrets.token_hex(8).encode()


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
