"""Other work than images: the gallery, the map, portraits and explanations, admitted by its cost and in turns."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from mien.index.deadline import DEADLINE_S
from mien.index.gallery.filters import Filter, OneOf, leaves
from mien.service.errors import TooLateError
from mien.service.inference.admission import CALLER, Limit
from mien.service.inference.turns import Turns
from mien.service.inference.worker_pool import Priority, WorkerPool

GALLERY_THREADS: Final = 8
"""Threads that wait for the database, of which one caller has at most all but two."""

Result = TypeVar("Result")


class OtherWork:
    """Runs the work of requests in threads. Belongs to one event loop.

    What a job holds it holds until it ends: a thread cannot be ended, and whoever gives up on one and asks again must
    not have two.
    """

    def __init__(self, pool: WorkerPool, limit: Limit, max_s: float) -> None:
        """Work in the threads of the gallery, and in those of ``pool``, of which at most half are used.

        Args:
            pool: whose jobs for answers and images go first.
            limit: units of work at once.
            max_s: how long a job may take where its request has no deadline, seconds.
        """
        self._pool = pool
        self._limit = limit
        self._max_s = max_s
        self._threads = ThreadPoolExecutor(GALLERY_THREADS, "gallery")
        self._gallery_turns = Turns(GALLERY_THREADS, GALLERY_THREADS - 2)
        self._view_turns = Turns(max(1, len(pool) // 2))

    async def in_gallery(self, job: Callable[[], Result], cost: int = 1) -> Result:
        """The result of a job on the gallery.

        Args:
            job: looks at the deadline (``mien.index.deadline``) where it may take long.
            cost: in units of work, see ``cost_of_filter``; more than a caller may have counts as that.

        Raises:
            QueueFullError: there is too much work.
            TooLateError: it took too long.
        """
        context = contextvars.copy_context()
        return await self._run(
            self._gallery_turns, lambda: self._threads.submit(context.run, job), min(cost, self._limit.per_caller)
        )

    async def in_views(self, job: Callable[[], Result], cost: int = 1) -> Result:
        """The result of a job that computes a picture or the like; see ``in_gallery``.

        One that is admitted already costs 0.
        """
        return await self._run(
            self._view_turns, lambda: self._pool.submit(Priority.VIEW, job), min(cost, self._limit.per_caller)
        )

    async def _run(self, turns: Turns, submit: "Callable[[], Future[Result]]", cost: int) -> Result:
        loop = asyncio.get_running_loop()
        deadline_s = DEADLINE_S.get()
        left_s = self._max_s if deadline_s is None else deadline_s - time.monotonic()
        timeout = asyncio.timeout(left_s)
        self._limit.take(cost)
        caller, running = CALLER.get(), False

        def end(_: object = None) -> None:
            self._limit.give_back(cost, caller)

        def end_turn(_: object) -> None:
            turns.give_back(caller)
            end()

        try:
            async with timeout:
                await turns.take()
                try:
                    future = submit()
                except BaseException:
                    turns.give_back(caller)
                    raise
                running = True
                future.add_done_callback(lambda done: loop.call_soon_threadsafe(end_turn, done))
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise TooLateError("the answer would have taken longer than it may") from None
        finally:
            if not running:
                end()

    def stop(self) -> None:
        """Wait for the jobs, and end the threads."""
        self._threads.shutdown()


def cost_of_filter(condition: Filter | None) -> int:
    """Units of work that a filter costs: one for each field, which may have to be read, and for every 50 values."""
    if condition is None:
        return 0
    compared = list(leaves(condition))
    values = sum(len(each.values) if isinstance(each, OneOf) else 1 for each in compared)
    return len({each.field for each in compared}) + values // 50
