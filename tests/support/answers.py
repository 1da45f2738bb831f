"""What requests and answers of the service have in common."""

from typing import Any, Final, Protocol

from mien.service.client import Retries

CROPPED: Final = {"already_cropped": "true"}
"""Query parameters for an image that is a face crop."""

FAST_RETRIES: Final = Retries(most=3, first_pause_s=0.01, longest_pause_s=0.05)
"""How a client tries again in tests."""


def form_scope(path: str, query: str = "") -> dict[str, Any]:
    """The ASGI scope of a posted form, for tests that hand over the body themselves; its boundary is ``b``."""
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"testserver"), (b"content-type", b"multipart/form-data; boundary=b")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }


def form_head(field: str) -> bytes:
    """The beginning of a form, up to the bytes of its file."""
    return f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="x"\r\n\r\n'.encode()


class Answer(Protocol):
    """What httpx, httpx2 and Starlette's test client have in common."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Any: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


def problem(answer: Answer, status: int) -> str:
    """The detail of an error, whose form is checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:mien:")
    assert body["title"]
    assert body["detail"]
    return str(body["detail"])


def problem_kind(answer: Answer) -> tuple[int, str]:
    """Status and type of an error."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:mien:")
