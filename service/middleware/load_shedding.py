"""The door: what could not be worked on is turned away before anything is done for it."""

from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from mien.service.errors import QueueFullError
from mien.service.inference.admission import Admission
from mien.service.middleware.auth import QUESTIONS
from mien.service.middleware.request_log import ROUTE_KEY
from mien.service.routes import problems

_KIND: Final = problems.ANSWERS[QueueFullError][1]


class Door:
    """ASGI middleware: while the queue is full, questions about images are answered with 503 at once.

    Under twice the load that the cores can bear, every other request is turned away: what this costs is taken from
    the others. Here it costs neither routing nor reading of a body.
    """

    def __init__(self, app: ASGIApp, images: Admission) -> None:
        self.app = app
        self.images = images
        self._refusal = problems.answer(
            HTTPStatus.SERVICE_UNAVAILABLE, _KIND, str(images.refusal()), {"Retry-After": "1"}
        )  # made once: all are the same

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "http" and scope["path"] in QUESTIONS and self.images.is_full:
            scope[ROUTE_KEY] = scope["path"]
            scope[problems.SCOPE_KEY] = _KIND
            await self._refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)
