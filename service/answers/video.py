"""Answers about videos: a line for each frame, then one for each track, then the end."""

from __future__ import annotations

from typing import Any, Literal

from mien.service.answers.base import Answer, flatten
from mien.service.answers.faces import Face


class TrackedFace(Face):
    """A face of a frame; its track has the same number in each frame."""

    track: int


class VideoFrame(Answer):
    """The faces of one frame of a video."""

    kind: Literal["frame"]
    time_s: float
    frame: int
    faces: list[TrackedFace]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face."""
        return [{"time_s": self.time_s, "frame": self.frame, **flatten(face.model_dump())} for face in self.faces]


class VideoTrack(Answer):
    """A face over the whole video: means, and shares of its frames."""

    kind: Literal["track"]
    track: int
    first_s: float
    last_s: float
    frames: int
    posterior: dict[str, float]
    shares: dict[str, float]
    typicality: float
    known: float


class VideoSkipped(Answer):
    """Numbers of frames that were skipped: between those answered, and damaged ones."""

    between: int
    damaged: int


class VideoProblem(Answer):
    """Why the answer about a video ends before the video does."""

    type: str
    status: int
    detail: str


class VideoEnd(Answer):
    """The last line of an answer about a video."""

    kind: Literal["end"]
    frames: int
    last_s: float
    tracks: int
    skipped: VideoSkipped
    complete: bool
    problem: VideoProblem | None


VideoLine = VideoFrame | VideoTrack | VideoEnd
"""A line of the answer about a video."""
