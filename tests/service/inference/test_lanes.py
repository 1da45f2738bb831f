"""Lanes: work is admitted by its cost, in turns, and within the deadline."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from mien.index.deadline import DEADLINE_S, check_deadline
from mien.index.errors import DeadlineError
from mien.index.gallery.filters import parse_filter
from mien.index.gallery.store import SearchOptions
from mien.service.errors import QueueFullError, TooLateError
from mien.service.inference.admission import CALLER, Admission
from mien.service.inference.engine import Engine
from mien.service.inference.lanes import QUERY_THREADS, Lanes, cost_of_filter
from mien.service.inference.runtime import Runtime
from mien.service.inference.worker_pool import Priority, WorkerPool
from mien.service.settings import Settings


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 20))


def test_work_is_held_until_its_job_ends_though_nobody_waits() -> None:
    async def body() -> None:
        admission, go = Admission(Settings(queue_work=16)), threading.Event()
        limit = admission.queries
        work = Lanes(WorkerPool(1), admission, max_s=10)
        token = DEADLINE_S.set(time.monotonic() + 0.3)
        with pytest.raises(TooLateError):
            await work.queries.run(lambda: go.wait(10), 4)
        DEADLINE_S.reset(token)
        assert limit.held == 4
        assert await work.queries.run(lambda: "quick") == "quick"
        others = [asyncio.create_task(work.queries.run(lambda: go.wait(10), 100)) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError, match="of one caller"):
            await work.queries.run(lambda: None)
        assert await work.changes.run(lambda: "other lane") == "other lane"
        go.set()
        assert await asyncio.gather(*others) == [True, True]
        while limit.held:
            await asyncio.sleep(0.01)
        work.stop()

    run(body())


def test_job_knows_its_deadline() -> None:
    async def body() -> None:
        admission = Admission(Settings(queue_work=4))
        limit = admission.queries
        work = Lanes(WorkerPool(1), admission, max_s=10)
        token = DEADLINE_S.set(time.monotonic() + 0.05)

        def job() -> None:
            while True:
                check_deadline()

        with pytest.raises((TooLateError, DeadlineError)):
            await work.queries.run(job)
        DEADLINE_S.reset(token)
        while limit.held:
            await asyncio.sleep(0.01)
        work.stop()

    run(body())


def test_one_caller_leaves_threads_and_units_to_others() -> None:
    async def body() -> None:
        admission, go = Admission(Settings(queue_work=200)), threading.Event()
        limit = admission.queries
        work = Lanes(WorkerPool(1), admission, max_s=10)
        CALLER.set("a")
        jobs = [asyncio.create_task(work.queries.run(lambda: go.wait(10), 10)) for _ in range(QUERY_THREADS + 4)]
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError, match="one caller"):
            await work.queries.run(lambda: None, 40)
        CALLER.set("b")
        assert await asyncio.wait_for(work.queries.run(lambda: "other"), 5) == "other"
        go.set()
        await asyncio.gather(*jobs)
        assert limit.held == 0
        work.stop()

    run(body())


def test_answers_go_before_portraits() -> None:
    """Forty callers that ask for portraits all the time do not delay an answer by more than one of them."""

    async def body() -> None:
        pool = WorkerPool(2)
        pool.start()
        work, order = Lanes(pool, Admission(Settings()), max_s=10), []

        def paint() -> None:
            time.sleep(0.02)
            order.append("portrait")

        portraits = [asyncio.create_task(work.views.run(paint)) for _ in range(40)]
        await asyncio.sleep(0.05)
        before = len(order)
        await pool.run(Priority.READ, lambda: order.append("image"))
        assert order.index("image") <= before + 2
        await asyncio.gather(*portraits)
        work.stop()
        pool.stop()

    run(body())


def test_filter_costs_what_it_has_to_read(served_engine: Engine) -> None:
    gallery = served_engine.gallery
    assert cost_of_filter(None, gallery) == 0
    unread = parse_filter({f"metadata.unread{number}": 1 for number in range(32)})
    assert cost_of_filter(unread, gallery) == 32 * gallery.count() // 6000
    read = parse_filter({"metadata.read": 1})
    gallery.prepare(SearchOptions(filter=read))
    assert cost_of_filter(read, gallery) == 0
    many = parse_filter({"metadata.read": {"in": [str(number) for number in range(1000)]}})
    assert cost_of_filter(many, gallery) == 20 * gallery.count() // 6000


def test_what_a_lane_holds_is_a_metric(served_engine: Engine) -> None:
    runtime = Runtime(served_engine, Settings(queue_work=100))
    with runtime.admission.views.hold(8), runtime.admission.queries.hold(2):
        runtime.update_gauges()
        shown = runtime.metrics.exposition()
    for lane, held in (("views", 8), ("queries", 2), ("changes", 0)):
        assert f'mien_work_held{{lane="{lane}"}} {held}.0'.encode() in shown
