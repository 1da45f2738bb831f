"""Limits of request bodies: the size, the time and the pace of each, and the bytes of all together."""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.index.deadline import DEADLINE_S
from mien.service.errors import BodyTooLargeError, BodyTooSlowError, QueueFullError
from mien.service.inference.admission import LARGE_BODY_BYTES, Limit

WINDOW_S: Final = 5.0
"""The pace of an upload is measured over so many seconds."""


class UploadPace:
    """Whether a body arrives as fast as it must: at the lowest rate, and not at less than half of the pace so far.

    The second is about uploads that hold megabytes of memory and then stall: one at a constant pace, however slow, that
    is whole in time passes it.
    """

    def __init__(self, min_bytes_per_s: int, max_s: float, now_s: float) -> None:
        """Start at ``now_s``, for a body that must be whole after ``max_s``."""
        self._min_bytes_per_s = min_bytes_per_s
        self._max_s = max_s
        self._window_s = min(WINDOW_S, max_s)
        self._received = 0
        self.next_check_s = now_s + self._window_s

    def check(self, received: int, now_s: float) -> None:
        """Check the bytes that have been received, at the end of a window.

        Raises:
            BodyTooSlowError: they are too few.
        """
        if now_s < self.next_check_s:
            return
        needed = self._window_s * max(self._min_bytes_per_s, self._received / (2 * self._max_s))
        if received - self._received < needed:
            raise BodyTooSlowError(
                f"the request's body must arrive at {self._min_bytes_per_s} bytes a second or more, and not stall: in "
                f"{self._window_s:g} s it had {needed:.0f} bytes to bring, got {received - self._received}"
            )
        self._received, self.next_check_s = received, now_s + self._window_s


class BodyLimit:
    """ASGI middleware: raises an error where the body is read, if it is too large or too slow.

    A body over the limit is refused by its declared length, or as soon as more bytes have arrived.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        all_bodies: Limit,
        large_bodies: Limit,
        min_bytes_per_s: int,
        max_s: float,
        max_bytes_by_path: Mapping[str, int],
    ) -> None:
        """Guard ``app``.

        Args:
            app: reads the bodies.
            max_bytes: of one body.
            all_bodies: bytes of the bodies of all requests together.
            large_bodies: those of them that are beyond ``LARGE_BODY_BYTES`` of a body.
            min_bytes_per_s: slowest upload; see ``UploadPace``.
            max_s: how long a body may take to arrive, and the answer after it, seconds.
            max_bytes_by_path: of one body that is sent to one of these paths, in place of ``max_bytes``.
        """
        self.app = app
        self.max_s = max_s
        self.min_bytes_per_s = min_bytes_per_s
        self._max_bytes = max_bytes
        self._max_bytes_by_path = max_bytes_by_path
        self._all_bodies = all_bodies
        self._large_bodies = large_bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting the bytes of its body."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        max_bytes = self._max_bytes_by_path.get(scope["path"], self._max_bytes)
        upload = _Upload(self, receive, max_bytes, int(declared) if declared.isdigit() else 0)
        try:
            await self.app(scope, upload.receive, send)
        finally:
            self._all_bodies.give_back(upload.received)
            self._large_bodies.give_back(_large_part(upload.received))

    def take(self, received: int, count: int) -> None:
        """Hold ``count`` more bytes of a body of which ``received`` are held.

        Raises:
            QueueFullError: there are too many.
        """
        large = _large_part(received + count) - _large_part(received)
        self._large_bodies.take(large)
        try:
            self._all_bodies.take(count)
        except QueueFullError:
            self._large_bodies.give_back(large)
            raise


class _Upload:
    """The body of one request while it arrives."""

    def __init__(self, limits: BodyLimit, receive: Receive, max_bytes: int, declared: int) -> None:
        self.received = 0
        self._limits = limits
        self._receive = receive
        self._max_bytes = max_bytes
        self._declared = declared
        self._ended = False
        self._loop = asyncio.get_running_loop()
        began = self._loop.time()
        self._deadline = began + limits.max_s
        self._pace = UploadPace(limits.min_bytes_per_s, limits.max_s, began)

    async def receive(self) -> Message:
        """The next message of the request.

        Raises:
            RequestError: the body is over a limit.
        """
        if self._ended:
            return await self._receive()  # the disconnect of the client
        self._check_size(self._declared)
        message = await self._receive_in_time()
        count = len(message.get("body", b""))
        self._check_size(self.received + count)
        self._limits.take(self.received, count)
        self.received += count
        self._ended = not message.get("more_body", False)
        if self._ended:
            DEADLINE_S.set(time.monotonic() + self._limits.max_s)
        else:
            self._pace.check(self.received, self._loop.time())
        return message

    async def _receive_in_time(self) -> Message:
        while self._loop.time() < self._deadline:
            try:
                async with asyncio.timeout_at(min(self._deadline, self._pace.next_check_s)):
                    return await self._receive()
            except TimeoutError:
                self._pace.check(self.received, self._loop.time())
        raise BodyTooSlowError(f"the request's body may take {self._limits.max_s:g} s, this one took longer")

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLargeError(f"the request's body may have {self._max_bytes} bytes, this one has more")


def _large_part(size: int) -> int:
    return max(0, size - LARGE_BODY_BYTES)
