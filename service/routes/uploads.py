"""Uploads: an image out of a multipart form, in memory alone and within the limits."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.model.errors import first_fault
from mien.service.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    MalformedBodyError,
    MalformedImageError,
    MissingFieldError,
    TooManyImagesError,
)
from mien.service.inference.admission import Admission
from mien.service.routes.forms import FormError, Part, parts

FIELD: Final = "image"
"""The name of the form's field for one image."""

FIELDS: Final = "images"
"""The name of the form's field for several, repeated."""

VIDEO_FIELD: Final = "video"
"""The name of the form's field for a video."""

JSON: Final = "application/json"
FORM: Final = "multipart/form-data"

_FILE: Final = {
    "type": "string",
    "format": "binary",
    "description": "A photograph or a face crop: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF.",
}
_FORM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {FIELD: _FILE, FIELDS: {"type": "array", "items": _FILE, "description": "Several, each on its own."}},
    "oneOf": [{"required": [FIELD]}, {"required": [FIELDS]}],
}


VIDEO_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        VIDEO_FIELD: {"type": "string", "format": "binary", "description": "An MP4, WebM or GIF file."}
                    },
                    "required": [VIDEO_FIELD],
                }
            }
        },
    }
}
"""The OpenAPI entry of an endpoint that takes a video."""


def request_body(*json_schemas: str) -> dict[str, Any]:
    """The OpenAPI entry of an endpoint that takes images as a form, or JSON by one of the schemas, if any."""
    content: dict[str, Any] = {FORM: {"schema": _FORM_SCHEMA}}
    references = [{"$ref": f"#/components/schemas/{name}"} for name in json_schemas]
    if references:
        content[JSON] = {"schema": references[0] if len(references) == 1 else {"anyOf": references}}
    return {"requestBody": {"required": True, "content": content}}


Body = TypeVar("Body", bound=BaseModel)


class JsonImages(BaseModel):
    """Images in JSON: base64 of the files, with or without ``data:image/...;base64,`` in front."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = Field(None, description="One image.", examples=["/9j/4AAQSkZJRgABAQ..."])
    images: list[str] | None = Field(None, min_length=1, description="Several images, each answered on its own.")

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "JsonImages":
        if (self.image is None) == (self.images is None):
            raise ValueError("expected either 'image' or 'images'")
        return self


@dataclass(frozen=True)
class Images:
    """The images of one request.

    Attributes:
        each: the bytes of each file, or why it cannot be read.
        many: whether they were sent as several, and are answered as several.
        texts: the other fields of a form.
    """

    each: tuple[bytes | MalformedImageError, ...]
    many: bool
    texts: Mapping[str, str] = field(default_factory=dict)


class BodyLimit:
    """ASGI middleware: bounds a request's body in size and time, and the bodies of all requests together.

    A body over the limit is refused, by its declared length or as soon as it has grown too long.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        together: Admission,
        longest_s: float,
        other: Mapping[str, int] | None = None,
    ) -> None:
        """Guard ``app``.

        Args:
            app: what reads the bodies.
            max_bytes: of one body.
            other: of one body that is sent to one of these paths.
            together: the bytes of all bodies that are held.
            longest_s: how long a body may take to come, seconds.
        """
        self.app = app
        self.max_bytes = max_bytes
        self.other = other or {}
        self.together = together
        self.longest_s = longest_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting the bytes of its body."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        max_bytes = self.other.get(scope["path"], self.max_bytes)
        declared_too_large = declared.isdigit() and int(declared) > max_bytes
        refusal = BodyTooLargeError(f"the request's body may have {max_bytes} bytes, this one has more")
        deadline = asyncio.get_running_loop().time() + self.longest_s
        received, ended = 0, False

        async def counted() -> Message:
            nonlocal received, ended
            if declared_too_large:
                raise refusal
            if ended:
                return await receive()  # the client going away
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlowError(
                    f"the request's body may take {self.longest_s:g} s, this one took longer"
                ) from None
            ended = not message.get("more_body", False)
            count = len(message.get("body", b""))
            if received + count > max_bytes:
                raise refusal
            self.together.take(count)
            received += count
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.together.give_back(received)


def content_type(request: Request) -> str:
    """The kind of a body, without its parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """A whole body.

    Raises:
        MalformedBodyError: it ends before its declared length.
        RequestError: it is over a limit.
    """
    try:
        return await request.body()
    except ClientDisconnect:
        raise MalformedBodyError("the body ended before its declared length") from None


async def take_body(request: Request) -> bytes:
    """A whole body, as ``read_body`` gives it, which the request does not hold any longer."""
    try:
        return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise MalformedBodyError("the body ended before its declared length") from None


def images_of_json(body: bytes, max_images: int) -> Images:
    """The images of a JSON body; one that is not base64 spoils no other.

    Raises:
        MalformedBodyError: the body is no JSON.
        MissingFieldError: it is not as ``JsonImages`` says.
        TooManyImagesError: there are too many images.
    """
    sent = parse_json(JsonImages, body)
    texts = sent.images if sent.images is not None else [sent.image or ""]
    check_count(len(texts), max_images)
    return Images(tuple(_from_base64(text) for text in texts), many=sent.images is not None)


def parse_json(kind: type[Body], body: bytes) -> Body:
    """A JSON body as ``kind``.

    Raises:
        MalformedBodyError: it is no JSON.
        MissingFieldError: it is another JSON than ``kind`` wants.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        fault = first_fault(error)
        if error.errors(include_input=False)[0]["type"] == "json_invalid":
            raise MalformedBodyError("the body is not JSON, though it says so") from None
        raise MissingFieldError(f"the JSON body is not as /docs says: {fault[:200]}") from None


def _from_base64(text: str) -> bytes | MalformedImageError:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return MalformedImageError("expected an image file in base64, got something else")


def check_count(count: int, max_images: int) -> None:
    """Refuse too many images.

    Raises:
        TooManyImagesError: there are.
    """
    if count > max_images:
        raise TooManyImagesError(f"a request may have {max_images} images, this one has {count}")


async def read_form(request: Request, max_images: int) -> Images:
    """The images of a form: one in the field ``image``, or one or more in the field ``images``.

    Raises:
        BodyTooLargeError: the body is over the limit.
        MalformedBodyError: the body is no multipart form, though it says so.
        MissingFieldError: the form has no file in either field, or several in ``image``.
        TooManyImagesError: there are too many images.
    """
    found = await _whole_form(request, max_images + 32)
    one, several = ([part for part in found if part.name == field] for field in (FIELD, FIELDS))
    if len(one) + bool(several) != 1:
        raise MissingFieldError(
            f"the form needs one field '{FIELD}' with a file, or '{FIELDS}', once or several times; "
            f"got {len(one)} and {len(several)} (fields: {_names(found)})"
        )
    check_count(len(several), max_images)
    files = tuple(_file_of(part) for part in one or several)
    try:
        texts = {part.name: part.content.decode() for part in found if not part.is_file}
    except UnicodeDecodeError:
        raise MalformedBodyError("the body is not a multipart form: a text in it is not in UTF-8") from None
    return Images(files, many=not one, texts=texts)


async def read_video(request: Request) -> bytes:
    """The video of a form, in the field ``video``.

    Raises:
        BodyTooLargeError: the body is over the limit.
        MalformedBodyError: the body is no multipart form, though it says so.
        MissingFieldError: the form has no file in the field, or several.
    """
    found = await _whole_form(request, 32)
    videos = [part for part in found if part.name == VIDEO_FIELD]
    if len(videos) != 1:
        raise MissingFieldError(
            f"the form needs one field '{VIDEO_FIELD}' with a file, got {len(videos)} (fields: {_names(found)})"
        )
    return _file_of(videos[0])


async def _whole_form(request: Request, most: int) -> list[Part]:
    """The parts of a form that has come whole.

    Raises:
        MalformedBodyError: the body is no multipart form, though it says so.
    """
    try:
        return parts(await take_body(request), request.headers["content-type"], most)
    except FormError as error:
        raise MalformedBodyError(f"the body is not {error}") from None


def _file_of(part: Part) -> bytes:
    if not part.is_file:
        raise MissingFieldError(f"the field '{part.name}' should hold a file, got text")
    return part.content


def _names(found: list[Part]) -> str:
    return ", ".join(sorted({part.name for part in found})[:8]) or "none"
