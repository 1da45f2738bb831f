"""Bodies of requests: images and videos out of multipart forms, and JSON, in memory only."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from mien.index.errors import QueryError
from mien.model.errors import first_fault
from mien.service.errors import (
    JsonError,
    MalformedBodyError,
    MalformedImageError,
    MissingFieldError,
    TooManyImagesError,
)
from mien.service.routes.forms import Part, parse_form
from mien.service.schemas.json_text import JsonLimitError, JsonSyntaxError, parse_json
from mien.service.schemas.queries import JsonImages

IMAGE: Final = "image"
"""The field of a form for one image."""

IMAGES: Final = "images"
"""The field of a form for several images, repeated."""

VIDEO: Final = "video"
"""The field of a form for a video."""

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"

MAX_TEXTS: Final = 32
"""Parts of a form that are not images."""

_LARGE_JSON_BYTES: Final = 2**16
_LARGE_FORM_BYTES: Final = 2**20
"""Bodies that are larger are parsed in a thread: it takes more than a millisecond."""

_PARSER: Final = ThreadPoolExecutor(1, "parser")
"""Parses large bodies one after the other: they take many times their size in memory meanwhile."""

_JSON_IMAGES: Final = TypeAdapter(JsonImages)

_FILE: Final = {
    "type": "string",
    "format": "binary",
    "description": "A photograph or a face crop: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF.",
}
_IMAGES_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {IMAGE: _FILE, IMAGES: {"type": "array", "items": _FILE, "description": "Several, each on its own."}},
    "oneOf": [{"required": [IMAGE]}, {"required": [IMAGES]}],
}


def openapi_body(form: Mapping[str, Any] | None = None, *json_schemas: str) -> dict[str, Any]:
    """The OpenAPI entry of the body of an endpoint.

    Args:
        form: schema of a multipart form; None takes no form.
        json_schemas: names of the schemas of a JSON body.
    """
    content: dict[str, Any] = {} if form is None else {FORM: {"schema": form}}
    references = [{"$ref": f"#/components/schemas/{name}"} for name in json_schemas]
    if references:
        content[JSON] = {"schema": references[0] if len(references) == 1 else {"anyOf": references}}
    return {"requestBody": {"required": True, "content": content}}


def openapi_images(*json_schemas: str) -> dict[str, Any]:
    """The OpenAPI entry of the body of an endpoint that takes images as a form, or JSON."""
    return openapi_body(_IMAGES_SCHEMA, *json_schemas)


@dataclass(frozen=True)
class Images:
    """The images of one request.

    Attributes:
        files: the bytes of each image file, or why it cannot be read.
        several: whether they were sent as ``images``, and are answered as a list.
        texts: the other fields of a form.
    """

    files: tuple[bytes | MalformedImageError, ...]
    several: bool
    texts: Mapping[str, str] = field(default_factory=dict)


Body = TypeVar("Body")
Result = TypeVar("Result")


def content_type(request: Request) -> str:
    """The content type of a body in lower case, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Read a whole body, which the request does not keep.

    Raises:
        MalformedBodyError: it ends before its declared length.
        RequestError: it is over a limit.
    """
    try:
        return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise MalformedBodyError("the body ended before its declared length") from None


async def read_json(request: Request, adapter: TypeAdapter[Body]) -> Body:
    """Read and parse a JSON body.

    Raises:
        MalformedBodyError: it is no JSON.
        JsonError: it is too much JSON, or has values that are not taken.
        MissingFieldError: it does not fit the type of the adapter.
        RequestError: it is over a limit.
    """
    body = await read_body(request)
    return await in_parser(lambda: parse_body(body, adapter, "body"), large=len(body) > _LARGE_JSON_BYTES)


async def parse_field(name: str, text: str, adapter: TypeAdapter[Body]) -> Body:
    """Parse a field of a form as JSON; see ``read_json``."""
    field = text.encode()
    return await in_parser(lambda: parse_body(field, adapter, f"field '{name}'"), large=len(field) > _LARGE_JSON_BYTES)


async def in_parser(parse: Callable[[], Result], *, large: bool) -> Result:
    """The result of ``parse``, which is called in a thread if the body is ``large``."""
    return await asyncio.get_running_loop().run_in_executor(_PARSER, parse) if large else parse()


def parse_body(text: bytes, adapter: TypeAdapter[Body], place: str) -> Body:
    """Parse a JSON body, or a field of a form; ``place`` is its name in messages. See ``read_json``."""
    try:
        return adapter.validate_python(parse_json(text))
    except JsonSyntaxError as error:
        raise MalformedBodyError(f"the {place} is not JSON, though it says so: {error}") from None
    except JsonLimitError as error:
        raise JsonError(f"the JSON {place} is not taken: {error}") from None
    except ValidationError as error:
        raise MissingFieldError(f"the JSON {place} is not as /docs says: {first_fault(error)[:200]}") from None


async def read_images(request: Request, max_images: int) -> Images:
    """Read the images of a form or of a JSON body.

    Raises:
        MissingFieldError: it is neither, or has no image.
        RequestError: the body cannot be read, or is over a limit.
    """
    kind = content_type(request)
    if kind == FORM:
        return await read_form(request, max_images)
    if kind == JSON:
        return await decode_images(await read_json(request, _JSON_IMAGES), max_images)
    raise MissingFieldError(
        f"send the image as a file in the field '{IMAGE}' of a {FORM} body, or as base64 in JSON, "
        f"got {kind or 'no content type'}"
    )


async def decode_images(body: JsonImages, max_images: int) -> Images:
    """Decode the images of a JSON body; one that is not base64 does not affect the others.

    Raises:
        TooManyImagesError: there are too many images.
    """
    texts = body.images if body.images is not None else [body.image or ""]
    check_count(len(texts), max_images)
    files = await in_parser(lambda: tuple(map(_decode_image, texts)), large=sum(map(len, texts)) > _LARGE_FORM_BYTES)
    return Images(files, several=body.images is not None)


def decode_base64(text: str) -> bytes:
    """Decode a file in base64, with or without ``data:...,`` in front.

    Raises:
        ValueError: it is not base64.
    """
    return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)


def _decode_image(text: str) -> bytes | MalformedImageError:
    try:
        return decode_base64(text)
    except ValueError:
        return MalformedImageError("expected an image file in base64, got something else")


def check_no_parameters(query: BaseModel) -> None:
    """Check that a request whose JSON body has everything has no parameters in its query string.

    Raises:
        QueryError: it has some.
    """
    if query.model_fields_set:
        names = ", ".join(sorted(query.model_fields_set))
        raise QueryError(f"a query without an image must be in the JSON body alone, got the parameters {names}")


def check_count(count: int, max_images: int) -> None:
    """Check the number of images of a request.

    Raises:
        TooManyImagesError: there are more than ``max_images``.
    """
    if count > max_images:
        raise TooManyImagesError(f"a request may have {max_images} images, this one has {count}")


async def read_form(request: Request, max_images: int) -> Images:
    """Read the images of a form: one in the field ``image``, or one or more in the field ``images``.

    Raises:
        MalformedBodyError: the body is no multipart form, though it says so.
        MissingFieldError: the form has no file in either field, or several in ``image``.
        TooManyImagesError: there are too many images.
        RequestError: it is over a limit.
    """
    parts = await _read_parts(request, max_images + MAX_TEXTS)
    one, several = ([part for part in parts if part.name == name] for name in (IMAGE, IMAGES))
    if len(one) + bool(several) != 1:
        raise MissingFieldError(
            f"the form needs one field '{IMAGE}' with a file, or '{IMAGES}', once or several times; "
            f"got {len(one)} and {len(several)} (fields: {_names(parts)})"
        )
    check_count(len(several), max_images)
    files = tuple(_file_of(part) for part in one or several)
    try:
        texts = {part.name: part.content.decode() for part in parts if not part.is_file}
    except UnicodeDecodeError:
        raise MalformedBodyError("the body is not a multipart form: a text in it is not in UTF-8") from None
    return Images(files, several=not one, texts=texts)


async def read_video(request: Request) -> bytes:
    """Read the video of a form, in the field ``video``.

    Raises:
        MalformedBodyError: the body is no multipart form, though it says so.
        MissingFieldError: the form has no file in the field, or several.
        RequestError: it is over a limit.
    """
    parts = await _read_parts(request, MAX_TEXTS)
    videos = [part for part in parts if part.name == VIDEO]
    if len(videos) != 1:
        raise MissingFieldError(
            f"the form needs one field '{VIDEO}' with a file, got {len(videos)} (fields: {_names(parts)})"
        )
    return _file_of(videos[0])


async def _read_parts(request: Request, max_parts: int) -> list[Part]:
    body, kind = await read_body(request), request.headers["content-type"]
    return await in_parser(lambda: parse_form(body, kind, max_parts), large=len(body) > _LARGE_FORM_BYTES)


def _file_of(part: Part) -> bytes:
    if not part.is_file:
        raise MissingFieldError(f"the field '{part.name}' must hold a file, got text")
    return part.content


def _names(parts: list[Part]) -> str:
    return ", ".join(sorted({part.name for part in parts})[:8]) or "none"
