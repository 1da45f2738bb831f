"""The threads that do the work: one per core, and what is nearest to an answer first.

ONNX Runtime and FAISS run single-threaded inside them. One pool for every stage means that the cores are shared out
once: decoding, detection, embedding and search never compete for them with more threads than there are cores.
"""

import asyncio
import contextvars
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from typing import Any, TypeVar

from mien.index.gallery.vectors.flat import search_single_threaded

Answer = TypeVar("Answer")


class Order(IntEnum):
    """What a free core takes first."""

    ANSWER = 0  # embed and search: the next step is the answer
    READ = 1  # decode and detect
    STOP = 2


class Cores:
    """A pool of threads with an order. Its queue is as long as the work that its users let in (``Admission``)."""

    def __init__(self, threads: int) -> None:
        """Make a pool of ``threads``, which run from ``start`` to ``stop``."""
        self._jobs: queue.PriorityQueue[tuple[int, int, Future[Any], Callable[[], Any]]] = queue.PriorityQueue()
        self._count = itertools.count()
        self._threads = [
            threading.Thread(target=self._work, name=f"core-{number}", daemon=True) for number in range(threads)
        ]

    def __len__(self) -> int:
        return len(self._threads)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads once nothing waits any more, and wait for them."""
        for _ in self._threads:
            self.submit(Order.STOP, lambda: None)
        for thread in self._threads:
            thread.join()

    def submit(self, order: Order, job: Callable[[], Answer]) -> "Future[Answer]":
        """Have ``job`` done; a future that is cancelled before a core is free is never worked on."""
        future: Future[Answer] = Future()
        context = contextvars.copy_context()  # the log and the traces know whom a core works for
        self._jobs.put((order, next(self._count), future, lambda: context.run(job)))
        return future

    async def run(self, order: Order, job: Callable[[], Answer]) -> Answer:
        """As ``submit``, for the event loop."""
        return await asyncio.wrap_future(self.submit(order, job))

    def _work(self) -> None:
        search_single_threaded()
        while True:
            order, _, future, job = self._jobs.get()
            if order == Order.STOP:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001  whoever waits for the answer gets it
                future.set_exception(error)
            # Nothing of a request stays behind while a thread waits for the next one.
            del future, job
