"""Parameters of videos and streams, and how a prediction becomes the faces of a frame."""

from collections.abc import Iterable

from pydantic import Field

from mien.service.answers.video import StreamedFace, TrackedFace
from mien.service.inference.prediction import Prediction
from mien.service.schemas.faces import FaceQuery, classification


class VideoQuery(FaceQuery):
    """Parameters of a request with a video; others are refused."""

    fps: float = Field(
        5.0,
        ge=0.1,
        le=60,
        description="Frames of each second that are answered; of a video with fewer, all are.",
        examples=[5],
    )


class StreamQuery(FaceQuery):
    """Parameters of a stream; others are refused."""

    embeddings: bool = Field(default=False, description="Each face also has its point in the embedding space.")


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
