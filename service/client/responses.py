"""The client's errors, and how answers are read out of the service's responses."""

import json
from typing import Annotated, Any, Final, TypeVar

import httpx
from pydantic import Field, TypeAdapter

from mien.model.errors import MienError
from mien.service.answers.base import Answer
from mien.service.answers.video import VideoLine


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
