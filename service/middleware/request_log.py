"""Request log: gives each request an id, logs and counts it, and answers 500 to errors that nothing else handles."""

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
"""Header with the id of a request, in requests and answers."""

ROUTE_KEY: Final = "mien.route"
"""Key of the scope of a request that was answered before routing: the path of its route."""

INTERNAL_ERROR: Final = 1011
"""Close code of a WebSocket on which the service failed (RFC 6455)."""

_VALID_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""Ids that a request may choose: nothing that could end a line or fill the log."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

_log = logging.getLogger("mien.requests")


class RequestLog:
    """ASGI middleware, the outermost: CORS answers, refusals and failures are logged, too."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log its answer."""
        if scope["type"] == "websocket":
            await self._log_websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()
        identity = _id_of(scope)
        token = request_id.set(identity.decode("ascii"))
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                added = [(name, value) for name, value in _HEADERS if name not in given]
                message = {**message, "headers": [*message["headers"], *added, (REQUEST_ID, identity)]}
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            _log.exception("failed")
            if status:  # part of the answer was sent: the server closes the connection
                raise
            response = problems.response(problems.INTERNAL)
            await response(scope, receive, send_and_note)
        finally:
            self._record(scope, status, perf_counter() - began)
            request_id.reset(token)

    async def _log_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log a WebSocket when it ends: it is one request."""
        began, status = perf_counter(), 0
        identity = _id_of(scope)
        token = request_id.set(identity.decode("ascii"))

        async def send_and_note(message: Message) -> None:
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
            await self.app(scope, receive, send_and_note)
        except Exception:  # noqa: BLE001  nothing else handles it
            _log.exception("failed")
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                await send({"type": "websocket.close", "code": INTERNAL_ERROR})
        finally:
            self._record(scope, status, perf_counter() - began)
            request_id.reset(token)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # Labels of metrics are the declared paths and known methods: requests cannot make new ones.
        route = scope.get(ROUTE_KEY) or getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "GET")
        method = method if method in _METHODS else "other"
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


def _id_of(scope: Scope) -> bytes:
    """The id that the request chose, if it is valid, or a new one."""
    sent: bytes = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
    return sent if _VALID_ID.fullmatch(sent) else secrets.token_hex(8).encode()
