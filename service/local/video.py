"""The lines of an answer about a video, in this process."""

from collections.abc import Iterable, Iterator
from typing import Final

from mien.model.errors import VideoError, VideoTooLargeError
from mien.model.faces.decoding import DecodingLimits, decode
from mien.model.faces.pictures import Colour, Image, Video, read_file_of, read_image
from mien.model.video.decoder import Video as DecodedVideo
from mien.model.video.decoder import VideoEnd, VideoFrame, VideoLimits
from mien.service.answers.problem import Problem
from mien.service.answers.video import VideoLine
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest
from mien.service.video.frame_reader import FrameReader
from mien.service.video.lines import VideoLines

DAY_S: Final = 86_400.0

LIMITS: Final = VideoLimits(max_s=DAY_S, max_frames=10_000_000, max_cpu_s=DAY_S)
"""A video of one's own may be long; the frames are limited as in a service."""


def frames_of(
    video: Video | Iterable[Image], fps: float, limits: DecodingLimits, *, colour: Colour
) -> Iterator[VideoFrame | VideoEnd]:
    """The frames of a video, and its end; a file is read at once, and decoded as frames are taken.

    Args:
        video: its file; or its frames, as images.
        fps: frames to take of each second of a file; or how many images follow each other in a second.
        limits: of an image.
        colour: order of the channels of frames that are arrays.

    Raises:
        VideoError: the file is no video, or cannot be decoded.
        ImageError: a frame cannot be used.
        TypeError: it is neither a file nor a sequence of images.
        OSError: the file cannot be read.
    """
    file = read_file_of(video, kind="video")  # type: ignore[arg-type]
    if file is not None:
        return _decode(file, fps)
    if not isinstance(video, Iterable):
        raise TypeError(
            f"a video must be a path, bytes, a file opened in binary mode, or its frames, got {type(video).__name__}"
        )
    return _number(video, fps, limits, colour)  # type: ignore[arg-type]


def _decode(file: bytes, fps: float) -> Iterator[VideoFrame | VideoEnd]:
    with DecodedVideo(file, fps, LIMITS) as decoded:
        while True:
            step = decoded.step()
            if step is not None:
                yield step
            if isinstance(step, VideoEnd):
                return


def _number(
    images: Iterable[Image], fps: float, limits: DecodingLimits, colour: Colour
) -> Iterator[VideoFrame | VideoEnd]:
    count = 0
    for image in images:
        read = read_image(image, colour, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
        yield VideoFrame(count, count / fps, decode(read, limits) if isinstance(read, bytes) else read)
        count += 1
    yield VideoEnd(frames=count, damaged=0, last_s=max(0, count - 1) / fps, cut=False)


def predict_frames(
    engine: Engine,
    frames: Iterator[VideoFrame | VideoEnd],
    fps: float,
    reader: FrameReader,
) -> Iterator[VideoLine]:
    """The lines of a video; what goes wrong after the first frame is the problem of the last line.

    Raises:
        VideoError: the video cannot be used.
    """
    lines = VideoLines(engine.bundle.mixture.emotions, fps)
    problem: Problem | None = None
    try:
        for step in frames:
            if isinstance(step, VideoEnd):
                lines.last = step
                break
            faces = reader.read(step.image, step.time_s)
            unknown = reader.predictions.unknown(faces)
            predicted = engine.predict_one(InferenceRequest(faces=unknown)) if unknown else None
            yield lines.frame(step, reader.predictions.complete(faces, predicted))
        if lines.last.cut:
            raise VideoTooLargeError(f"a video may have {LIMITS.max_s:g} s, this one has more")
    except VideoError as error:
        if lines.frames == 0:
            raise
        from mien.service.routes.problems import problem_of  # loads the web framework, for the names of problems

        problem = problem_of(error)
    yield from lines.end(problem)
