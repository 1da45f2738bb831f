"""Limits of request bodies: the size and the time of each, and the bytes of all together."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.service.errors import BodyTooLargeError, BodyTooSlowError
from mien.service.inference.admission import Limit


class BodyLimit:
    """ASGI middleware: raises an error where the body is read, if it is too large or too slow.

    A body over the limit is refused by its declared length, or as soon as more bytes have arrived.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        all_bodies: Limit,
        max_s: float,
        max_bytes_by_path: Mapping[str, int],
    ) -> None:
        """Guard ``app``.

        Args:
            app: reads the bodies.
            max_bytes: of one body.
            all_bodies: bytes of the bodies of all requests together.
            max_s: how long a body may take to arrive, seconds.
            max_bytes_by_path: of one body that is sent to one of these paths, in place of ``max_bytes``.
        """
        self.app = app
        self._max_bytes = max_bytes
        self._max_bytes_by_path = max_bytes_by_path
        self._all_bodies = all_bodies
        self._max_s = max_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting the bytes of its body."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        max_bytes = self._max_bytes_by_path.get(scope["path"], self._max_bytes)
        declared_too_large = declared.isdigit() and int(declared) > max_bytes
        too_large = BodyTooLargeError(f"the request's body may have {max_bytes} bytes, this one has more")
        deadline = asyncio.get_running_loop().time() + self._max_s
        received, ended = 0, False

        async def limited_receive() -> Message:
            nonlocal received, ended
            if declared_too_large:
                raise too_large
            if ended:
                return await receive()  # the disconnect of the client
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlowError(f"the request's body may take {self._max_s:g} s, this one took longer") from None
            ended = not message.get("more_body", False)
            count = len(message.get("body", b""))
            if received + count > max_bytes:
                raise too_large
            self._all_bodies.take(count)
            received += count
            return message

        try:
            await self.app(scope, limited_receive, send)
        finally:
            self._all_bodies.give_back(received)
