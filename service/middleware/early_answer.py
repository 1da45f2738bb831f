"""Answers that come before the body of their request: the connection closes after them."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.service.operation.protocols import IS_BODY_THERE

SMALL_BODY_BYTES: Final = 64 * 1024
"""A body that is declared to be no larger is awaited before such an answer, so that the connection can stay open."""

LINGER_S: Final = 1.0
"""How long the rest of a body is read after the answer, seconds."""

LINGER_BYTES: Final = 8 * 2**20
"""How much of it is read."""


class EarlyAnswer:
    """ASGI middleware: closes a connection after an answer that came before the body's end, such as 401 or 413.

    Otherwise the server would read the rest, of any size. A little of it is read before the connection closes: some
    clients read no answer before they have sent everything, and what arrives at a closed connection ends it.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Guard ``app``."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; most have arrived as a whole, and need nothing."""
        if scope.get(IS_BODY_THERE, True):
            await self.app(scope, receive, send)
            return
        is_early, has_length = False, False

        async def send_and_close(message: Message) -> None:
            nonlocal is_early, has_length
            if message["type"] == "http.response.start" and not scope[IS_BODY_THERE]:
                if _is_small(scope):
                    await _read_rest(receive)
                if not scope[IS_BODY_THERE]:
                    is_early = True
                    has_length = any(name == b"content-length" for name, _ in message["headers"])
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            elif is_early and has_length and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _read_rest(receive)
                message = {"type": "http.response.body"}
            await send(message)

        await self.app(scope, receive, send_and_close)


def _is_small(scope: Scope) -> bool:
    declared = dict(scope["headers"]).get(b"content-length", b"")
    return declared.isdigit() and len(declared) < 9 and int(declared) <= SMALL_BODY_BYTES


async def _read_rest(receive: Receive) -> None:
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message["body"])
