"""Who may ask without a key: the hosts that a request may be for, and the pages that it may come from.

A browser sends what any page tells it to send, also to a service that only this machine can reach. Two headers that a
page cannot choose tell such requests apart. ``Host`` is the name that the browser looked up: an unknown name
means that its name server points to this machine (DNS rebinding), and that a page of that name could read the answers.
``Origin``, or ``Sec-Fetch-Site``, is where the page came from.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from mien.service.errors import ForeignHostError, ForeignPageError, MalformedHeadError, RequestError
from mien.service.middleware.api_keys import Scope as KeyScope
from mien.service.middleware.auth import needed_scope, refuse
from mien.service.middleware.rate_limit import RateLimiter, address_of, rate_refusal
from mien.service.routes import problems

ANY_HOST: Final = "*"

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_SINGLE: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"authorization", b"x-api-key", b"content-type", b"content-length"}
)
"""Headers that may be there once: of two, a proxy may check one and the service read the other."""

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.ASCII)

_LONGEST_HOST: Final = 255 + len(":65535")


class Hosts:
    """The hosts that requests may be for: the names of the loopback interface, those that are given, perhaps addresses.

    A page that was loaded from an IP address came from what answers there, so an address cannot be rebound.
    """

    def __init__(self, named: Sequence[str] = (), *, addresses: bool = False) -> None:
        """Allow further hosts.

        Args:
            named: ``host``, ``host:port``, or ``*`` for all.
            addresses: whether every IP address is allowed, not only those of the loopback interface.
        """
        self.named = frozenset(each.lower() for each in named)
        self._addresses = addresses
        self.allow = lru_cache(256)(self._allow)

    def _allow(self, header: bytes) -> bool:
        """Whether a request may have this ``Host``."""
        if ANY_HOST in self.named:
            return True
        text = header.decode("latin-1").lower()
        match = _HOST.fullmatch(text) if len(text) <= _LONGEST_HOST else None
        if match is None:
            return False
        name = match[1].strip("[]").removesuffix(".")
        if name == "localhost" or name in self.named or text in self.named:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._addresses or address.is_loopback


class OriginCheck:
    """ASGI middleware: refuses requests for other hosts, and those by which pages of other origins change something.

    Whether a page may read an answer is not decided here: browsers ask that of the CORS headers.
    """

    def __init__(
        self, app: ASGIApp, hosts: Hosts | None, origins: Sequence[str], rates: RateLimiter, *, keys: bool
    ) -> None:
        """Guard ``app``.

        Args:
            app: the next ASGI app.
            hosts: that requests may be for; None for all.
            origins: of other pages that may change something and open WebSockets.
            rates: what is refused here, and preflights, count for the address that sent them.
            keys: whether requests need an API key: a browser does not add it to those of another page, so that only
                WebSockets, whose pages are not asked for a preflight, are checked for their origin.
        """
        self.app = app
        self._hosts = hosts
        self._origins = frozenset(origins)
        self._rates = rates
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with 400, 403, 421 or 429."""
        if scope["type"] in ("http", "websocket"):
            error = self._error(scope)
            if error is not None or (self._origins and scope.get("method") == "OPTIONS"):
                refusal = rate_refusal(self._rates, scope, address_of(scope))
                if refusal is None and error is not None:
                    refusal = problems.response_to(error, scope)
                if refusal is not None:
                    await refuse(refusal, scope, receive, send)
                    return
        await self.app(scope, receive, send)

    def _error(self, scope: Scope) -> RequestError | None:
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _SINGLE:
                if name in found:
                    return MalformedHeadError(f"a request may have one header {name.decode()}, this one has more")
                found[name] = value
        host = found.get(b"host")
        if host is None:
            if scope["http_version"] != "1.0":
                return MalformedHeadError("a request must have a header Host, this one has none")
        elif self._hosts is not None and not self._hosts.allow(host):
            got = repr(host[:80].decode("latin-1"))
            return ForeignHostError(f"expected a host that this service answers for (MIEN_HOSTS names them), got {got}")
        if scope["type"] == "http":
            if self._keys or not _changes_something(scope["method"], scope["path"]):
                return None
            does = "change something"
        else:
            does = "open a stream"
        origin, site = found.get(b"origin"), found.get(b"sec-fetch-site", b"none")
        if self._is_own(origin, host or b"") if origin is not None else site in (b"none", b"same-origin"):
            return None
        return ForeignPageError(f"only pages of this service, or of MIEN_CORS_ORIGINS, may {does}")

    def _is_own(self, header: bytes, host: bytes) -> bool:
        """Whether an origin is that of the service, or of one of the other pages.

        Host and port are compared, not the scheme: behind a proxy that ends TLS the service does not see the client's.
        A proxy may also replace the host, so an origin may be one of the named hosts.
        """
        origin = header.decode("latin-1")
        if origin in self._origins:
            return True
        try:
            page, here = urlsplit(origin), urlsplit("//" + host.decode("latin-1"))
            default = _PORTS.get(page.scheme)
            if page.hostname is None or default is None:
                return False
            port = page.port or default
            if (page.hostname, port) == (here.hostname, here.port or default):
                return True
        except ValueError:  # not a URL
            return False
        named = frozenset() if self._hosts is None else self._hosts.named
        return f"{page.hostname}:{port}" in named or (port == default and page.hostname in named)


def _changes_something(method: str, path: str) -> bool:
    needed = needed_scope(method, path)
    return method != "OPTIONS" and needed is not None and needed > KeyScope.READ
