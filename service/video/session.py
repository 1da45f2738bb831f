"""A stream session: frames come in over a WebSocket, faces go out, and only the newest frame waits."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.model.video.tracker import Tracker
from mien.service.answers.problem import Problem
from mien.service.answers.video import StreamAnswer, StreamedFace
from mien.service.errors import MalformedImageError
from mien.service.inference.queue import LoadedEngine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.rate_limit import RateLimiter
from mien.service.operation.logs import FIELDS
from mien.service.routes import problems
from mien.service.schemas.video import StreamQuery, streamed_faces
from mien.service.video.frame_reader import FrameReader

FLOOD: Final = 10
"""A stream that sends this many times as many frames as are answered is closed: it is no camera."""

_log = logging.getLogger("mien.streams")


class Close(IntEnum):
    """Codes with which a stream is closed (RFC 6455, section 7.4, and its registry)."""

    POLICY = 1008  # idle, too fast, or the key was revoked
    RESTART = 1012


@dataclass(frozen=True)
class _Frame:
    number: int
    data: bytes | None  # None for a text message


class StreamSession:
    """Reads frames as fast as they come, keeps the newest one, and answers as fast as the settings allow.

    Attributes:
        answered: frames that were answered.
        dropped: frames that were dropped for a newer one.
    """

    def __init__(
        self,
        runtime: Runtime,
        loaded: LoadedEngine,
        websocket: WebSocket,
        query: StreamQuery,
        is_key_valid: Callable[[], bool],
    ) -> None:
        """Serve an open WebSocket.

        Args:
            runtime: of the service.
            loaded: the engine that answers, to the end of the stream.
            websocket: accepted.
            query: which faces of each frame.
            is_key_valid: whether the client's API key is still valid.
        """
        self._runtime, self._loaded, self._websocket, self._query = runtime, loaded, websocket, query
        self._is_key_valid = is_key_valid
        self._reader = FrameReader(
            loaded.engine,
            already_cropped=query.already_cropped,
            max_faces=query.max_faces,
            detect_every=runtime.settings.detect_every,
        )
        self._tracker = Tracker()
        self._waiting: _Frame | None = None
        self._has_frame = asyncio.Event()
        self._count = self._dropped_since = 0
        self.answered = self.dropped = 0

    async def run(self) -> None:
        """Answer until the client disconnects, or the stream is closed."""
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
        """Keep the newest frame; ends when none comes any more, or too many."""
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
                self._dropped_since += 1
                self._runtime.metrics.frames.labels("stream", "dropped").inc()
            self._waiting = _Frame(self._count, message.get("bytes"))
            self._has_frame.set()

    async def _answer(self) -> tuple[Close, str]:
        """Answer the newest frame, over and over."""
        settings, loop = self._runtime.settings, asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            await self._has_frame.wait()
            await asyncio.sleep(next_s - loop.time())
            next_s = max(next_s, loop.time()) + 1 / settings.stream_fps
            frame, dropped = self._waiting, self._dropped_since
            assert frame is not None  # noqa: S101
            self._waiting, self._dropped_since = None, 0
            self._has_frame.clear()
            if not self._is_key_valid():
                return Close.POLICY, "the key was revoked"
            answer = await self._answer_frame(frame, dropped)
            self.answered += 1
            async with asyncio.timeout(settings.timeout_s):  # the client may not read
                await self._websocket.send_text(answer.model_dump_json(exclude_unset=True))

    async def _answer_frame(self, frame: _Frame, dropped: int) -> StreamAnswer:
        """The faces of a frame, or its problem; the stream goes on either way."""
        faces: list[StreamedFace] = []
        problem: Problem | None = None
        try:
            faces = await self._faces(frame)
        except Exception as error:  # noqa: BLE001  a request would be answered with 500
            problem = problems.problem_of_any(error)
        if problem is not None:
            self._runtime.metrics.rejections.labels(problems.kind_of(problem)).inc()
        self._runtime.metrics.frames.labels("stream", "refused" if problem else "answered").inc()
        return StreamAnswer(frame=frame.number, dropped=dropped, faces=faces, problem=problem)

    async def _faces(self, frame: _Frame) -> list[StreamedFace]:
        data, now_s = frame.data, asyncio.get_running_loop().time()
        if data is None:
            raise MalformedImageError("expected an image as a binary message, got text")
        async with self._runtime.admit(1):
            read = await self._reader.prepare(data, now_s, self._loaded.readers)
            prediction = await self._loaded.predict_frame(read, self._reader.predictions)
        if prediction is None:
            return []
        boxes = np.array([face.box for face in prediction.faces])
        tracks = self._tracker.follow(now_s, boxes, prediction.embeddings)
        return streamed_faces(prediction, tracks, embeddings=self._query.embeddings)
