"""Answers about videos (lines: frames, then tracks, then the end) and streams (a message for each frame)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mien.service.answers.base import Answer, flatten
from mien.service.answers.faces import Face
from mien.service.answers.problem import Problem
from mien.service.answers.rounded import Rounded


class TrackedFace(Face):
    """A face of a frame, with its track."""

    track: int = Field(
        ge=1, description="A face that is followed from frame to frame keeps its number, from 1.", examples=[1]
    )


class VideoFrame(Answer):
    """A sampled frame of a video."""

    kind: Literal["frame"] = "frame"
    time_s: Rounded = Field(description="Since the first frame, seconds.", examples=[0.4])
    frame: int = Field(description="Its number among all frames of the video, from 0.", examples=[10])
    faces: list[TrackedFace] = Field(description="Largest first; empty where no face was found.")

    def rows(self) -> list[dict[str, Any]]:
        """A row for each face."""
        return [{"time_s": self.time_s, "frame": self.frame, **flatten(face.model_dump())} for face in self.faces]


class VideoTrack(Answer):
    """A face over the whole video."""

    kind: Literal["track"] = "track"
    track: int = Field(examples=[1])
    first_s: Rounded = Field(description="When it was first found, seconds.", examples=[0.0])
    last_s: Rounded = Field(description="When it was last found, seconds.", examples=[7.8])
    frames: int = Field(description="In how many frames it was found.", examples=[40])
    posterior: dict[str, Rounded] = Field(description="Mean of its posteriors.")
    shares: dict[str, Rounded] = Field(
        description="Share of its frames with each emotion; emotions of no frame are left out.",
        examples=[{"neutral": 0.7, "happiness": 0.3}],
    )
    typicality: Rounded = Field(description="Mean of its typicalities.", examples=[0.55])
    known: Rounded = Field(description="Share of its frames in which it showed a known expression.", examples=[0.95])


class VideoSkipped(Answer):
    """The parts of a video that were not answered."""

    between: int = Field(description="Frames between the sampled ones.", examples=[200])
    damaged: int = Field(description="Parts of the file that could not be decoded.", examples=[0])


class VideoEnd(Answer):
    """The last line. An answer without it is incomplete."""

    kind: Literal["end"] = "end"
    frames: int = Field(description="Sampled frames.", examples=[50])
    last_s: Rounded = Field(description="Time of the last frame of the video that was decoded, seconds.")
    tracks: int = Field(examples=[2])
    skipped: VideoSkipped
    complete: bool = Field(description="Whether the video was answered to its end.")
    problem: Problem | None = Field(description="Why not; null if it was.")


VideoLine = VideoFrame | VideoTrack | VideoEnd
"""A line of the answer about a video."""


class StreamedFace(TrackedFace):
    """A face of a frame of a stream."""

    embedding: list[float] | None = Field(
        None, description="Its point in the embedding space; left out unless the stream was opened with `embeddings`."
    )


class StreamAnswer(Answer):
    """The answer to a frame of a stream."""

    frame: int = Field(description="Which message of the stream this answers, from 1.", examples=[12])
    dropped: int = Field(
        description="Messages since the last answer that were dropped for a newer one.",
        examples=[1],
    )
    faces: list[StreamedFace] = Field(description="Largest first; empty where no face was found.")
    problem: Problem | None = Field(description="Why the frame was not answered; null if it was.")
