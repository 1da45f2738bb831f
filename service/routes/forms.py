"""Multipart forms (RFC 7578): the parts of a body that is in memory already.

A parser for bodies of any length has to go through them letter by letter, as they come; in Python, and for a small
image, that takes longer than everything else between the network and the caller. Here a body has come whole, and what
separates its parts is searched for. Nothing goes to disk.
"""

import re
from typing import Final, NamedTuple

MOST_HEAD_BYTES: Final = 16_384
"""Of the heading of one part."""

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s";,]{1,200}))', re.IGNORECASE)
_DISPOSITION: Final = re.compile(rb"(?:^|\r\n)content-disposition:[ \t]*form-data[ \t]*((?:;[^\r\n]*)?)", re.IGNORECASE)
_PARAMETER: Final = re.compile(rb';[ \t]*([a-z]+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^;"]*))', re.IGNORECASE)


class FormError(Exception):
    """A body that is not a whole multipart form; its message says why, after "the body is not ..."."""


class Part(NamedTuple):
    """A field of a form.

    Attributes:
        name: of the field.
        content: its bytes.
        is_file: whether it was sent as a file; under which name is not kept.
    """

    name: str
    content: bytes
    is_file: bool


def parts(body: bytes, content_type: str, most: int) -> list[Part]:
    """The parts of a form, in their order.

    Args:
        body: the whole of it.
        content_type: as the request gives it, with the boundary.
        most: parts that there may be.

    Raises:
        FormError: it is no form, it ends before its last boundary, or it has more parts.
    """
    found: list[Part] = []
    delimiter = b"\r\n--" + _boundary(content_type)
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if at == 1:
        raise FormError("a multipart form: its boundary does not come")
    at += len(delimiter) - 2
    while not body.startswith(b"--", at):
        start = body.find(b"\r\n", at)
        if start < 0 or body[at:start].strip(b" \t"):
            raise FormError("a multipart form: a boundary is followed by something else")
        end_of_head = body.find(b"\r\n\r\n", start, start + MOST_HEAD_BYTES)
        if end_of_head < 0:
            raise FormError("a multipart form: the heading of a part does not end")
        end = _next(body, delimiter, end_of_head + 2)
        if len(found) == most:
            raise FormError(f"a multipart form: it has more than {most} parts")
        found.append(_part(body[start + 2 : end_of_head], body[end_of_head + 4 : end]))
        at = end + len(delimiter)
    return found


def _boundary(content_type: str) -> bytes:
    given = _BOUNDARY.search(content_type)
    if given is None or not (given[1] or given[2]).isascii():
        raise FormError("a multipart form: its boundary is not given")
    return (given[1] or given[2]).encode()


def _next(body: bytes, delimiter: bytes, at: int) -> int:
    """Where the next boundary begins; one that goes on as another word is none."""
    while True:
        at = body.find(delimiter, at)
        if at < 0:
            raise FormError("a whole multipart form: it ends before its last boundary")
        if body[at + len(delimiter) : at + len(delimiter) + 1] in (b"-", b"\r", b" ", b"\t", b""):
            return at
        at += len(delimiter)


def _part(head: bytes, content: bytes) -> Part:
    disposition = _DISPOSITION.search(head)
    parameters = (
        {}
        if disposition is None
        else {key.lower(): quoted or plain.strip() for key, quoted, plain in _PARAMETER.findall(disposition[1])}
    )
    if b"name" not in parameters:
        raise FormError("a multipart form: a part does not say what field it is")
    try:
        name = parameters[b"name"].decode()
    except UnicodeDecodeError:
        raise FormError("a multipart form: a heading cannot be read") from None
    return Part(name, content, b"filename" in parameters or b"filename*" in parameters)
