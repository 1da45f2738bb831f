"""The answer about a video: one line for each frame, while the next frame is being decoded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from typing import Final, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mien.model.errors import VideoTooLargeError
from mien.model.video.decoder import Video, VideoEnd, VideoFrame
from mien.service.answers import video as answers
from mien.service.errors import NotReadyError, TooLateError
from mien.service.inference.queue import LoadedEngine
from mien.service.inference.runtime import Runtime
from mien.service.inference.worker_pool import Priority
from mien.service.routes import problems
from mien.service.schemas.video import VideoQuery
from mien.service.video.frame_reader import FrameReader
from mien.service.video.lines import VideoLines

NDJSON: Final = "application/x-ndjson"

Result = TypeVar("Result")


class VideoAnswer:
    """Predicts one frame after the other; meanwhile the next one is decoded, and no more.

    Belongs to one event loop. ``close`` ends it at any time.
    """

    def __init__(self, runtime: Runtime, loaded: LoadedEngine, file: bytes, query: VideoQuery) -> None:
        """Start decoding.

        Raises:
            VideoError: the file is no video.
            QueueFullError: too many videos or images are worked on.
        """
        self._runtime, self._loaded = runtime, loaded
        self._resources = ExitStack()
        self._resources.enter_context(runtime.admission.videos.hold(1))
        try:
            self._resources.enter_context(runtime.admission.images.hold(1))
            self._video = Video(file, query.fps, runtime.settings.video_limits)
        except BaseException:
            self._resources.close()
            raise
        self._resources.callback(self._end_decoder)
        self._deadline = asyncio.get_running_loop().time() + runtime.settings.video_timeout_s
        self._reader = FrameReader(
            loaded.engine,
            already_cropped=query.already_cropped,
            max_faces=query.max_faces,
            detect_every=runtime.settings.detect_every,
        )
        self._lines = VideoLines(loaded.engine.bundle.mixture.emotions, query.fps)
        self._stopping = False

    def close(self) -> None:
        """Stop, and release everything."""
        self._resources.close()

    def _end_decoder(self) -> None:
        self._video.kill()
        self._runtime.pool.submit(Priority.ANSWER, self._video.close)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines of the answer. Whatever goes wrong after the first line is the problem of the last one.

        Raises:
            VideoError: the video cannot be used; only before the first line.
            TooLateError: it took too long; only before the first line.
        """
        problem: Exception | None = None
        try:
            async with aclosing(self._frame_lines()) as frames:
                async for line in frames:
                    yield _to_json(line)
        except Exception as error:
            if self._lines.frames == 0:
                raise
            problem = error
        for ending in self._end(problem):
            yield _to_json(ending)

    async def _frame_lines(self) -> AsyncGenerator[answers.VideoFrame, None]:
        """The line of each sampled frame.

        Raises:
            VideoError: the video, or the rest of it, cannot be used.
            RequestError: it took too long.
        """
        ahead = asyncio.create_task(self._decode())
        try:
            while True:
                step = await self._in_time(ahead)
                if isinstance(step, VideoEnd):
                    self._lines.last = step
                    break
                if self._lines.frames == self._runtime.settings.max_video_frames:
                    raise VideoTooLargeError(
                        f"of a video {self._lines.frames} frames are answered, this one has more: ask for a lower fps"
                    )
                ahead = asyncio.create_task(self._decode())
                yield await self._in_time(asyncio.create_task(self._frame_line(step)))
        finally:
            ahead.cancel()
            ahead.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self._lines.last.cut:
            limit_s = self._runtime.settings.max_video_s
            raise VideoTooLargeError(f"a video may have {limit_s:g} s, this one has more")

    async def _decode(self) -> VideoFrame | VideoEnd:
        """The next frame. Another process decodes it; a thread of the pool would only wait, however long that takes."""
        while True:
            step = await asyncio.to_thread(self._step)
            if step is not None:
                return step

    def _step(self) -> VideoFrame | VideoEnd | None:
        with self._runtime.metrics.timed("decode"):
            return self._video.step()

    async def _frame_line(self, frame: VideoFrame) -> answers.VideoFrame:
        """Predict a frame, and follow its faces."""
        prediction = await self._loaded.predict_frame(
            lambda: self._reader.read(frame.image, frame.time_s), self._reader.predictions
        )
        self._runtime.metrics.frames.labels("video", "answered").inc()
        return self._lines.frame(frame, prediction)

    async def _in_time(self, task: "asyncio.Task[Result]") -> Result:
        """The result of a task, within the deadline.

        Raises:
            TooLateError: the video took too long.
            NotReadyError: the service is stopping, and the video took too long.
        """
        settings, now = self._runtime.settings, asyncio.get_running_loop().time()
        if self._runtime.stopping.is_set() and not self._stopping:
            self._stopping = True
            self._deadline = min(self._deadline, now + settings.timeout_s)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await task
        except TimeoutError:
            if self._stopping:
                raise NotReadyError("mien is stopping, and the rest of the video would have taken too long") from None
            raise TooLateError(
                f"an answer about a video may take {settings.video_timeout_s:g} s, this one would have taken longer"
            ) from None

    def _end(self, error: Exception | None) -> Iterator[answers.VideoTrack | answers.VideoEnd]:
        self._runtime.metrics.frames.labels("video", "damaged").inc(self._lines.last.damaged)
        problem = None if error is None else problems.problem_of_any(error)
        if problem is not None:
            self._runtime.metrics.rejections.labels(problems.kind_of(problem)).inc()
        return self._lines.end(problem)


class VideoResponse(StreamingResponse):
    """The lines of an answer, as they are ready. A client that disconnects, or does not read, ends the work."""

    def __init__(self, answer: VideoAnswer, first: bytes, rest: AsyncGenerator[bytes, None], max_s: float) -> None:
        """Answer with ``first`` and ``rest``, within ``max_s`` seconds."""
        self._answer, self._rest, self._max_s = answer, rest, max_s

        async def lines() -> AsyncIterator[bytes]:
            yield first
            async for line in rest:
                yield line

        super().__init__(lines(), media_type=NDJSON)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines."""
        try:
            async with asyncio.timeout(self._max_s):
                await super().__call__(scope, receive, send)
        finally:
            self._answer.close()
            await self._rest.aclose()


async def answer_video(runtime: Runtime, loaded: LoadedEngine, file: bytes, query: VideoQuery) -> VideoResponse:
    """Begin an answer; problems before its first line are raised here.

    Raises:
        VideoError: the video cannot be used.
        RequestError: there are too many videos, or it took too long.
    """
    answer = VideoAnswer(runtime, loaded, file, query)
    lines = answer.lines()
    try:
        first = await anext(lines)
    except BaseException:
        answer.close()
        await lines.aclose()
        raise
    settings = runtime.settings
    return VideoResponse(answer, first, lines, settings.video_timeout_s + settings.timeout_s)


def _to_json(line: answers.VideoLine) -> bytes:
    return line.model_dump_json().encode() + b"\n"
