"""The client's answers and errors, and how they are read from the service's responses."""

import json
from typing import Annotated, Any, Final, Literal, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from mien.model.errors import MienError


class ClientError(MienError):
    """The service cannot be reached, or what answers is not this service."""


class ServiceError(ClientError):
    """The service refused a request.

    Attributes:
        status: of HTTP.
        kind: stable name of the problem, such as ``no-face``.
        detail: one sentence: what was expected, and what the request had.
    """

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


class Answer(BaseModel):
    """An answer of the service."""

    # A newer service may have fields that this client does not know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Face(Answer):
    box: tuple[float, float, float, float]
    detection: float | None
    emotion: str


class Face(_Face):
    """A face and its emotion: docs/answers.md explains the fields."""

    posterior: dict[str, float]
    sub_class: str | None = None
    sub_class_name: str | None = None
    distance: float
    typicality: float
    known: bool


class TrackedFace(Face):
    """A face of a frame; its track has the same number in each frame."""

    track: int


class VideoFrame(Answer):
    """The faces of one frame of a video."""

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


class FoundMatch(Answer):
    """A face of the gallery, and its distance to the query."""

    id: str
    distance: float
    emotion: str
    metadata: dict[str, Any]
    subject: str | None = None
    sub_class: str | None = None
    sub_class_name: str | None = None


class MatchedFace(_Face):
    """A face and the gallery's nearest expressions."""

    matches: list[FoundMatch]


class EmbeddedFace(Face):
    """A face, its emotion, and its point in the space."""

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
    """The faces of the gallery nearest to a point of the space."""

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
    sub_class_name: str | None = None
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
    """The ids of added faces, and how many are new, replaced another or were in the gallery already."""

    ids: list[str]
    added: int
    replaced: int
    unchanged: int


VideoLine = VideoFrame | VideoTrack | VideoEnd
"""A line of the answer about a video."""

_VIDEO_LINE: Final[TypeAdapter[VideoLine]] = TypeAdapter(Annotated[VideoLine, Field(discriminator="kind")])

AnswerKind = TypeVar("AnswerKind", bound=Answer)


def read_answer(kind: type[AnswerKind], response: httpx.Response) -> AnswerKind:
    """An answer out of a response.

    Raises:
        ClientError: it is not an answer of this service.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValueError as error:
        raise ClientError(f"expected a {kind.__name__} from {response.url}, got something else: {error}") from None


def read_images(kind: type[AnswerKind], response: httpx.Response) -> list[AnswerKind | ServiceError]:
    """The answer or the problem of each of several pictures.

    Raises:
        ClientError: they are not answers of this service.
    """
    try:
        return [
            service_error(int(answer["problem"]["status"]), answer["problem"])
            if "problem" in answer
            else kind.model_validate(answer)
            for answer in json.loads(response.content)["images"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(f"expected images from {response.url}, got something else: {error}") from None


def read_video_line(text: str) -> VideoLine:
    """A line of the answer about a video.

    Raises:
        ClientError: it is not a line of this service.
    """
    try:
        return _VIDEO_LINE.validate_json(text)
    except ValueError as error:
        raise ClientError(f"expected a line about a video, got something else: {error}") from None


def problem_of(response: httpx.Response) -> ClientError:
    """The error of a response that is not successful."""
    try:
        return service_error(response.status_code, response.json())
    except (json.JSONDecodeError, KeyError, TypeError):
        return ClientError(f"{response.url} answered {response.status_code}, but not with a problem of this service")


def service_error(status: int, problem: Any) -> ServiceError:
    """The service's problem as an error.

    Raises:
        KeyError: it is not a problem.
        TypeError: it is not a problem.
    """
    return ServiceError(status, str(problem["type"]).removeprefix("urn:mien:"), str(problem["detail"]))
