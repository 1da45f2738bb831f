"""Errors over HTTP: RFC 9457 problem details, and the table of the answers to all errors."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from mien.index.errors import (
    DeadlineError,
    FaceConflictError,
    FaceFieldError,
    FilterError,
    GalleryError,
    GalleryFullError,
    QueryError,
    ReadOnlyGalleryError,
    UnknownFaceError,
)
from mien.model.errors import (
    BrokenImageError,
    BrokenVideoError,
    EmptyImageError,
    ImageError,
    ImageTooLargeError,
    NoFaceError,
    NoVideoDecoderError,
    UnsupportedImageError,
    UnsupportedVideoError,
    VideoError,
    VideoTooLargeError,
)
from mien.service.answers.problem import Problem
from mien.service.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    ForeignHostError,
    ForeignPageError,
    JsonError,
    MalformedBodyError,
    MalformedHeadError,
    MalformedImageError,
    MissingFieldError,
    NotReadyError,
    QueueFullError,
    ReloadError,
    RequestError,
    TooLateError,
    TooManyImagesError,
)
from mien.service.operation.logs import FIELDS

_log = logging.getLogger("mien.problems")

MEDIA_TYPE: Final = "application/problem+json"

SCOPE_KEY: Final = "mien.problem"
"""Key of a request's ASGI scope: the kind of the problem that the request was answered with."""

_TYPE: Final = "urn:mien:"

MAX_DETAIL: Final = 600
"""Characters of the detail of a problem."""

INTERNAL: Final = Problem(
    type=f"{_TYPE}internal",
    title=HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    detail="mien failed on this request; its log says where",
)
"""The problem of a request that met a bug."""


ANSWERS: Final[dict[type[Exception], tuple[HTTPStatus, str]]] = {
    EmptyImageError: (HTTPStatus.UNPROCESSABLE_ENTITY, "empty-image"),
    UnsupportedImageError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-image"),
    BrokenImageError: (HTTPStatus.UNPROCESSABLE_ENTITY, "broken-image"),
    ImageTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "image-too-large"),
    NoFaceError: (HTTPStatus.UNPROCESSABLE_ENTITY, "no-face"),
    UnsupportedVideoError: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-video"),
    BrokenVideoError: (HTTPStatus.UNPROCESSABLE_ENTITY, "broken-video"),
    VideoTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "video-too-large"),
    NoVideoDecoderError: (HTTPStatus.NOT_IMPLEMENTED, "no-video-decoder"),
    DeadlineError: (HTTPStatus.GATEWAY_TIMEOUT, "too-late"),
    QueryError: (HTTPStatus.UNPROCESSABLE_ENTITY, "query"),
    FilterError: (HTTPStatus.UNPROCESSABLE_ENTITY, "filter"),
    FaceFieldError: (HTTPStatus.UNPROCESSABLE_ENTITY, "face-field"),
    FaceConflictError: (HTTPStatus.CONFLICT, "face-conflict"),
    UnknownFaceError: (HTTPStatus.NOT_FOUND, "unknown-face"),
    ReadOnlyGalleryError: (HTTPStatus.FORBIDDEN, "read-only-gallery"),
    GalleryError: (HTTPStatus.SERVICE_UNAVAILABLE, "gallery"),
    GalleryFullError: (HTTPStatus.INSUFFICIENT_STORAGE, "gallery-full"),
    BodyTooLargeError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large"),
    MalformedBodyError: (HTTPStatus.BAD_REQUEST, "malformed-body"),
    JsonError: (HTTPStatus.UNPROCESSABLE_ENTITY, "json"),
    MissingFieldError: (HTTPStatus.UNPROCESSABLE_ENTITY, "missing-field"),
    MalformedImageError: (HTTPStatus.UNPROCESSABLE_ENTITY, "malformed-image"),
    TooManyImagesError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-images"),
    BodyTooSlowError: (HTTPStatus.REQUEST_TIMEOUT, "body-too-slow"),
    NotReadyError: (HTTPStatus.SERVICE_UNAVAILABLE, "not-ready"),
    QueueFullError: (HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    TooLateError: (HTTPStatus.GATEWAY_TIMEOUT, "too-late"),
    ForeignHostError: (HTTPStatus.MISDIRECTED_REQUEST, "host"),
    ForeignPageError: (HTTPStatus.FORBIDDEN, "origin"),
    MalformedHeadError: (HTTPStatus.BAD_REQUEST, "malformed-head"),
    ReloadError: (HTTPStatus.CONFLICT, "reload"),
    MemoryError: (HTTPStatus.SERVICE_UNAVAILABLE, "no-memory"),
}
"""Status and kind of problem of each error; a subclass that is not listed has its parent's."""

_NAME_FOLDERS: Final = frozenset({GalleryError, GalleryFullError, ReloadError})
"""Errors whose messages have paths, for those who run the service: the log has them, the answer only the last part."""

_PATH: Final = re.compile(r"(?:[^\s'\"(),;]*/)+([^\s'\"(),;/]*)")


def problem(status: HTTPStatus, kind: str, detail: str) -> Problem:
    """A problem by its kind, the last word of its type."""
    return Problem(type=f"{_TYPE}{kind}", title=status.phrase, status=status, detail=_shorten(detail, MAX_DETAIL))


def problem_of(error: Exception) -> Problem:
    """The problem that an error of ``ANSWERS`` is answered with.

    Raises:
        KeyError: the error is not in the table: it is a bug.
    """
    for kind in type(error).__mro__:
        if kind in ANSWERS:
            status, name = ANSWERS[kind]
            detail = str(error) or "mien has too little memory for this request"  # a MemoryError has no message
            return problem(status, name, _without_folders(detail) if kind in _NAME_FOLDERS else detail)
    raise KeyError(type(error).__name__)


def problem_of_any(error: Exception) -> Problem:
    """``problem_of``, for an answer that has begun: an error that is not in the table is logged, and ``INTERNAL``."""
    try:
        return problem_of(error)
    except KeyError:
        _log.error("failed", exc_info=error)
        return INTERNAL


def kind_of(problem: Problem) -> str:
    """The last word of a problem's type."""
    return problem.type.removeprefix(_TYPE)


def response(problem: Problem, scope: Scope | None = None, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as a response; its kind is kept in the request's ``scope``, for the log and the metrics."""
    if scope is not None:
        scope[SCOPE_KEY] = kind_of(problem)
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


def response_to(error: Exception, scope: Scope | None = None) -> JSONResponse:
    """The response to an error of ``ANSWERS``."""
    found = problem_of(error)
    headers = {"Retry-After": "1"} if found.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return response(found, scope, headers)


def openapi_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the problems that an endpoint answers with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Register the response to every known error with ``app``, FastAPI's own 404, 405 and 422 included."""
    for kind in (ImageError, VideoError, QueryError, GalleryError, RequestError, MemoryError):
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


def _without_folders(text: str) -> str:
    return _PATH.sub(r"\1", text)


async def _known_error(request: Request, error: Exception) -> JSONResponse:
    if type(error) in (GalleryError, GalleryFullError):
        _log.warning("the gallery fails", extra={FIELDS: {"reason": str(error)}})
    return response_to(error, request.scope)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    status, headers = HTTPStatus(error.status_code), error.headers or {}
    kind, detail = "http", str(error.detail)
    if status == HTTPStatus.NOT_FOUND:
        kind, detail = "not-found", f"there is nothing at {request.url.path}; /docs lists what there is"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        kind = "method-not-allowed"
        detail = f"{request.url.path} takes {headers.get('Allow', 'another method')}, not {request.method}"
    return response(problem(status, kind, detail), headers=headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    sentences, unknown = [], []
    for each in error.errors():
        where = _shorten(" ".join(str(part) for part in each["loc"]))
        if each["type"] == "extra_forbidden":
            unknown.append(_shorten(repr(each["loc"][-1])))
            continue
        value = each.get("input")
        sentences.append(f"{where}: {each['msg']}" + (f", got {_shorten(value)!r}" if isinstance(value, str) else ""))
    if unknown:
        names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        sentences.append(f"there is no parameter {names}; /docs lists those there are")
    return response(problem(HTTPStatus.UNPROCESSABLE_ENTITY, "validation", "; ".join(sentences)), request.scope)


def _shorten(text: str, length: int = 80) -> str:
    """The beginning of a text of the request: an answer does not repeat kilobytes."""
    return text if len(text) <= length else text[: length - 3] + "..."
