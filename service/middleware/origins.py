"""Origins of WebSockets: browsers send no preflight for them, so the service checks the origin of the page."""

from contextlib import suppress
from urllib.parse import urlsplit

from starlette.types import Scope

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def is_allowed_origin(scope: Scope, others: tuple[str, ...]) -> bool:
    """Whether a WebSocket comes from a page of this service or of one of the ``others``, or from no page.

    Host and port are compared, not the scheme: behind a proxy that ends TLS the service does not see the client's.
    """
    headers = dict(scope["headers"])
    if b"origin" not in headers:
        return True
    origin = headers[b"origin"].decode("latin-1")
    if origin in others:
        return True
    with suppress(ValueError):  # not a URL
        page, here = urlsplit(origin), urlsplit("//" + headers.get(b"host", b"").decode("latin-1"))
        port = _PORTS.get(page.scheme)
        if page.hostname is not None and port is not None:
            return (page.hostname, page.port or port) == (here.hostname, here.port or port)
    return False
