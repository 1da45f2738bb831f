"""Micro-batching: what several requests want of the network at about the same time is done in one go."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

from mien.service.inference.worker_pool import Cores, Order

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    size: int
    since: float
    result: "asyncio.Future[Result]"


class Batcher(Generic[Item, Result]):
    """Gathers items into batches, and has as many batches worked on at once as there are cores.

    An item does not wait for company where none is coming: a batch leaves as soon as a core may take it and it is full,
    or nothing more is on its way (``expect``), or its first item has waited for the longest wait. While all cores have
    a batch, the next ones grow.

    Belongs to one event loop. How much waits is limited by who lets requests in (``Admission``).
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Result | Exception]],
        cores: Cores,
        *,
        batch_size: int,
        longest_wait_s: float,
    ) -> None:
        """Make an empty queue.

        Args:
            work: answers a batch, one result per item in the same order, or what is wrong with the item; called on a
                core.
            cores: where.
            batch_size: a batch takes no further item that would make it larger; a single larger item goes alone.
            longest_wait_s: how long an item waits for others that are on their way.
        """
        self._work = work
        self._cores = cores
        self._batch_size = batch_size
        self._longest_wait_s = longest_wait_s
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._waiting_size = 0
        self._coming = 0
        self._running = 0
        self._looking: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def expect(self) -> Iterator[None]:
        """While this is open, one more item is on its way."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._look_soon()

    async def ask(self, item: Item, size: int) -> Result:
        """The result of ``item``, which counts for ``size`` in its batch.

        Raises:
            Exception: what ``work`` raised on the batch, or gave for the item.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(item, size, loop.time(), result))
        self._waiting_size += size
        self._look_soon()
        return await result

    def _look_soon(self) -> None:
        """Look after what is being done now: an item that was expected may be about to be asked for."""
        if self._looking is None and self._waiting:
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = None
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < len(self._cores):
            left_s = self._waiting[0].since + self._longest_wait_s - loop.time()
            if self._coming and left_s > 0 and self._waiting_size < self._batch_size:
                if self._alarm is None:
                    self._alarm = loop.call_later(left_s, self._ring)
                return
            self._send()

    def _ring(self) -> None:
        self._alarm = None
        self._look()

    def _send(self) -> None:
        batch: list[_Waiting[Item, Result]] = []
        size = 0
        while self._waiting and (not batch or size + self._waiting[0].size <= self._batch_size):
            first = self._waiting.popleft()
            self._waiting_size -= first.size
            if not first.result.done():  # whoever asked may have given up
                batch.append(first)
                size += first.size
        if not batch:
            return
        loop = asyncio.get_running_loop()
        self._running += 1
        done = self._cores.submit(Order.ANSWER, lambda: self._work([each.item for each in batch]))
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
        self._look()
