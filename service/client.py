"""The Python client: the service from a program, with typed answers.

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        for face in client.retrieve("photo.jpg", k=5).faces:
            print(face.emotion, [match.id for match in face.matches])

``AsyncClient`` has the same methods to await. Both send a request again, after a growing pause, where the service says
that it is too busy (503), or that one asks too fast (429), or where it cannot be reached.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict

from model.errors import MienError

Image = bytes | Path | str
"""A picture: its bytes, or the path of its file."""

Query = dict[str, Any]
"""A point without a picture, such as ``{"emotion": "surprise"}``: see ``POST /retrieve`` in the service's /docs."""

RETRIED: Final = frozenset({429, 503})
"""Statuses after which a request is sent again."""


class ClientError(MienError):
    """The service cannot be reached, or its answer is no answer of this service."""


class ServiceError(ClientError):
    """The service refused a request.

    Attributes:
        status: of HTTP.
        kind: names the problem; stable, such as ``no-face``.
        detail: one sentence: what was wanted and what came.
    """

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


class _Answer(BaseModel):
    # A newer service may say more than this client knows of.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Face(_Answer):
    box: tuple[float, float, float, float]
    detection: float | None
    emotion: str


class Face(_Face):
    """A face and its emotion: the fields are explained in the README."""

    posterior: dict[str, float]
    distance: float
    typicality: float
    known: bool


class FoundMatch(_Answer):
    """A face of the gallery, and how far it lies from what was asked."""

    id: str
    distance: float
    emotion: str
    metadata: dict[str, Any]


class MatchedFace(_Face):
    """A face and the gallery's nearest expressions."""

    matches: list[FoundMatch]


class EmbeddedFace(_Face):
    """A face and its point in the space."""

    posterior: dict[str, float]
    embedding: list[float]


class Classification(_Answer):
    """The faces of an image, largest first."""

    faces: list[Face]


class Retrieval(_Answer):
    """The faces of an image, largest first."""

    faces: list[MatchedFace]


class Embedding(_Answer):
    """The faces of an image, largest first."""

    faces: list[EmbeddedFace]


class PointRetrieval(_Answer):
    """What lies nearest to a point of the space."""

    emotion: str
    posterior: dict[str, float]
    embedding: list[float]
    matches: list[FoundMatch]


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again, and after how long.

    Attributes:
        most: how often.
        first_pause_s: about how long the first pause is; each one after it is twice as long.
        longest_pause_s: no pause is longer, unless the service asks for it.
    """

    most: int = 4
    first_pause_s: float = 0.25
    longest_pause_s: float = 8.0

    def pause_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """How long to wait before attempt ``attempt + 1``, from 1; None where there is none."""
        if attempt > self.most or (response is not None and response.status_code not in RETRIED):
            return None
        pause: float = min(self.longest_pause_s, self.first_pause_s * 2 ** (attempt - 1))
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        # Callers that were refused together do not come back together.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311
        return max(pause, float(asked)) if asked.isdigit() else pause


Answer = TypeVar("Answer", bound=_Answer)


@dataclass(frozen=True)
class _Request:
    path: str
    options: dict[str, Any]


class Client:
    """The service, asked one thing after the other. Thread-safe."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries = Retries(),
    ) -> None:
        """Ask the service at ``url``.

        Args:
            url: where it listens.
            key: an API key, where it wants one.
            timeout_s: longest time of one answer.
            retries: when a request is sent again.
        """
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout_s)
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, image: Image, *, already_cropped: bool = False) -> Classification:
        """The emotion of each face of an image.

        Raises:
            ServiceError: the service refuses the image.
            ClientError: the service cannot be reached.
        """
        return _read(Classification, self._send(_image_request("/classify", image, already_cropped=already_cropped)))

    def retrieve(self, image: Image, *, k: int = 10, already_cropped: bool = False) -> Retrieval:
        """The k nearest expressions for each face of an image. Raises as ``classify`` does."""
        return _read(Retrieval, self._send(_image_request("/retrieve", image, already_cropped=already_cropped, k=k)))

    def embed(self, image: Image, *, already_cropped: bool = False) -> Embedding:
        """The point of each face of an image. Raises as ``classify`` does."""
        return _read(Embedding, self._send(_image_request("/embed", image, already_cropped=already_cropped)))

    def nearest(self, query: Query, *, k: int = 10) -> PointRetrieval:
        """The k nearest expressions to a point without a picture. Raises as ``classify`` does."""
        return _read(PointRetrieval, self._send(_query_request(query, k)))

    def classify_all(
        self, images: Iterable[Image], *, already_cropped: bool = False
    ) -> Iterator[Classification | ServiceError]:
        """``classify`` for one image after the other; what the service refuses comes as the error in its place."""
        for image in images:
            try:
                yield self.classify(image, already_cropped=already_cropped)
            except ServiceError as error:
                yield error

    def _send(self, request: _Request) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            response, failure = None, None
            try:
                response = self._http.post(request.path, **request.options)
            except httpx.TransportError as error:
                failure = error
            if response is not None and response.is_success:
                return response
            pause_s = self._retries.pause_s(attempt, response)
            if pause_s is None:
                raise _failed(response, failure, self._http.base_url)
            time.sleep(pause_s)


class AsyncClient:
    """As ``Client``, to await. Belongs to one event loop."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries = Retries(),
    ) -> None:
        """Ask the service at ``url``: the arguments are those of ``Client``."""
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout_s)
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(self, image: Image, *, already_cropped: bool = False) -> Classification:
        """As ``Client.classify``."""
        request = await asyncio.to_thread(_image_request, "/classify", image, already_cropped=already_cropped)
        return _read(Classification, await self._send(request))

    async def retrieve(self, image: Image, *, k: int = 10, already_cropped: bool = False) -> Retrieval:
        """As ``Client.retrieve``."""
        request = await asyncio.to_thread(_image_request, "/retrieve", image, already_cropped=already_cropped, k=k)
        return _read(Retrieval, await self._send(request))

    async def embed(self, image: Image, *, already_cropped: bool = False) -> Embedding:
        """As ``Client.embed``."""
        request = await asyncio.to_thread(_image_request, "/embed", image, already_cropped=already_cropped)
        return _read(Embedding, await self._send(request))

    async def nearest(self, query: Query, *, k: int = 10) -> PointRetrieval:
        """As ``Client.nearest``."""
        return _read(PointRetrieval, await self._send(_query_request(query, k)))

    async def classify_all(
        self, images: Iterable[Image], *, already_cropped: bool = False, at_once: int = 4
    ) -> AsyncIterator[Classification | ServiceError]:
        """As ``Client.classify_all``, with several images on their way at once; answers come in the order of images."""
        waiting: list[asyncio.Task[Classification]] = []
        rest = iter(images)
        try:
            while True:
                while len(waiting) < at_once and (image := next(rest, None)) is not None:
                    waiting.append(asyncio.create_task(self.classify(image, already_cropped=already_cropped)))
                if not waiting:
                    return
                try:
                    yield await waiting.pop(0)
                except ServiceError as error:
                    yield error
        finally:
            for task in waiting:
                task.cancel()

    async def _send(self, request: _Request) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            response, failure = None, None
            try:
                response = await self._http.post(request.path, **request.options)
            except httpx.TransportError as error:
                failure = error
            if response is not None and response.is_success:
                return response
            pause_s = self._retries.pause_s(attempt, response)
            if pause_s is None:
                raise _failed(response, failure, self._http.base_url)
            await asyncio.sleep(pause_s)


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _image_request(path: str, image: Image, *, already_cropped: bool, **more: int) -> _Request:
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    parameters = {"already_cropped": str(already_cropped).lower(), **more}
    return _Request(path, {"params": parameters, "files": {"image": data}})


def _query_request(query: Query, k: int) -> _Request:
    return _Request("/retrieve", {"json": {"query": query, "k": k}})


def _read(kind: type[Answer], response: httpx.Response) -> Answer:
    try:
        return kind.model_validate_json(response.content)
    except ValueError as error:
        raise ClientError(f"{response.url} answered something else than a {kind.__name__}: {error}") from None


def _failed(response: httpx.Response | None, failure: httpx.TransportError | None, url: httpx.URL) -> ClientError:
    if response is None:
        return ClientError(f"the service at {url} cannot be reached: {type(failure).__name__}")
    try:
        problem = response.json()
        kind, detail = str(problem["type"]).removeprefix("urn:mien:"), str(problem["detail"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return ClientError(f"{response.url} answered {response.status_code}, and not as this service does")
    return ServiceError(response.status_code, kind, detail)
