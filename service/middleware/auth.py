"""Authentication: which API key a request needs, and how many requests a caller may send per second.

The scope that a request needs is a function of its method and path. A path that the function does not know needs a key
with the scope ``write``, so that a route that is added later is not open by mistake.
"""

import ipaddress
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mien.service.inference.admission import IMAGE_PATHS, VIDEO_PATH
from mien.service.middleware.api_keys import Keys
from mien.service.middleware.api_keys import Scope as KeyScope
from mien.service.middleware.rate_limit import RateLimiter, address_of, rate_refusal
from mien.service.routes import problems

PUBLIC_PATHS: Final = frozenset({"/", "/health/live", "/health/ready"})
"""Paths that need no key: health, and the page, which shows nothing without a key."""

PUBLIC_FOLDERS: Final = ("/page/",)
"""Folders whose files need no key: those of the page."""

READ_ONLY_POSTS: Final = frozenset({*IMAGE_PATHS, VIDEO_PATH, "/portraits", "/thumbnails"})
"""Paths whose POST changes nothing."""

ADMIN_FOLDER: Final = "/admin/"

KEY_PROTOCOL: Final = "mien.key."
"""Prefix of a WebSocket subprotocol that carries a key: browsers cannot set headers of a WebSocket."""

IS_KEY_VALID: Final = "mien.is_key_valid"
"""Key of the scope of a request with an API key: a function that says whether the API key is still valid."""


CALLER_KEY: Final = "mien.caller"
"""Key of the scope of a request: the name of its caller."""


def caller_of(scope: Scope) -> str:
    """The name of the caller of a request that ``Auth`` has passed on: the id of the key, or the address without keys.

    It is empty for requests that need no key.
    """
    return str(scope.get(CALLER_KEY, ""))


def needed_scope(method: str, path: str) -> KeyScope | None:
    """The scope that a request needs; None where it needs no key."""
    reads = method in {"GET", "HEAD"}
    if reads and (path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)):
        return None
    if path.startswith(ADMIN_FOLDER):
        return KeyScope.ADMIN
    if reads or (method == "POST" and path in READ_ONLY_POSTS):
        return KeyScope.READ
    return KeyScope.WRITE


def is_loopback(host: str) -> bool:
    """Whether a server that listens on ``host`` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Auth:
    """ASGI middleware: passes a request on, or answers 401, 403 or 429."""

    def __init__(self, app: ASGIApp, keys: Keys | None, rates: RateLimiter) -> None:
        """Guard ``app``.

        Args:
            app: the next ASGI app.
            keys: the keys that are valid; None allows everything to everybody, within ``rates``.
            rates: of requests, for each key, or for each address without keys.
        """
        self.app = app
        self._keys = keys
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await refuse(refusal, scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        needed = needed_scope(scope.get("method", "GET"), scope["path"])
        if needed is None:
            return None
        if self._keys is None:
            return self._rate_refusal(scope, address_of(scope))
        text = _key_of(scope)
        key = self._keys.find(text) if text else None
        if key is None:  # guessing is limited, too
            got = "one that is not known" if text else "none"
            return self._rate_refusal(scope, address_of(scope)) or _unauthorized(scope, got)
        scope["key"] = key.id
        scope[IS_KEY_VALID] = lambda keys=self._keys: keys.find(text) is not None
        refusal = self._rate_refusal(scope, key.id)
        if refusal is not None or key.allows >= needed:
            return refusal
        detail = f"this needs a key with the scope {needed.name.lower()}, got one with {key.scope}"
        return problems.response(problems.problem(HTTPStatus.FORBIDDEN, "scope", detail), scope)

    def _rate_refusal(self, scope: Scope, caller: str) -> Response | None:
        scope[CALLER_KEY] = caller
        return rate_refusal(self._rates, scope, caller)


async def refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket that is not accepted; where the server cannot do that, it is closed."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
    else:
        await answer(scope, receive, send)


def _key_of(scope: Scope) -> str:
    """The key that a request carries; empty where it carries none."""
    headers = dict(scope["headers"])
    key: bytes = headers.get(b"x-api-key", b"")
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        key = credentials.strip()
    if scope["type"] == "websocket" and not key:
        offered: list[str] = scope.get("subprotocols", [])
        return next((name.removeprefix(KEY_PROTOCOL) for name in offered if name.startswith(KEY_PROTOCOL)), "")
    return key.decode("latin-1")


def _unauthorized(scope: Scope, got: str) -> Response:
    detail = f"this needs an API key, as Authorization: Bearer or X-API-Key; got {got}"
    problem = problems.problem(HTTPStatus.UNAUTHORIZED, "no-key", detail)
    return problems.response(problem, scope, {"WWW-Authenticate": "Bearer"})
