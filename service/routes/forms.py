"""Multipart forms (RFC 7578) that are in memory as a whole: python-multipart parses them, nothing goes to disk."""

from typing import TYPE_CHECKING, Final, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from mien.service.errors import MalformedBodyError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_HEADER_BYTES: Final = 16_384
"""Of one header of a part."""

_PREAMBLE_HEADER: Final = b'Content-Disposition: form-data; name="preamble"\r\n\r\n\r\n'


class Part(NamedTuple):
    """A field of a form.

    Attributes:
        name: of the field.
        content: its bytes.
        is_file: whether it was sent as a file; the file's name is dropped.
    """

    name: str
    content: bytes
    is_file: bool


def parse_form(body: bytes, content_type: str, max_parts: int) -> list[Part]:
    """Parse a multipart form.

    Args:
        body: the whole of it.
        content_type: of the request, with the boundary.
        max_parts: how many parts the form may have.

    Returns:
        The parts, in their order.

    Raises:
        MalformedBodyError: it is no form, it ends before its last boundary, or it has more parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedBodyError("the body is not a multipart form: its boundary is not given")
    delimiter = b"--" + boundary + b"\r\n"
    has_preamble = not body.startswith(delimiter)
    form = _Form(max_parts + has_preamble)
    try:
        parser = MultipartParser(boundary, form.callbacks(), max_header_size=MAX_HEADER_BYTES)
        if has_preamble:  # the parser knows none: it becomes the content of a part in front, which is dropped
            body = delimiter + _PREAMBLE_HEADER + body
        parser.write(body)
    except FormParserError as error:
        raise MalformedBodyError(f"the body is not a multipart form: {error}") from None
    if not form.has_ended:
        raise MalformedBodyError("the body is not a whole multipart form: it ends before its last boundary")
    return form.parts[has_preamble:]


class _Form:
    """Collects what the parser finds."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[Part] = []
        self.has_ended = False
        self._max_parts = max_parts
        self._disposition = self._header_name = self._header_value = self._content = b""

    def callbacks(self) -> "MultipartCallbacks":
        """The functions that the parser calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        if len(self.parts) == self._max_parts:
            raise MalformedBodyError(f"the body is not a multipart form: it has more than {self._max_parts} parts")
        self._disposition = self._content = b""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end_part(self) -> None:
        kind, parameters = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in parameters:
            raise MalformedBodyError("the body is not a multipart form: a part does not say what field it is")
        try:
            name = parameters[b"name"].decode()
        except UnicodeDecodeError:
            raise MalformedBodyError("the body is not a multipart form: a heading cannot be read") from None
        is_file = b"filename" in parameters or b"filename*=" in self._disposition.lower()
        self.parts.append(Part(name, self._content, is_file))

    def _end(self) -> None:
        self.has_ended = True
