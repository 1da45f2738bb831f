"""The client to await."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, Unpack

import httpx

from mien.model.faces.pictures import Image
from mien.service.answers.faces import Classification, Embedding, Retrieval
from mien.service.answers.gallery import Added
from mien.service.answers.options import AdditionOptions, ClassificationBatchOptions, RetrievalBatchOptions
from mien.service.answers.video import VideoLine
from mien.service.client import gallery_operations, operations, space_operations
from mien.service.client.batches import Batch, Batches, NewFace, Steps, count_items
from mien.service.client.methods import document
from mien.service.client.operations import VideoLines
from mien.service.client.requests import (
    DEFAULT_RETRIES,
    NO_RETRIES,
    Request,
    Retries,
    address,
    attempts,
    headers,
)
from mien.service.client.responses import ServiceError

AT_ONCE: Final = 4
"""Requests that are on their way at the same time."""

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


def _answer(
    operation: Callable[P, Steps[Result]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, Result]]:
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        (result,) = [result async for result in client._run(operation(*args, **kwargs))]
        return result

    return document(method, operation)


def _iterator(operation: Callable[P, Steps[Result]]) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[Result]]:
    def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Result]:
        return client._run(operation(*args, **kwargs))

    return document(method, operation)


def _lines(operation: Callable[P, VideoLines]) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[VideoLine]]:
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[VideoLine]:
        lines = operation(*args, **kwargs)
        response = await client._send(await asyncio.to_thread(lines.request), stream=True)
        async with aclosing(response):
            with suppress(httpx.TransportError):  # check_end raises
                async for line in response.aiter_lines():
                    yield lines.read(line)
        lines.check_end()

    return document(method, operation)


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
        """Open a client: the arguments are those of ``Client``."""
        self._http = httpx.AsyncClient(base_url=address(url), headers=headers(key), timeout=timeout_s)
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    classify = _answer(operations.classify)
    retrieve = _answer(operations.retrieve)
    embed = _answer(operations.embed)
    nearest = _answer(operations.nearest)
    matches = _iterator(operations.matches)
    classify_video = _lines(operations.classify_video)
    explain = _answer(space_operations.explain)
    explain_point = _answer(space_operations.explain_point)
    portrait = _answer(space_operations.portrait)
    portraits = _answer(space_operations.portraits)
    space_map = _answer(space_operations.space_map)
    atlas = _answer(space_operations.atlas)
    info = _answer(space_operations.info)
    is_ready = _answer(space_operations.is_ready)
    reload = _answer(space_operations.reload)
    gallery = _iterator(gallery_operations.gallery)
    statistics = _answer(gallery_operations.statistics)
    get_face = _answer(gallery_operations.get_face)
    thumbnails = _answer(gallery_operations.thumbnails)
    update_face = _answer(gallery_operations.update_face)
    delete_face = _answer(gallery_operations.delete_face)
    delete_faces = _answer(gallery_operations.delete_faces)

    def classify_all(
        self,
        images: Iterable[Image],
        *,
        at_once: int = AT_ONCE,
        **options: Unpack[ClassificationBatchOptions],
    ) -> AsyncIterator[Classification | ServiceError]:
        """As ``Client.classify_all``, with ``at_once`` requests on their way; answers come in the order of images."""
        return self._run_batches(operations.classify_all(images, **options), at_once)

    def retrieve_all(
        self, images: Iterable[Image], *, k: int = 10, at_once: int = AT_ONCE, **options: Unpack[RetrievalBatchOptions]
    ) -> AsyncIterator[Retrieval | ServiceError]:
        """As ``Client.retrieve_all``, with ``at_once`` requests on their way."""
        return self._run_batches(operations.retrieve_all(images, k=k, **options), at_once)

    def embed_all(
        self, images: Iterable[Image], *, at_once: int = AT_ONCE, **options: Unpack[ClassificationBatchOptions]
    ) -> AsyncIterator[Embedding | ServiceError]:
        """As ``Client.embed_all``, with ``at_once`` requests on their way."""
        return self._run_batches(operations.embed_all(images, **options), at_once)

    def add(
        self,
        faces: Iterable[NewFace],
        *,
        replace: bool = False,
        at_once: int = AT_ONCE,
        **options: Unpack[AdditionOptions],
    ) -> AsyncIterator[Added]:
        """As ``Client.add``, with ``at_once`` requests on their way: some after a refused one may be kept."""
        return self._run_batches(gallery_operations.add(faces, replace=replace, **options), at_once)

    async def _run_batches(self, work: Batches[Item, Result], at_once: int) -> AsyncIterator[Result]:
        async def run(batch: Batch[Item]) -> list[Result]:
            return [result async for result in self._run(work.steps(batch))]

        running: list[asyncio.Task[list[Result]]] = []
        with work.progress as advance:
            try:
                while True:
                    while len(running) < at_once and (batch := await asyncio.to_thread(next, work.batches, None)):
                        running.append(asyncio.create_task(run(batch)))
                    if not running:
                        return
                    for result in await running.pop(0):
                        advance(count_items(result))
                        yield result
            finally:
                for task in running:
                    task.cancel()

    async def _run(self, steps: Steps[Result]) -> AsyncIterator[Result]:
        step = await asyncio.to_thread(next, steps, None)  # the first step may read a file
        while step is not None:
            if isinstance(step, list):
                for result in step:
                    yield result
                step = next(steps, None)
                continue
            try:
                response = await self._send(step)
            except ServiceError as error:
                step = steps.throw(error)
            else:
                step = steps.send(response)

    async def _send(self, request: Request, *, stream: bool = False) -> httpx.Response:
        steps = attempts(self._retries if request.retried else NO_RETRIES, self._http.base_url)
        pause_s = next(steps)
        while True:
            await asyncio.sleep(pause_s)
            try:
                pause_s = steps.send(await self._attempt(request, stream=stream))
            except StopIteration as end:
                response: httpx.Response = end.value
                return response

    async def _attempt(self, request: Request, *, stream: bool) -> httpx.Response | httpx.TransportError:
        try:
            response = await self._http.send(
                self._http.build_request(request.method, request.path, **request.options), stream=stream
            )
            if not response.is_success:
                await response.aread()
                await response.aclose()
        except httpx.TransportError as error:
            return error
        return response
