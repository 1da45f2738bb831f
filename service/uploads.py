"""Uploads: an image out of a multipart form, in memory alone and within the limits."""

from typing import Any, Final

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import BodyTooLargeError, MalformedBodyError, MissingFieldError

FIELD: Final = "image"
"""The name of the form's field."""

REQUEST_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": "A photograph or a face crop: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF.",
                        }
                    },
                }
            }
        },
    }
}
"""The OpenAPI entry of an endpoint that takes an upload."""


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, but for two things.

    It moves files of over 1 MB to disk; an upload never goes there. And it drops a part whose end is missing; a form
    that was cut off is refused.
    """

    spool_max_size = 2**40
    ended = False

    def on_end(self) -> None:
        """The last boundary has come."""
        self.ended = True
        super().on_end()

    def close_parts(self) -> None:
        """Let go of the files of a form that was cut off; the form itself does not know them."""
        for file in self._files_to_close_on_error:
            file.close()


class BodyLimit:
    """ASGI middleware: a body over the limit is refused, by its declared length or as soon as it has grown too long."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting the bytes of its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        declared_too_large = declared.isdigit() and int(declared) > self.max_bytes
        refusal = BodyTooLargeError(f"the request's body may have {self.max_bytes} bytes, this one has more")
        received = 0

        async def counted() -> Message:
            nonlocal received
            if declared_too_large:
                raise refusal
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise refusal
            return message

        await self.app(scope, counted, send)


async def read_image(request: Request) -> bytes:
    """The bytes of the form's one image.

    Raises:
        BodyTooLargeError: the body is over the limit.
        MalformedBodyError: the body is no multipart form, though it says so.
        MissingFieldError: the form has no file in the field ``image``, or several.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise MissingFieldError(
            f"send the image as a file in the field '{FIELD}' of a multipart/form-data body, "
            f"got {content_type or 'no content type'}"
        )
    parser = _InMemoryParser(request.headers, request.stream(), max_files=16, max_fields=16)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        reason = error.message.rstrip(".") if isinstance(error, MultiPartException) else "a heading cannot be read"
        raise MalformedBodyError(f"the body is not a multipart form: {reason}") from None
    except ClientDisconnect:
        parser.close_parts()
        raise MalformedBodyError("the body ended before its declared length") from None
    try:
        if not parser.ended:
            parser.close_parts()
            raise MalformedBodyError("the body is not a whole multipart form: it ends before its last boundary")
        sent = form.getlist(FIELD)
        if len(sent) != 1:
            names = ", ".join(sorted(set(form.keys()))) or "none"
            raise MissingFieldError(
                f"the form needs one field '{FIELD}' with a file, got {len(sent)} (fields: {names})"
            )
        upload = sent[0]
        if not isinstance(upload, UploadFile):
            raise MissingFieldError(f"the field '{FIELD}' should hold a file, got text")
        return await upload.read()
    finally:
        await form.close()
