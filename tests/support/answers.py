"""What requests and answers of the service have in common."""

from typing import Any, Final, Protocol

CROPPED: Final = {"already_cropped": "true"}
"""Query parameters for an image that is a face crop."""


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
