"""Errors over HTTP: RFC 9457 problem details, one table from exception to answer."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from mien.index.errors import (
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
from mien.service.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    ForeignPageError,
    MalformedBodyError,
    MalformedImageError,
    MissingFieldError,
    NotReadyError,
    QueueFullError,
    ReloadError,
    RequestError,
    TooLateError,
    TooManyImagesError,
)
from mien.service.schemas.problem import Problem

MEDIA_TYPE: Final = "application/problem+json"

FAILED: Final = "mien failed on this request; its log says where"

SCOPE_KEY: Final = "mien.problem"
"""Where a request's ASGI scope keeps the type of the problem it was answered with."""

_TYPE: Final = "urn:mien:"


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
    MissingFieldError: (HTTPStatus.UNPROCESSABLE_ENTITY, "missing-field"),
    MalformedImageError: (HTTPStatus.UNPROCESSABLE_ENTITY, "malformed-image"),
    TooManyImagesError: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-many-images"),
    BodyTooSlowError: (HTTPStatus.REQUEST_TIMEOUT, "body-too-slow"),
    NotReadyError: (HTTPStatus.SERVICE_UNAVAILABLE, "not-ready"),
    QueueFullError: (HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    TooLateError: (HTTPStatus.GATEWAY_TIMEOUT, "too-late"),
    ForeignPageError: (HTTPStatus.FORBIDDEN, "origin"),
    ReloadError: (HTTPStatus.CONFLICT, "reload"),
}
"""Exception to status and type; a subclass that is not listed has its parent's answer."""


def answer(
    status: HTTPStatus,
    kind: str,
    detail: str,
    headers: dict[str, str] | None = None,
    scope: Scope | None = None,
) -> JSONResponse:
    """A problem as a response; the request's ``scope`` is told its type, for the log and the figures."""
    if scope is not None:
        scope[SCOPE_KEY] = kind
    return JSONResponse(problem(status, kind, detail).model_dump(), status, headers, MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """The problem that one of several images met.

    Raises:
        KeyError: no answer is written for this kind of error: it is a bug.
    """
    status, kind = _answer_to(error)
    return problem(status, kind, str(error))


def kind_of(problem: Problem) -> str:
    """The last word of a problem's type."""
    return problem.type.removeprefix(_TYPE)


def problem(status: HTTPStatus, kind: str, detail: str) -> Problem:
    """A problem by the last word of its type."""
    return Problem(type=f"{_TYPE}{kind}", title=status.phrase, status=status, detail=detail)


def _answer_to(error: Exception) -> tuple[HTTPStatus, str]:
    for kind in type(error).__mro__:
        if kind in ANSWERS:
            return ANSWERS[kind]
    raise KeyError(type(error).__name__)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the problems that an endpoint answers with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Give every known error of ``app`` its answer, FastAPI's own 404, 405 and 422 included."""
    for kind in (ImageError, VideoError, QueryError, GalleryError, RequestError):
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


async def _known(request: Request, error: Exception) -> JSONResponse:
    status, name = _answer_to(error)
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return answer(status, name, str(error), headers, request.scope)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.NOT_FOUND:
        return answer(status, "not-found", f"there is nothing at {request.url.path}; /docs lists what there is")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"{request.url.path} takes {allowed}, not {request.method}"
        return answer(status, "method-not-allowed", detail, dict(error.headers or {}))
    return answer(status, "http", str(error.detail), dict(error.headers or {}))


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    sentences, unknown = [], []
    for each in error.errors():
        where = _short(" ".join(str(part) for part in each["loc"]))
        if each["type"] == "extra_forbidden":
            unknown.append(_short(repr(each["loc"][-1])))
            continue
        came = each.get("input")
        sentences.append(f"{where}: {each['msg']}" + (f", got {_short(came)!r}" if isinstance(came, str) else ""))
    if unknown:
        named = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        sentences.append(f"there is no parameter {named}; /docs lists those there are")
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "validation", "; ".join(sentences), scope=request.scope)


def _short(text: str) -> str:
    """What came, but not all of it: an answer does not repeat kilobytes."""
    return text if len(text) <= 80 else text[:77] + "..."
