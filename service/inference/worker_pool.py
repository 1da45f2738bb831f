"""The threads that do the work: one per core, and a queue in front of them in which the job nearest an answer is first.

ONNX Runtime and FAISS run single-threaded inside them. One pool for decoding, detection, embedding and search means
that these never compete for the cores with more threads than there are cores.
"""

import asyncio
import contextvars
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from enum import IntEnum
from typing import Any, TypeVar

from mien.index.deadline import DEADLINE_S
from mien.index.gallery.vectors.flat import search_single_threaded

Item = TypeVar("Item")
Result = TypeVar("Result")


class Priority(IntEnum):
    """What a free thread takes first."""

    ANSWER = 0  # embed and search: the answer is the next step
    READ = 1  # decode and detect
    VIEW = 2  # pictures that are not of the request's image: portraits, explanations
    STOP = 3


def split(items: Sequence[Item], threads: int, most: int) -> list[Sequence[Item]]:
    """Items in jobs of at most ``most``, and for each of some threads at least two, so that they end together."""
    size = max(1, min(most, -(-len(items) // (2 * threads))))
    return [items[start : start + size] for start in range(0, len(items), size)]


class WorkerPool:
    """A thread pool with priorities. ``mien.service.inference.admission`` bounds what waits in its queue."""

    def __init__(self, threads: int) -> None:
        """Make a pool of ``threads``, which run from ``start`` to ``stop``."""
        self._jobs: queue.PriorityQueue[tuple[int, int, Future[Any], Callable[[], Any]]] = queue.PriorityQueue()
        self._count = itertools.count()
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True) for number in range(threads)
        ]
        self._began_s: dict[str, float] = {}  # of the job that each thread does

    def __len__(self) -> int:
        return len(self._threads)

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    @property
    def stuck_s(self) -> float:
        """For how long every thread has been at work on one job; 0 while one of them is free."""
        began_s = list(self._began_s.values())
        return time.monotonic() - max(began_s) if len(began_s) == len(self._threads) else 0.0

    def stop(self, within_s: float | None = None) -> None:
        """Do all jobs that wait, then end the threads; those that are not done ``within_s`` end with the process."""
        for _ in self._threads:
            self.submit(Priority.STOP, lambda: None)
        deadline_s = None if within_s is None else time.monotonic() + within_s
        for thread in self._threads:
            thread.join(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))

    def submit(self, priority: Priority, job: Callable[[], Result]) -> "Future[Result]":
        """Put ``job`` into the queue; it is skipped if its future is cancelled before a thread takes it."""
        future: Future[Result] = Future()
        context = contextvars.copy_context()  # carries the request's id and its span to the worker
        if priority == Priority.ANSWER:  # a batch answers several requests: it has the deadline of none
            context.run(DEADLINE_S.set, None)
        self._jobs.put((priority, next(self._count), future, lambda: context.run(job)))
        return future

    async def run(self, priority: Priority, job: Callable[[], Result]) -> Result:
        """The result of ``job``, for the event loop."""
        return await asyncio.wrap_future(self.submit(priority, job))

    def share(self, priority: Priority, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """The result of ``function`` for each of some items, for a job of the pool, with the threads that are free.

        The job does what no other thread does: it waits only for items that another has begun.

        Raises:
            Exception: what ``function`` raised.
        """
        results: dict[int, Result] = {}
        rows = itertools.count()

        def work() -> None:
            while (row := next(rows)) < len(items):
                results[row] = function(items[row])

        helpers = [self.submit(priority, work) for _ in range(min(len(self), len(items)) - 1)]
        try:
            work()
        finally:
            for _ in items:  # none is begun after an error
                next(rows)
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()
        return [results[row] for row in range(len(items))]

    def _work(self) -> None:
        search_single_threaded()
        name = threading.current_thread().name
        while True:
            priority, _, future, job = self._jobs.get()
            if priority == Priority.STOP:
                return
            if not future.set_running_or_notify_cancel():
                continue
            self._began_s[name] = time.monotonic()
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001  it is raised where the result is awaited
                del self._began_s[name]
                future.set_exception(error)
            else:
                del self._began_s[name]
                future.set_result(result)
                del result
            # A thread that waits for its next job must not keep the last request in memory.
            del future, job
