"""Multipart forms."""

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.service.routes.forms import FormError, Part, parts

KIND = "multipart/form-data; boundary=b"


def sent(*fields: tuple[str, tuple[str, bytes]], texts: dict[str, str] | None = None) -> tuple[bytes, str]:
    """Body and content type, as the client of another project writes them."""
    request = httpx2.Request("POST", "http://x", files=list(fields), data=texts or {})
    return request.read(), request.headers["content-type"]


@settings(max_examples=100, deadline=None)
@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=5), text=st.text(max_size=50))
def test_what_a_client_sends_comes_out(contents: list[bytes], text: str) -> None:
    fields = [("images", ('a "strange"; name="x".jpg', content)) for content in contents]
    body, kind = sent(*fields, texts={"subject": text})
    found = parts(body, kind, 10)
    assert [part for part in found if part.is_file] == [Part("images", content, True) for content in contents]
    assert [part for part in found if not part.is_file] == [Part("subject", text.encode(), False)]


def test_forms_of_the_same_thing() -> None:
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
        assert parts(body, kind, 2) == wanted


def test_a_part_is_cut_off_wherever_the_body_is() -> None:
    body, kind = sent(("image", ("x", b"0123456789")))
    whole = body.rindex(b"--") + 2
    for end in range(whole):
        with pytest.raises(FormError):
            parts(body[:end], kind, 5)
    assert parts(body[:whole], kind, 5) == [Part("image", b"0123456789", True)]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"--b--", "multipart/form-data", "boundary is not given"),
        (b"--b--", "multipart/form-data; boundary=", "boundary is not given"),
        (b"--c--", KIND, "boundary does not come"),
        (b"--b\r\nX: " + bytes(20_000) + b"\r\n\r\nx\r\n--b--", KIND, "heading of a part does not end"),
        (b"--b\r\nX: y\r\n\r\nx\r\n--b--", KIND, "what field"),
        (b"--b\r\nContent-Disposition: form-data; name=\xff\r\n\r\nx\r\n--b--", KIND, "cannot be read"),
        (b"--b other\r\n\r\n--b--", KIND, "followed by something else"),
    ],
)
def test_what_is_no_form(body: bytes, kind: str, reason: str) -> None:
    with pytest.raises(FormError, match=reason):
        parts(body, kind, 5)


def test_too_many_parts() -> None:
    body, kind = sent(*[("images", ("x", b"x"))] * 4)
    assert len(parts(body, kind, 4)) == 4
    with pytest.raises(FormError, match="more than 3 parts"):
        parts(body, kind, 3)
