"""Lanes: other work than images, each kind in its own lane, so that one kind does not hold up another.

The work of a request is admitted by its cost, begins in the turn of its caller, and must end by the deadline.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from mien.index.deadline import DEADLINE_S
from mien.index.gallery.filters import Filter
from mien.index.gallery.store import GalleryStore
from mien.service.errors import TooLateError
from mien.service.inference.admission import CALLER, Admission, Limit
from mien.service.inference.turns import Turns
from mien.service.inference.worker_pool import Priority, WorkerPool

QUERY_THREADS: Final = 8
"""Threads that read the gallery, of which one caller has at most all but two."""

CHANGE_THREADS: Final = 4
"""Threads that write to the gallery, one after the other, of which one caller has at most all but one."""

VALUES_PER_UNIT: Final = 6000
"""Values of a field of faces that are read in one unit of work."""

Result = TypeVar("Result")


class Lane:
    """Runs one kind of work in threads. Belongs to one event loop.

    What a job holds it holds until it ends: a thread cannot be ended, and whoever gives up on one and asks again must
    not have two.
    """

    def __init__(
        self, limit: Limit, turns: Turns, submit: Callable[[Callable[[], Any]], Future[Any]], max_s: float
    ) -> None:
        """An empty lane.

        Args:
            limit: units of work that may be done or wait at once.
            turns: as many places as threads.
            submit: gives a job to a thread, with the context of its caller.
            max_s: how long a job may take where its request has no deadline, seconds.
        """
        self._limit = limit
        self._turns = turns
        self._submit = submit
        self._max_s = max_s

    async def run(self, job: Callable[[], Result], cost: int = 1) -> Result:
        """The result of a job.

        Args:
            job: looks at the deadline (``mien.index.deadline``) where it may take long.
            cost: in units of work; more than 3/8 of what its caller may have counts as that: two leave room for others.

        Raises:
            QueueFullError: there is too much work.
            TooLateError: it took too long.
        """
        deadline_s = DEADLINE_S.get()
        timeout = asyncio.timeout(self._max_s if deadline_s is None else deadline_s - time.monotonic())
        cost = min(cost, max(1, self._limit.per_caller * 3 // 8))
        self._limit.take(cost)
        work = _Work(self._limit, cost, self._turns)
        try:
            async with timeout:
                await self._turns.take()
                work.has_place = True
                future: Future[Result] = self._submit(job)
                work.end_with(future)
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise TooLateError("the answer would have taken longer than it may") from None
        finally:
            if not work.runs:
                work.end()


class _Work:
    """What one job holds."""

    def __init__(self, limit: Limit, cost: int, turns: Turns) -> None:
        self.has_place = self.runs = False
        self._limit, self._cost, self._turns = limit, cost, turns
        self._caller = CALLER.get()

    def end_with(self, future: "Future[Any]") -> None:
        """Hold it until ``future`` is done."""
        loop = asyncio.get_running_loop()
        self.runs = True
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.end))

    def end(self) -> None:
        """Give it back."""
        if self.has_place:
            self._turns.give_back(self._caller)
        self._limit.give_back(self._cost, self._caller)


class Lanes:
    """The lanes of a service.

    Attributes:
        queries: reads of the gallery, the map and the atlas.
        changes: writes to the gallery.
        views: portraits and explanations, which are computed in the pool: images go before them.
    """

    def __init__(self, pool: WorkerPool, admission: Admission, max_s: float) -> None:
        """Lanes with threads of their own, and one through ``pool``, of which it uses at most half."""
        self._executors = [ThreadPoolExecutor(QUERY_THREADS, "queries"), ThreadPoolExecutor(CHANGE_THREADS, "changes")]
        query, change = (_with_context(executor) for executor in self._executors)
        self.queries = Lane(admission.queries, Turns(QUERY_THREADS, QUERY_THREADS - 2), query, max_s)
        self.changes = Lane(admission.changes, Turns(CHANGE_THREADS, CHANGE_THREADS - 1), change, max_s)
        views = Turns(max(1, len(pool) // 2))
        self.views = Lane(admission.views, views, lambda job: pool.submit(Priority.VIEW, job), max_s)

    def stop(self) -> None:
        """Wait for the jobs, and end the threads."""
        for executor in self._executors:
            executor.shutdown()


def cost_of_filter(condition: Filter | None, gallery: GalleryStore) -> int:
    """Units of work that a filter costs."""
    return 0 if condition is None else gallery.values_read(condition) // VALUES_PER_UNIT


def _with_context(executor: ThreadPoolExecutor) -> Callable[[Callable[[], Any]], Future[Any]]:
    return lambda job: executor.submit(contextvars.copy_context().run, job)
