"""One WebSocket of moving pictures: frames in, faces out, and nothing piles up in between."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import Final

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.model.errors import ImageError
from mien.model.video.tracker import Tracker
from mien.service.errors import MalformedImageError, RequestError
from mien.service.inference.runtime import Runtime, Serving
from mien.service.middleware.rate_limit import Rates
from mien.service.operation.logs import FIELDS
from mien.service.routes import problems
from mien.service.schemas.faces import FaceQuery
from mien.service.schemas.problem import Problem
from mien.service.schemas.video import StreamAnswer, TrackedFace

FLOOD: Final = 10
"""Who sends so many times as many frames as are answered is no webcam: the stream is closed."""

_log = logging.getLogger("mien.streams")


class Close(IntEnum):
    """Codes with which a stream is closed (RFC 6455, section 7.4, and its registry)."""

    POLICY = 1008  # idle, too fast, or the key was revoked
    RESTART = 1012


@dataclass(frozen=True)
class _Frame:
    number: int
    data: bytes | None  # None was a text


class StreamSession:
    """Reads as fast as frames come, keeps the newest that waits, and answers as fast as it is allowed to.

    Attributes:
        answered: frames that were.
        dropped: frames that were not, for a newer one.
    """

    def __init__(
        self,
        runtime: Runtime,
        serving: Serving,
        websocket: WebSocket,
        query: FaceQuery,
        still_allowed: Callable[[], bool],
    ) -> None:
        """Serve a WebSocket that is open.

        Args:
            runtime: what runs.
            serving: what is answered from, to the end of the stream.
            websocket: that was accepted.
            query: which faces of each frame.
            still_allowed: whether the caller's key still opens anything.
        """
        self._runtime, self._serving, self._websocket, self._query = runtime, serving, websocket, query
        self._still_allowed = still_allowed
        self._tracker = Tracker()
        self._waiting: _Frame | None = None
        self._came = asyncio.Event()
        self._count = self._dropped_now = 0
        self.answered = self.dropped = 0

    async def run(self) -> None:
        """Until the caller goes, or is sent away."""
        tasks = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._answer()),
            asyncio.create_task(self._end_of_service()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            closing = next(iter(done)).result()
        except (WebSocketDisconnect, OSError):
            closing = None
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait(tasks)
            _log.info("stream ended", extra={FIELDS: {"frames": self.answered, "dropped": self.dropped}})
        if closing is not None:
            code, reason = closing
            await self._websocket.close(code, reason)

    async def _end_of_service(self) -> tuple[Close, str]:
        await self._runtime.stopping.wait()
        return Close.RESTART, "mien is stopping"

    async def _read(self) -> tuple[Close, str] | None:
        """Keep the newest frame; ends when nobody sends any more, or somebody too much."""
        settings = self._runtime.settings
        flood = Rates(FLOOD * settings.stream_fps)
        while True:
            try:
                async with asyncio.timeout(settings.stream_idle_s):
                    message = await self._websocket.receive()
            except TimeoutError:
                return Close.POLICY, f"no frame for {settings.stream_idle_s:g} s"
            if message["type"] == "websocket.disconnect":
                return None
            if flood.wait_s(""):
                return Close.POLICY, f"more than {FLOOD * settings.stream_fps:g} frames a second"
            self._count += 1
            if self._waiting is not None:
                self.dropped += 1
                self._dropped_now += 1
                self._runtime.metrics.frames.labels("stream", "dropped").inc()
            self._waiting = _Frame(self._count, message.get("bytes"))
            self._came.set()

    async def _answer(self) -> tuple[Close, str]:
        """Answer the newest frame, again and again."""
        settings, loop = self._runtime.settings, asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            await self._came.wait()
            await asyncio.sleep(next_s - loop.time())
            next_s = max(next_s, loop.time()) + 1 / settings.stream_fps
            frame, dropped = self._waiting, self._dropped_now
            assert frame is not None  # noqa: S101
            self._waiting, self._dropped_now = None, 0
            self._came.clear()
            if not self._still_allowed():
                return Close.POLICY, "the key was revoked"
            answer = await self._looked_at(frame, dropped)
            self.answered += 1
            async with asyncio.timeout(settings.timeout_s):  # a caller that does not read
                await self._websocket.send_text(answer.model_dump_json())

    async def _looked_at(self, frame: _Frame, dropped: int) -> StreamAnswer:
        """The faces of a frame; what is wrong with it is said, and the stream goes on."""
        faces: list[TrackedFace] = []
        problem: Problem | None = None
        try:
            faces = await self._faces(frame)
        except (ImageError, RequestError) as error:
            problem = problems.problem_of(error)
        except Exception:  # noqa: BLE001  as a request would be answered with 500
            _log.exception("failed")
            problem = problems.problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", problems.FAILED)
        if problem is not None:
            self._runtime.metrics.rejections.labels(problems.kind_of(problem)).inc()
        self._runtime.metrics.frames.labels("stream", "refused" if problem else "answered").inc()
        return StreamAnswer(frame=frame.number, dropped=dropped, faces=faces, problem=problem)

    async def _faces(self, frame: _Frame) -> list[TrackedFace]:
        data, query, engine = frame.data, self._query, self._serving.engine
        if data is None:
            raise MalformedImageError("expected a picture as a binary message, got text")
        with self._runtime.images.holding(1):
            async with self._runtime.deadline():
                faces, placed = await self._runtime.faces_and_places(
                    self._serving,
                    lambda: engine.find(data, already_cropped=query.already_cropped, most_faces=query.most_faces),
                )
        if placed is None:
            return []
        now_s = asyncio.get_running_loop().time()
        numbers = self._tracker.follow(now_s, np.array([face.box for face in faces]), placed.embeddings)
        return [
            TrackedFace(**dict(face), track=number)
            for face, number in zip(engine.classified(faces, placed).faces, numbers, strict=True)
        ]
