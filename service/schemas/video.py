"""Answers about videos (lines of NDJSON) and streams (messages), and how a prediction becomes one of them."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

from mien.service.inference.prediction import Prediction
from mien.service.schemas.faces import ClassifiedFace, FaceQuery, classification
from mien.service.schemas.problem import Problem
from mien.service.schemas.rounded import Rounded


class VideoQuery(FaceQuery):
    """Parameters of a request with a video; others are refused."""

    fps: float = Field(
        5.0,
        ge=0.1,
        le=60,
        description="Frames of each second that are answered; of a video with fewer, all are.",
        examples=[5],
    )


class TrackedFace(ClassifiedFace):
    """A face of a frame, with its track."""

    track: int = Field(
        ge=1, description="A face that is followed from frame to frame keeps its number, from 1.", examples=[1]
    )


class StreamQuery(FaceQuery):
    """Parameters of a stream; others are refused."""

    embeddings: bool = Field(default=False, description="Each face also has its point in the embedding space.")


class StreamedFace(TrackedFace):
    """A face of a frame of a stream."""

    embedding: list[float] | None = Field(
        None, description="Its point in the embedding space; left out unless the stream was opened with `embeddings`."
    )


class FrameLine(BaseModel):
    """A sampled frame."""

    kind: Literal["frame"] = "frame"
    time_s: Rounded = Field(description="Since the first frame, seconds.", examples=[0.4])
    frame: int = Field(description="Its number among all frames of the video, from 0.", examples=[10])
    faces: list[TrackedFace] = Field(description="Largest first; empty where no face was found.")


class StreamAnswer(BaseModel):
    """The answer to a frame of a stream."""

    frame: int = Field(description="Which message of the stream this answers, from 1.", examples=[12])
    dropped: int = Field(
        description="Messages since the last answer that were dropped for a newer one.",
        examples=[1],
    )
    faces: list[StreamedFace] = Field(description="Largest first; empty where no face was found.")
    problem: Problem | None = Field(description="Why the frame was not answered; null if it was.")


class TrackLine(BaseModel):
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


class Skipped(BaseModel):
    """The parts of a video that were not answered."""

    between: int = Field(description="Frames between the sampled ones.", examples=[200])
    damaged: int = Field(description="Parts of the file that could not be decoded.", examples=[0])


class EndLine(BaseModel):
    """The last line. An answer without it is incomplete."""

    kind: Literal["end"] = "end"
    frames: int = Field(description="Sampled frames.", examples=[50])
    last_s: Rounded = Field(description="Time of the last frame of the video that was decoded, seconds.")
    tracks: int = Field(examples=[2])
    skipped: Skipped
    complete: bool = Field(description="Whether the video was answered to its end.")
    problem: Problem | None = Field(description="Why not; null if it was.")


def tracked_faces(prediction: Prediction, tracks: Iterable[int]) -> list[TrackedFace]:
    """The faces of a frame, with the number of each one's track."""
    faces = classification(prediction).faces
    return [TrackedFace(**dict(face), track=track) for face, track in zip(faces, tracks, strict=True)]


def streamed_faces(prediction: Prediction, tracks: Iterable[int], *, embeddings: bool) -> list[StreamedFace]:
    """The faces of a frame of a stream, with the number of each one's track and, if wanted, its point."""
    faces = tracked_faces(prediction, tracks)
    if not embeddings:
        return [StreamedFace(**dict(face)) for face in faces]
    points = prediction.embeddings.tolist()
    return [StreamedFace(**dict(face), embedding=point) for face, point in zip(faces, points, strict=True)]
