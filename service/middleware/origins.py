"""Which pages may open a WebSocket: browsers ask nobody before they do, so the service looks where a page is from."""

from contextlib import suppress
from urllib.parse import urlsplit

from starlette.types import Scope

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def may_open(scope: Scope, others: tuple[str, ...]) -> bool:
    """Whether whoever opens this WebSocket is no page, a page of this service, or one of the ``others``.

    Behind a proxy that ends TLS the service does not see the scheme it is asked by: host and port are compared, each
    with its own scheme's default.
    """
    headers = dict(scope["headers"])
    if b"origin" not in headers:
        return True
    origin = headers[b"origin"].decode("latin-1")
    if origin in others:
        return True
    with suppress(ValueError):  # what is no address
        page, here = urlsplit(origin), urlsplit("//" + headers.get(b"host", b"").decode("latin-1"))
        port = _PORTS.get(page.scheme)
        if page.hostname is not None and port is not None:
            return (page.hostname, page.port or port) == (here.hostname, here.port or port)
    return False
