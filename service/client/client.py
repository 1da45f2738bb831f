"""The client that waits for each answer."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from mien.service.answers.video import VideoLine
from mien.service.client import gallery_operations, operations, space_operations
from mien.service.client.batches import Batches, Steps, count_items
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

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")


def _answer(operation: Callable[P, Steps[Result]]) -> Callable[Concatenate["Client", P], Result]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        (result,) = client._run(operation(*args, **kwargs))
        return result

    return document(method, operation)


def _iterator(operation: Callable[P, Steps[Result]]) -> Callable[Concatenate["Client", P], Iterator[Result]]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Result]:
        return client._run(operation(*args, **kwargs))

    return document(method, operation)


def _batches(operation: Callable[P, Batches[Item, Result]]) -> Callable[Concatenate["Client", P], Iterator[Result]]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Result]:
        work = operation(*args, **kwargs)
        with work.progress as advance:
            for batch in work.batches:
                for result in client._run(work.steps(batch)):
                    advance(count_items(result))
                    yield result

    return document(method, operation)


def _lines(operation: Callable[P, VideoLines]) -> Callable[Concatenate["Client", P], Iterator[VideoLine]]:
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[VideoLine]:
        lines = operation(*args, **kwargs)
        with (
            closing(client._send(lines.request(), stream=True)) as response,
            suppress(httpx.TransportError),
        ):  # check_end raises
            yield from map(lines.read, response.iter_lines())
        lines.check_end()

    return document(method, operation)


class Client:
    """A client of the service that waits for each answer. Thread-safe.

    A request is sent again, after a growing pause, if the service is too busy (503), if it gets too many requests
    (429), or if it cannot be reached.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Open a client.

        Args:
            url: the address of the service.
            key: an API key, if the service needs one.
            timeout_s: longest time of one answer.
            retries: when a request is sent again.
        """
        self._http = httpx.Client(base_url=address(url), headers=headers(key), timeout=timeout_s)
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    classify = _answer(operations.classify)
    retrieve = _answer(operations.retrieve)
    embed = _answer(operations.embed)
    nearest = _answer(operations.nearest)
    matches = _iterator(operations.matches)
    classify_all = _batches(operations.classify_all)
    retrieve_all = _batches(operations.retrieve_all)
    embed_all = _batches(operations.embed_all)
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
    add = _batches(gallery_operations.add)

    def _run(self, steps: Steps[Result]) -> Iterator[Result]:
        step = next(steps, None)
        while step is not None:
            if isinstance(step, list):
                yield from step
                step = next(steps, None)
                continue
            try:
                response = self._send(step)
            except ServiceError as error:
                step = steps.throw(error)
            else:
                step = steps.send(response)

    def _send(self, request: Request, *, stream: bool = False) -> httpx.Response:
        steps = attempts(self._retries if request.retried else NO_RETRIES, self._http.base_url)
        pause_s = next(steps)
        while True:
            time.sleep(pause_s)
            try:
                pause_s = steps.send(self._attempt(request, stream=stream))
            except StopIteration as end:
                response: httpx.Response = end.value
                return response

    def _attempt(self, request: Request, *, stream: bool) -> httpx.Response | httpx.TransportError:
        try:
            response = self._http.send(
                self._http.build_request(request.method, request.path, **request.options), stream=stream
            )
            if not response.is_success:
                with closing(response):
                    response.read()
        except httpx.TransportError as error:
            return error
        return response
