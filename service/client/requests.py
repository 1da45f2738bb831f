"""What the clients send: where to, a request, its parameters, and when a request is sent again."""

import json
import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from mien.service.client.responses import ClientError, problem_of

RETRIED: Final = frozenset({429, 503})
"""Statuses after which a request is sent again."""


@dataclass(frozen=True)
class Request:
    """A request of the service.

    Attributes:
        path: of the endpoint.
        options: of ``httpx.Client.build_request``: parameters and body.
        method: of HTTP.
        retried: whether it is sent again while the service is busy or cannot be reached.
    """

    path: str
    options: dict[str, Any]
    method: str = "POST"
    retried: bool = True


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


NO_RETRIES: Final = Retries(most=0)


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


def address(url: str) -> str:
    """The address of a service; without a scheme, it is taken as ``http://``.

    Raises:
        ClientError: it has another scheme, or no host.
    """
    whole = url if "://" in url else f"http://{url}"
    try:
        parsed = httpx.URL(whole)
    except httpx.InvalidURL as error:
        raise ClientError(f"the address of the service cannot be read: {error}, got {url!r}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ClientError(f"the address of the service must be such as http://127.0.0.1:8000, got {url!r}")
    return whole


def parameters_of(values: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Values as they stand in an address, such as ``true``; those that are None are left out."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    return json.dumps(value) if isinstance(value, bool | dict) else str(value)
