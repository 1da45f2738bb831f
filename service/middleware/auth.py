"""Who may ask what: API keys, their scopes, and how fast each may ask.

The rule is one function of method and path, and what it does not know is closed: a route that is added later needs a
key without anybody having to think of it.
"""

import ipaddress
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mien.service.middleware.api_keys import Keys
from mien.service.middleware.api_keys import Scope as KeyScope
from mien.service.middleware.rate_limit import Rates
from mien.service.routes import problems

PUBLIC_PATHS: Final = frozenset({"/", "/health/live", "/health/ready"})
"""Open to all: whether the service lives, and the page, which shows nothing without a key."""

PUBLIC_FOLDERS: Final = ("/page/",)
"""The page's own files."""

QUESTIONS: Final = frozenset({"/classify", "/classify/video", "/retrieve", "/embed", "/explain", "/portraits"})
"""Paths whose POST changes nothing."""

KEY_PROTOCOL: Final = "mien.key."
"""A page cannot give a WebSocket headers of its own; it offers this, with its key behind it, as a subprotocol."""

STILL_ALLOWED: Final = "mien.still_allowed"
"""Where the scope of a request with a key has a function that says whether the key still opens anything."""

ADMIN_FOLDER: Final = "/admin/"


def needed_scope(method: str, path: str) -> KeyScope | None:
    """What a key must allow for this request; None where no key is needed."""
    reads = method in {"GET", "HEAD"}
    if reads and (path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)):
        return None
    if path.startswith(ADMIN_FOLDER):
        return KeyScope.ADMIN
    if reads or (method == "POST" and path in QUESTIONS):
        return KeyScope.READ
    return KeyScope.WRITE


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """ASGI middleware: lets a request in, or answers 401, 403 or 429."""

    def __init__(self, app: ASGIApp, keys: Keys | None, rates: Rates) -> None:
        """Guard ``app``; without ``keys`` everybody may do everything, at the allowed rate."""
        self.app = app
        self.keys = keys
        self.rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] in ("http", "websocket"):
            refusal = self._refusal(scope)
            if refusal is not None:
                if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
                    await send({"type": "websocket.close", "code": 1008})
                else:
                    await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        method = scope.get("method", "GET")
        needed = needed_scope(method, scope["path"])
        if needed is None:
            return None
        caller = (scope.get("client") or ("unknown",))[0]
        if self.keys is not None:
            text = _given_key(scope)
            key = self.keys.find(text) if text else None
            if key is None:
                wait_s = self.rates.wait_s(caller)  # guessing is not free
                if wait_s:
                    return _too_fast(scope, wait_s)
                came = "one that is not known" if text else "none"
                return problems.answer(
                    HTTPStatus.UNAUTHORIZED,
                    "no-key",
                    f"this needs an API key, as Authorization: Bearer or X-API-Key; got {came}",
                    {"WWW-Authenticate": "Bearer"},
                    scope,
                )
            scope["key"] = caller = key.id
            scope[STILL_ALLOWED] = lambda keys=self.keys: keys.find(text) is not None
            if key.allows < needed:
                return problems.answer(
                    HTTPStatus.FORBIDDEN,
                    "scope",
                    f"this needs a key with the scope {needed.name.lower()}, got one with {key.scope}",
                    scope=scope,
                )
        wait_s = self.rates.wait_s(caller)
        return _too_fast(scope, wait_s) if wait_s else None


def _given_key(scope: Scope) -> str:
    headers = dict(scope["headers"])
    given: bytes = headers.get(b"x-api-key", b"")
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        given = credentials.strip()
    if scope["type"] == "websocket" and not given:
        offered: list[str] = scope.get("subprotocols", [])
        return next((name.removeprefix(KEY_PROTOCOL) for name in offered if name.startswith(KEY_PROTOCOL)), "")
    return given.decode("latin-1")


def _too_fast(scope: Scope, wait_s: float) -> Response:
    return problems.answer(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate",
        f"too many requests from one caller: the next may come in {wait_s:.2f} s",
        {"Retry-After": str(int(wait_s) + 1)},
        scope,
    )
