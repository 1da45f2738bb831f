"""What the client answers, and how it fails."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mien.model.errors import MienError


class ClientError(MienError):
    """The service cannot be reached, or its answer is no answer of this service."""


class ServiceError(ClientError):
    """The service refused a request.

    Attributes:
        status: of HTTP.
        kind: names the problem; stable, such as ``no-face``.
        detail: one sentence: what was wanted and what came.
    """

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


class Answer(BaseModel):
    """An answer of the service."""

    # A newer service may say more than this client knows of.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Face(Answer):
    box: tuple[float, float, float, float]
    detection: float | None
    emotion: str


class Face(_Face):
    """A face and its emotion: docs/answers.md explains the fields."""

    posterior: dict[str, float]
    sub_class: str | None = None
    distance: float
    typicality: float
    known: bool


class TrackedFace(Face):
    """A face of a frame; one that goes on from frame to frame keeps its number."""

    track: int


class VideoFrame(Answer):
    """A frame of a video that was looked at."""

    kind: Literal["frame"]
    time_s: float
    frame: int
    faces: list[TrackedFace]


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
    """What of a video was not looked at."""

    between: int
    damaged: int


class VideoProblem(Answer):
    """Why a video was not looked at to its end."""

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


class FoundMatch(Answer):
    """A face of the gallery, and how far it lies from what was asked."""

    id: str
    distance: float
    emotion: str
    metadata: dict[str, Any]
    subject: str | None = None
    sub_class: str | None = None


class MatchedFace(_Face):
    """A face and the gallery's nearest expressions."""

    matches: list[FoundMatch]


class EmbeddedFace(_Face):
    """A face and its point in the space."""

    posterior: dict[str, float]
    embedding: list[float]


class Classification(Answer):
    """The faces of an image, largest first."""

    faces: list[Face]


class Retrieval(Answer):
    """The faces of an image, largest first."""

    faces: list[MatchedFace]


class Embedding(Answer):
    """The faces of an image, largest first."""

    faces: list[EmbeddedFace]


class PointRetrieval(Answer):
    """What lies nearest to a point of the space."""

    emotion: str
    posterior: dict[str, float]
    embedding: list[float]
    matches: list[FoundMatch]
    next: str | None = None


class GalleryFace(Answer):
    """A face of the gallery."""

    id: str
    label: str | None = None
    emotion: str | None = None
    sub_class: str | None = None
    subject: str | None = None
    metadata: dict[str, Any] = {}
    time: str | None = None
    content_sha256: str | None = None


class GalleryPage(Answer):
    """A page of the gallery."""

    count: int
    faces: list[GalleryFace]
    next: str | None = None


class Added(Answer):
    """What became of the faces of an addition: their ids, and how many are new, took another's place, or were there."""

    ids: list[str]
    added: int
    replaced: int
    unchanged: int
