"""Multipart forms: every spelling that clients use, and what is refused."""

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.service.errors import MalformedBodyError
from mien.service.routes.forms import Part, parse_form

KIND = "multipart/form-data; boundary=b"


def sent(*fields: tuple[str, tuple[str, bytes]], texts: dict[str, str] | None = None) -> tuple[bytes, str]:
    """Body and content type, as httpx writes them."""
    request = httpx2.Request("POST", "http://x", files=list(fields), data=texts or {})
    return request.read(), request.headers["content-type"]


@settings(max_examples=100, deadline=None)
@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=5), text=st.text(max_size=50))
def test_form_of_a_client_is_parsed(contents: list[bytes], text: str) -> None:
    fields = [("images", ('a "strange"; name="x".jpg', content)) for content in contents]
    body, kind = sent(*fields, texts={"subject": text})
    found = parse_form(body, kind, 10)
    assert [part for part in found if part.is_file] == [Part("images", content, True) for content in contents]
    assert [part for part in found if not part.is_file] == [Part("subject", text.encode(), False)]


def test_other_spellings_of_the_same_form_are_parsed() -> None:
    wanted = [Part("image", b"\r\n--bx\r\n", True), Part("note", b"", False)]
    for body, kind in (
        (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n\r\n--bx\r\n\r\n'
            b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n\r\n--b--\r\n',
            KIND,
        ),
        (
            b"a preamble\r\n--b \t\r\nX-Other: y\r\ncontent-disposition:form-data;filename*=UTF-8''x;NAME=image\r\n"
            b"\r\n\r\n--bx\r\n\r\n--b\r\nContent-Disposition: form-data; name=note\r\n\r\n\r\n--b--",
            'Multipart/Form-Data; charset=utf-8; Boundary="b"',
        ),
    ):
        assert parse_form(body, kind, 2) == wanted


def test_body_that_is_cut_off_anywhere_is_refused() -> None:
    body, kind = sent(("image", ("x", b"0123456789")))
    whole = body.rindex(b"--") + 2
    for end in range(whole):
        with pytest.raises(MalformedBodyError):
            parse_form(body[:end], kind, 5)
    assert parse_form(body[:whole], kind, 5) == [Part("image", b"0123456789", True)]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"--b--", "multipart/form-data", "boundary is not given"),
        (b"--b--", "multipart/form-data; boundary=", "boundary is not given"),
        (b"--c--", KIND, "ends before its last boundary"),
        (b"--b\r\nX: " + bytes(20_000) + b"\r\n\r\nx\r\n--b--", KIND, "header size"),
        (b"--b\r\nX: y\r\n\r\nx\r\n--b--", KIND, "what field"),
        (b"--b\r\nContent-Disposition: form-data; name=\xff\r\n\r\nx\r\n--b--", KIND, "cannot be read"),
        (b"--b other\r\n\r\n--b--", KIND, "boundary padding"),
    ],
)
def test_body_that_is_no_form_is_refused(body: bytes, kind: str, reason: str) -> None:
    with pytest.raises(MalformedBodyError, match=reason):
        parse_form(body, kind, 5)


def test_too_many_parts_are_refused() -> None:
    body, kind = sent(*[("images", ("x", b"x"))] * 4)
    assert len(parse_form(body, kind, 4)) == 4
    with pytest.raises(MalformedBodyError, match="more than 3 parts"):
        parse_form(body, kind, 3)
