"""One WebSocket of moving pictures: frames in, faces out, and nothing piles up in between."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.model.errors import ImageError
from mien.model.video.tracker import Tracker
from mien.service.errors import MalformedImageError, RequestError
from mien.service.inference.queue import LoadedEngine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.rate_limit import RateLimiter
from mien.service.operation.logs import FIELDS
from mien.service.routes import problems
from mien.service.schemas.faces import FaceQuery
from mien.service.schemas.problem import Problem
from mien.service.schemas.video import StreamAnswer, TrackedFace, tracked_faces

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
        loaded: LoadedEngine,
        websocket: WebSocket,
        query: FaceQuery,
        is_key_valid: Callable[[], bool],
    ) -> None:
        """Serve a WebSocket that is open.

        Args:
            runtime: what runs.
            loaded: the engine that answers, to the end of the stream.
            websocket: that was accepted.
            query: which faces of each frame.
            is_key_valid: whether the caller's key still opens anything.
        """
        self._runtime, self._loaded, self._websocket, self._query = runtime, loaded, websocket, query
        self._is_key_valid = is_key_valid
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
        flood = RateLimiter(FLOOD * settings.stream_fps)
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
            if not self._is_key_valid():
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
            problem = problems.INTERNAL
        if problem is not None:
            self._runtime.metrics.rejections.labels(problems.kind_of(problem)).inc()
        self._runtime.metrics.frames.labels("stream", "refused" if problem else "answered").inc()
        return StreamAnswer(frame=frame.number, dropped=dropped, faces=faces, problem=problem)

    async def _faces(self, frame: _Frame) -> list[TrackedFace]:
        data, query, engine = frame.data, self._query, self._loaded.engine
        if data is None:
            raise MalformedImageError("expected a picture as a binary message, got text")
        async with self._runtime.admit(1):
            prediction = await self._loaded.predict_frame(
                lambda: engine.read_faces(data, already_cropped=query.already_cropped, max_faces=query.max_faces)
            )
        if prediction is None:
            return []
        boxes = np.array([face.box for face in prediction.faces])
        now_s = asyncio.get_running_loop().time()
        return tracked_faces(prediction, self._tracker.follow(now_s, boxes, prediction.embeddings))
