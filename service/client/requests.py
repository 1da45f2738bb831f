"""What the clients send: a request of the service, the images in it, and when a request is sent again."""

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from mien.service.client.answers import ClientError, problem_of

Image = bytes | Path | str
"""A picture: its bytes, or the path of its file."""

Query = dict[str, Any]
"""A point without a picture, such as ``{"emotion": "surprise"}``: see ``POST /retrieve`` in the service's /docs."""

Filter = dict[str, Any]
"""A condition on faces, such as ``{"emotion": "fear"}``: see docs/gallery.md."""

RETRIED: Final = frozenset({429, 503})
"""Statuses after which a request is sent again."""


@dataclass(frozen=True)
class Request:
    """A request of the service.

    Attributes:
        path: of the endpoint.
        options: of ``httpx.Client.build_request``: parameters and body.
        method: of HTTP.
    """

    path: str
    options: dict[str, Any]
    method: str = "POST"


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again, and after how long.

    Attributes:
        most: how often.
        first_pause_s: about the length of the first pause; each further one is twice as long.
        longest_pause_s: no pause is longer, unless the service asks for it.
    """

    most: int = 4
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0

    def pause_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """The pause after attempt ``attempt``, from 1; None if the request is not sent again.

        Args:
            attempt: how often the request was sent.
            response: its answer; None if the service could not be reached.
        """
        if attempt > self.most or (response is not None and response.status_code not in RETRIED):
            return None
        pause: float = min(self.longest_pause_s, self.first_pause_s * 2 ** (attempt - 1))
        requested = response.headers.get("Retry-After", "") if response is not None else ""
        # Clients that were refused at the same time must not come back at the same time.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311
        return max(pause, float(requested)) if requested.isdigit() else pause


DEFAULT_RETRIES: Final = Retries()


Outcome = httpx.Response | httpx.TransportError


def attempts(retries: Retries, url: httpx.URL) -> Generator[float, Outcome, httpx.Response]:
    """The attempts of one request: yields the pause before each, in seconds, and is sent its outcome.

    httpx-retries is not used, as it shortens ``Retry-After`` to the longest pause.

    Returns:
        The successful response.

    Raises:
        ServiceError: the service refuses the request, after the last attempt.
        ClientError: the service cannot be reached, or another server answers.
    """
    pause_s: float | None = 0.0
    number = 0
    while pause_s is not None:
        outcome = yield pause_s
        number += 1
        response = None if isinstance(outcome, httpx.TransportError) else outcome
        if response is not None and response.is_success:
            return response
        pause_s = retries.pause_s(number, response)
    if response is None:
        raise ClientError(f"the service at {url} cannot be reached: {type(outcome).__name__}")
    raise problem_of(response)


def headers(key: str | None) -> dict[str, str]:
    """The headers of every request."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def bytes_of(image: Image) -> bytes:
    """The bytes of a picture.

    Raises:
        OSError: its file cannot be read.
    """
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def parameters_of(values: Mapping[str, float | None]) -> dict[str, str]:
    """Values as they stand in an address, such as ``true``; those that are None are left out."""
    return {name: str(value).lower() for name, value in values.items() if value is not None}
