"""The client's requests and how their answers are read, whoever sends them."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import httpx
from pydantic import Field, TypeAdapter

from mien.service.client.answers import (
    Answer,
    ClientError,
    FoundMatch,
    GalleryFace,
    GalleryPage,
    PointRetrieval,
    ServiceError,
    VideoEnd,
    VideoFrame,
    VideoTrack,
)

Image = bytes | Path | str
"""A picture: its bytes, or the path of its file."""

Query = dict[str, Any]
"""A point without a picture, such as ``{"emotion": "surprise"}``: see ``POST /retrieve`` in the service's /docs."""

Filter = dict[str, Any]
"""Which faces, such as ``{"emotion": "fear"}``: see the guide to the gallery."""

VideoLine = VideoFrame | VideoTrack | VideoEnd
"""A line of the answer about a video."""

_VIDEO_LINE: Final[TypeAdapter[VideoLine]] = TypeAdapter(Annotated[VideoLine, Field(discriminator="kind")])

CUT_OFF: Final = "the service broke its answer about the video off before its end"

Parameters = dict[str, str]
"""Of a request, as they stand in its address."""

RETRIED: Final = frozenset({429, 503})
"""Statuses after which a request is sent again."""

PAGE: Final = 500
"""Faces of a page of what is streamed."""


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again, and after how long.

    Attributes:
        most: how often.
        first_pause_s: about how long the first pause is; each one after it is twice as long.
        longest_pause_s: no pause is longer, unless the service asks for it.
    """

    most: int = 4
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0

    def pause_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """How long to wait before attempt ``attempt + 1``, from 1; None where there is none."""
        if attempt > self.most or (response is not None and response.status_code not in RETRIED):
            return None
        pause: float = min(self.longest_pause_s, self.first_pause_s * 2 ** (attempt - 1))
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        # Callers that were refused together do not come back together.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311
        return max(pause, float(asked)) if asked.isdigit() else pause


DEFAULT_RETRIES: Final = Retries()


@dataclass(frozen=True)
class Request:
    """A request of the service.

    Attributes:
        path: of the endpoint.
        options: what httpx sends with it.
        method: of HTTP.
    """

    path: str
    options: dict[str, Any]
    method: str = "POST"


Kind = TypeVar("Kind", bound=Answer)


def headers(key: str | None) -> dict[str, str]:
    """The headers of every request."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def bytes_of(image: Image) -> bytes:
    """The bytes of a picture.

    Raises:
        OSError: its file cannot be read.
    """
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def image_parameters(*, already_cropped: bool, **more: int | bool) -> Parameters:
    """The parameters of a question about pictures."""
    given: dict[str, int | bool] = {"already_cropped": already_cropped, **more}
    return {name: str(value).lower() for name, value in given.items()}


def image_request(path: str, image: Image, parameters: Parameters) -> Request:
    """A question about one picture.

    Raises:
        OSError: its file cannot be read.
    """
    return Request(path, {"params": parameters, "files": {"image": bytes_of(image)}})


def query_request(query: Query, k: int, condition: Filter | None = None, after: str | None = None) -> Request:
    """A question about a point."""
    body = {"query": query, "k": k, "filter": condition, "after": after}
    return Request("/retrieve", {"json": {name: value for name, value in body.items() if value is not None}})


def video_request(video: Image, parameters: Parameters, fps: float) -> Request:
    """A question about a video.

    Raises:
        OSError: its file cannot be read.
    """
    return Request("/classify/video", {"params": {**parameters, "fps": str(fps)}, "files": {"video": bytes_of(video)}})


def video_line(text: str) -> VideoLine:
    """A line of the answer to it.

    Raises:
        ClientError: it is none of this service.
    """
    try:
        return _VIDEO_LINE.validate_json(text)
    except ValueError as error:
        raise ClientError(f"the service answered something else than a line about a video: {error}") from None


class MatchPages:
    """The nearest faces to a point, page by page."""

    def __init__(self, query: Query, condition: Filter | None, page: int) -> None:
        """Ask for pages of ``page`` faces."""
        self._query, self._condition, self._page = query, condition, page
        self._after: str | None = None
        self._ended = False

    def request(self) -> Request | None:
        """For the next page; None where there is none."""
        return None if self._ended else query_request(self._query, self._page, self._condition, self._after)

    def read(self, response: httpx.Response) -> list[FoundMatch]:
        """What the page holds."""
        answer = read(PointRetrieval, response)
        self._after = answer.next
        self._ended = len(answer.matches) < self._page or answer.next is None
        return answer.matches


class GalleryPages:
    """The faces of the gallery by id, page by page, as they were when the first was asked for."""

    def __init__(self, condition: Filter | None, page: int) -> None:
        """Ask for pages of ``page`` faces."""
        self._parameters: dict[str, Any] = {"limit": page, "statistics": "false"}
        if condition is not None:
            self._parameters["filter"] = json.dumps(condition)
        self._ended = False

    def request(self) -> Request | None:
        """For the next page; None where there is none."""
        return None if self._ended else Request("/gallery", {"params": dict(self._parameters)}, "GET")

    def read(self, response: httpx.Response) -> list[GalleryFace]:
        """What the page holds."""
        answer = read(GalleryPage, response)
        self._parameters["after"] = answer.next
        self._ended = answer.next is None
        return answer.faces


def read(kind: type[Kind], response: httpx.Response) -> Kind:
    """An answer.

    Raises:
        ClientError: it is none of this service.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValueError as error:
        raise ClientError(f"{response.url} answered something else than a {kind.__name__}: {error}") from None


def failed(response: httpx.Response | None, failure: httpx.TransportError | None, url: httpx.URL) -> ClientError:
    """Why a request has no answer."""
    if response is None:
        return ClientError(f"the service at {url} cannot be reached: {type(failure).__name__}")
    try:
        return refusal(response.status_code, response.json())
    except (json.JSONDecodeError, KeyError, TypeError):
        return ClientError(f"{response.url} answered {response.status_code}, and not as this service does")


def refusal(status: int, problem: Any) -> ServiceError:
    """The service's problem as an error.

    Raises:
        KeyError: it is none.
        TypeError: it is none.
    """
    return ServiceError(status, str(problem["type"]).removeprefix("urn:mien:"), str(problem["detail"]))
