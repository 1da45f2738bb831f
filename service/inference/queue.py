"""The queue in front of an engine: ``LoadedEngine.predict`` takes a query, and waits for its prediction.

Micro-batching: the faces of several requests that come at about the same time go through the network together.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar

from mien.index.errors import QueryError
from mien.model.errors import ImageError, MienError, NoFaceError
from mien.model.faces.heads import is_plain
from mien.model.faces.reader import Face
from mien.service.inference.engine import Engine
from mien.service.inference.frame_predictions import FramePredictions
from mien.service.inference.prediction import ImageQuery, InferenceRequest, Prediction
from mien.service.inference.reader_pool import ReaderPool
from mien.service.inference.worker_pool import Priority, WorkerPool

Group = tuple[InferenceRequest, ...]
"""Requests that go through the network together."""

MIN_GROUP_FACES: Final = 4
"""A request's crops are spread over free cores in groups of at least so many: what a batch costs once is small then."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    size: int
    since_s: float
    result: "asyncio.Future[Result]"


class Batcher(Generic[Item, Result]):
    """Gathers items into batches, and has as many batches worked on at once as the pool has threads.

    A single item does not wait: a batch leaves as soon as a thread may take it and it is full, or no other
    item is announced, or its first item has waited for the longest wait. While every thread has a batch, the next ones
    grow.

    Belongs to one event loop. ``mien.service.inference.admission`` bounds how much waits.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Result | Exception]],
        pool: WorkerPool,
        *,
        batch_size: int,
        max_wait_s: float,
    ) -> None:
        """Make an empty queue.

        Args:
            work: returns one result for each item of a batch, in the same order, or the error of the item; called in
                a thread of the pool.
            pool: its threads work on the batches.
            batch_size: a batch takes no further item that would make it larger; a single larger item goes alone.
            max_wait_s: how long an item waits for others that are announced.
        """
        self._work = work
        self._pool = pool
        self._batch_size = batch_size
        self._max_wait_s = max_wait_s
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._waiting_size = 0
        self._announced = 0
        self._running = 0
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def free_threads(self) -> int:
        """How many threads of the pool have no batch."""
        return max(0, len(self._pool) - self._running)

    @contextmanager
    def announce(self) -> Iterator[None]:
        """Announce one more item for as long as the ``with`` block runs."""
        self._announced += 1
        try:
            yield
        finally:
            self._announced -= 1
            self._dispatch_soon()

    async def submit(self, item: Item, size: int) -> Result:
        """The result of ``item``, which counts as ``size`` in its batch.

        Raises:
            Exception: what ``work`` raised for the batch, or returned for the item.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(item, size, loop.time(), result))
        self._waiting_size += size
        self._dispatch_soon()
        return await result

    def _dispatch_soon(self) -> None:
        """Dispatch after the current step of the loop, in which an item that was announced may be submitted."""
        if self._soon is None and self._waiting:
            self._soon = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._soon = None
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < len(self._pool):
            left_s = self._waiting[0].since_s + self._max_wait_s - loop.time()
            if self._announced and left_s > 0 and self._waiting_size < self._batch_size:
                if self._timer is None:
                    self._timer = loop.call_later(left_s, self._on_timeout)
                return
            self._start_batch()

    def _on_timeout(self) -> None:
        self._timer = None
        self._dispatch()

    def _start_batch(self) -> None:
        batch: list[_Waiting[Item, Result]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._batch_size):
            first = self._waiting.popleft()
            self._waiting_size -= first.size
            if not first.result.done():  # it may have been cancelled
                batch.append(first)
                size += first.size
        if not batch:
            return
        loop = asyncio.get_running_loop()
        self._running += 1
        done = self._pool.submit(Priority.ANSWER, lambda: self._work([each.item for each in batch]))
        done.add_done_callback(lambda done: loop.call_soon_threadsafe(self._deliver, batch, done))

    def _deliver(self, batch: "list[_Waiting[Item, Result]]", done: "Future[Sequence[Result | Exception]]") -> None:
        self._running -= 1
        error = done.exception()
        results: Sequence[Any] = [error] * len(batch) if error else done.result()
        for each, result in zip(batch, results, strict=True):
            if each.result.done():
                continue
            if isinstance(result, BaseException):
                each.result.set_exception(result)
            else:
                each.result.set_result(result)
        self._dispatch()


class LoadedEngine:
    """An engine behind its queue. A request keeps the one it began with, even if another is loaded meanwhile.

    Attributes:
        engine: the engine.
        failures: batches that failed one after the other, up to now.
        readers: the processes that read pictures.
    """

    def __init__(
        self, engine: Engine, pool: WorkerPool, readers: ReaderPool, *, batch_size: int, max_wait_s: float
    ) -> None:
        """Put an empty queue in front of ``engine``, whose pictures ``readers`` read; see ``Batcher``."""
        self.engine = engine
        self.failures = 0
        self._pool = pool
        self.readers = readers
        self._batch_size = batch_size
        self._batcher: Batcher[Group, list[Prediction | ImageError]] = Batcher(
            self._predict_groups, pool, batch_size=batch_size, max_wait_s=max_wait_s
        )

    async def predict(self, query: ImageQuery | InferenceRequest) -> Prediction:
        """Predict an image, or faces or points, in a batch with those of other requests.

        Raises:
            ImageError: the image cannot be used, or has no face.
            QueryError: a next page is asked for, and the image has several faces.
        """
        if isinstance(query, InferenceRequest):
            return await self._submit(query)
        (prediction,) = await self.predict_all([query])
        if isinstance(prediction, ImageError):
            raise prediction
        return prediction

    async def predict_all(self, queries: Sequence[ImageQuery]) -> list[Prediction | ImageError]:
        """Predict the images of one request, on every core.

        Face crops are decoded and embedded in as few batches as keep the cores busy: none of them waits for the others.

        Returns:
            One prediction for each, in their order, or why the image cannot be used.

        Raises:
            QueryError: a next page is asked for, and an image has several faces.
        """
        in_batch = [_is_decoded_in_batch(query) for query in queries]
        rows = [row for row, is_crop in enumerate(in_batch) if is_crop]
        requests = [replace(_request(queries[row]), crop_file=queries[row].file) for row in rows]
        found: list[Prediction | ImageError | None] = [None] * len(queries)

        async def predict_group(start: int, end: int) -> None:
            # One of several groups counts as a full batch, or the batcher would put them together again.
            size = end - start if end - start == len(rows) else self._batch_size
            predictions = await self._submit_group(tuple(requests[start:end]), size)
            for row, each in zip(rows[start:end], predictions, strict=True):
                found[row] = each

        async def predict_photograph(row: int) -> None:
            try:
                found[row] = await self._predict_photograph(queries[row])
            except ImageError as error:
                found[row] = error

        bounds = self._bounds_of_groups(len(rows))
        work = [predict_group(start, end) for start, end in pairwise(bounds)]
        work += [predict_photograph(row) for row, is_crop in enumerate(in_batch) if not is_crop]
        if len(work) == 1:  # without a task of its own
            await work[0]
        else:
            await asyncio.gather(*work)
        return [each for each in found if each is not None]

    def _bounds_of_groups(self, count: int) -> list[int]:
        """Where the groups of so many crops begin and the last one ends: one for each free core, if it pays."""
        groups = max(-(-count // self._batch_size), min(self._batcher.free_threads, count // MIN_GROUP_FACES))
        return [count * number // max(1, groups) for number in range(groups + 1)]

    async def _predict_photograph(self, query: ImageQuery) -> Prediction:
        faces = await self.read_faces(query)
        if query.options.after is not None and len(faces) != 1:
            raise QueryError(f"a next page is of one face: expected faces=largest, got {len(faces)} faces")
        return await self._submit(replace(_request(query), faces=faces))

    async def read_faces(self, query: ImageQuery) -> list[Face]:
        """The faces of an image, largest first, read by another process.

        Raises:
            ImageError: the image cannot be used, or has no face.
        """
        most = query.max_faces or sys.maxsize
        thumbnails = most if query.thumbnails else 0
        with self._batcher.announce():
            faces = await self.readers.read_faces(
                query.file, already_cropped=query.already_cropped, thumbnails=thumbnails, max_faces=most
            )
        self.engine.metrics.faces_per_image.observe(len(faces))
        return faces

    async def predict_frame(self, read_faces: Callable[[], list[Face]], known: FramePredictions) -> Prediction | None:
        """Predict one frame of many, whose faces ``read_faces`` reads in the pool; None where it has none.

        Those that ``known`` has of the last frame are not embedded again.
        """
        try:
            with self._batcher.announce():
                faces = await self._pool.run(Priority.READ, read_faces)
        except NoFaceError:
            faces = []
        unknown = known.unknown(faces)
        return known.complete(faces, await self._submit(InferenceRequest(faces=unknown)) if unknown else None)

    async def _submit(self, request: InferenceRequest) -> Prediction:
        """Submit a request to the batcher; one with more faces than a batch has, in parts."""
        size = self._batch_size
        if len(request.faces) <= size:
            return await self._submit_part(request)
        parts = [
            replace(request, faces=request.faces[start : start + size]) for start in range(0, len(request.faces), size)
        ]
        return Prediction.concatenate(await asyncio.gather(*(self._submit_part(part) for part in parts)))

    async def _submit_part(self, request: InferenceRequest) -> Prediction:
        (prediction,) = await self._submit_group((request,), len(request))
        if isinstance(prediction, ImageError):
            raise prediction
        return prediction

    async def _submit_group(self, group: Group, size: int) -> list[Prediction | ImageError]:
        try:
            predictions = await self._batcher.submit(group, size)
        except MienError:
            raise
        except Exception:
            self.failures += 1
            raise
        self.failures = 0
        return predictions

    def _predict_groups(self, groups: list[Group]) -> Sequence[list[Prediction | ImageError] | MemoryError]:
        try:
            predictions = iter(self.engine.predict([request for group in groups for request in group]))
        except MemoryError:
            if len(groups) == 1:
                raise
            return [self._predict_alone(group) for group in groups]
        return [list(islice(predictions, len(group))) for group in groups]

    def _predict_alone(self, group: Group) -> list[Prediction | ImageError] | MemoryError:
        """One group of a batch for which the memory was not enough: it may be for most of them."""
        try:
            return self.engine.predict(group)
        except MemoryError as error:
            return error


def _is_decoded_in_batch(query: ImageQuery) -> bool:
    """Whether an image is one face that is decoded where it is embedded: that saves the way to another process."""
    return query.already_cropped and not query.thumbnails and is_plain(query.file)


def _request(query: ImageQuery) -> InferenceRequest:
    """The request of an image, still without faces or file."""
    return InferenceRequest(
        k=query.k, options=query.options, prior=query.prior, photographs=query.photographs, summary=query.summary
    )
