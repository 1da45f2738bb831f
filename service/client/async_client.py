"""The client to await."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from mien.service.client import requests
from mien.service.client.answers import (
    Added,
    Classification,
    ClientError,
    Embedding,
    FoundMatch,
    GalleryFace,
    PointRetrieval,
    Retrieval,
    ServiceError,
    VideoEnd,
)
from mien.service.client.batches import (
    BATCH_IMAGES,
    Batch,
    NewFace,
    OnProgress,
    Tell,
    addition_request,
    batches,
    images_request,
    is_too_large,
    progress_of,
    read_images,
)
from mien.service.client.requests import (
    DEFAULT_RETRIES,
    PAGE,
    Filter,
    GalleryPages,
    Image,
    Kind,
    MatchPages,
    Parameters,
    Query,
    Request,
    Retries,
    VideoLine,
    bytes_of,
    image_parameters,
)

AT_ONCE: Final = 4
"""Requests that are on their way together."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class AsyncClient:
    """As ``Client``, to await. Belongs to one event loop."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Ask the service at ``url``: the arguments are those of ``Client``."""
        self._http = httpx.AsyncClient(base_url=url, headers=requests.headers(key), timeout=timeout_s)
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
        parameters = image_parameters(already_cropped=already_cropped)
        request = await asyncio.to_thread(requests.image_request, "/classify", image, parameters)
        return requests.read(Classification, await self._send(request))

    async def retrieve(self, image: Image, *, k: int = 10, already_cropped: bool = False) -> Retrieval:
        """As ``Client.retrieve``."""
        parameters = image_parameters(already_cropped=already_cropped, k=k)
        request = await asyncio.to_thread(requests.image_request, "/retrieve", image, parameters)
        return requests.read(Retrieval, await self._send(request))

    async def embed(self, image: Image, *, already_cropped: bool = False) -> Embedding:
        """As ``Client.embed``."""
        parameters = image_parameters(already_cropped=already_cropped)
        request = await asyncio.to_thread(requests.image_request, "/embed", image, parameters)
        return requests.read(Embedding, await self._send(request))

    async def classify_video(
        self, video: Image, *, fps: float = 5.0, already_cropped: bool = False
    ) -> AsyncIterator[VideoLine]:
        """As ``Client.classify_video``."""
        parameters = image_parameters(already_cropped=already_cropped)
        request = await asyncio.to_thread(requests.video_request, video, parameters, fps)
        ended = False
        response = await self._send(request, stream=True)
        try:
            async for line in response.aiter_lines():
                answer = requests.video_line(line)
                ended = isinstance(answer, VideoEnd)
                yield answer
        except httpx.TransportError:
            raise ClientError(requests.CUT_OFF) from None
        finally:
            await response.aclose()
        if not ended:
            raise ClientError(requests.CUT_OFF)

    async def nearest(self, query: Query, *, k: int = 10, filter: Filter | None = None) -> PointRetrieval:  # noqa: A002
        """As ``Client.nearest``."""
        return requests.read(PointRetrieval, await self._send(requests.query_request(query, k, filter)))

    async def matches(
        self,
        query: Query,
        *,
        filter: Filter | None = None,  # noqa: A002
        page: int = PAGE,
    ) -> AsyncIterator[FoundMatch]:
        """As ``Client.matches``."""
        pages = MatchPages(query, filter, page)
        while (request := pages.request()) is not None:
            for match in pages.read(await self._send(request)):
                yield match

    async def gallery(self, *, filter: Filter | None = None, page: int = PAGE) -> AsyncIterator[GalleryFace]:  # noqa: A002
        """As ``Client.gallery``."""
        pages = GalleryPages(filter, page)
        while (request := pages.request()) is not None:
            for face in pages.read(await self._send(request)):
                yield face

    def classify_all(
        self,
        images: Iterable[Image],
        *,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        at_once: int = AT_ONCE,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[Classification | ServiceError]:
        """As ``Client.classify_all``, with ``at_once`` requests on their way; answers come in the order of images."""
        parameters = image_parameters(already_cropped=already_cropped)
        telling = progress_of(images, progress=progress, on_progress=on_progress)
        return self._all(
            Classification, "/classify", batches(images, bytes_of, batch), parameters, telling, at_once=at_once
        )

    def retrieve_all(
        self,
        images: Iterable[Image],
        *,
        k: int = 10,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        at_once: int = AT_ONCE,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[Retrieval | ServiceError]:
        """As ``Client.retrieve_all``, with ``at_once`` requests on their way."""
        parameters = image_parameters(already_cropped=already_cropped, k=k)
        telling = progress_of(images, progress=progress, on_progress=on_progress)
        return self._all(Retrieval, "/retrieve", batches(images, bytes_of, batch), parameters, telling, at_once=at_once)

    def embed_all(
        self,
        images: Iterable[Image],
        *,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        at_once: int = AT_ONCE,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[Embedding | ServiceError]:
        """As ``Client.embed_all``, with ``at_once`` requests on their way."""
        parameters = image_parameters(already_cropped=already_cropped)
        telling = progress_of(images, progress=progress, on_progress=on_progress)
        return self._all(Embedding, "/embed", batches(images, bytes_of, batch), parameters, telling, at_once=at_once)

    async def add(
        self,
        faces: Iterable[NewFace],
        *,
        replace: bool = False,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        at_once: int = AT_ONCE,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> AsyncIterator[Added]:
        """As ``Client.add``, with ``at_once`` requests on their way: after a refusal, some behind it may be kept."""
        with progress_of(faces, progress=progress, on_progress=on_progress) as tell:
            parts = batches(faces, NewFace.file, batch)
            ask = partial(self._add, replace=replace, already_cropped=already_cropped)
            async for answers in _in_order(parts, at_once, ask):
                for answer in answers:
                    tell(len(answer.ids))
                    yield answer

    async def _all(
        self,
        kind: type[Kind],
        path: str,
        parts: Iterator[Batch[Image]],
        parameters: Parameters,
        telling: AbstractContextManager[Tell],
        *,
        at_once: int,
    ) -> AsyncIterator[Kind | ServiceError]:
        with telling as tell:
            async for answers in _in_order(parts, at_once, lambda part: self._ask(kind, path, part, parameters)):
                for answer in answers:
                    tell(1)
                    yield answer

    async def _ask(
        self, kind: type[Kind], path: str, part: Batch[Image], parameters: Parameters
    ) -> list[Kind | ServiceError]:
        try:
            return read_images(kind, await self._send(images_request(path, part, parameters)))
        except ServiceError as error:
            if is_too_large(error, part):
                return [answer for half in part.halves() for answer in await self._ask(kind, path, half, parameters)]
            if len(part.items) > 1:
                raise
            return [error]

    async def _add(self, part: Batch[NewFace], *, replace: bool, already_cropped: bool) -> list[Added]:
        try:
            request = addition_request(part, already_cropped=already_cropped, replace=replace)
            return [requests.read(Added, await self._send(request))]
        except ServiceError as error:
            if not is_too_large(error, part):
                raise
            first, second = part.halves()
            return [
                *await self._add(first, replace=replace, already_cropped=already_cropped),
                *await self._add(second, replace=replace, already_cropped=already_cropped),
            ]

    async def _send(self, request: Request, *, stream: bool = False) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            response, failure = None, None
            try:
                built = self._http.build_request(request.method, request.path, **request.options)
                response = await self._http.send(built, stream=stream)
                if stream and not response.is_success:
                    await response.aread()
                    await response.aclose()
            except httpx.TransportError as error:
                failure = error
            if response is not None and response.is_success:
                return response
            pause_s = self._retries.pause_s(attempt, response)
            if pause_s is None:
                raise requests.failed(response, failure, self._http.base_url)
            await asyncio.sleep(pause_s)


async def _in_order(
    parts: Iterator[Batch[Item]], at_once: int, ask: Callable[[Batch[Item]], Coroutine[Any, Any, Result]]
) -> AsyncIterator[Result]:
    """The answers for batches, in their order, with several on their way."""
    waiting: list[asyncio.Task[Result]] = []
    try:
        while True:
            while len(waiting) < at_once and (part := await asyncio.to_thread(next, parts, None)) is not None:
                waiting.append(asyncio.create_task(ask(part)))
            if not waiting:
                return
            yield await waiting.pop(0)
    finally:
        for task in waiting:
            task.cancel()
