"""Other work than images: admitted by its cost, in turns, and within the deadline."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from mien.index.deadline import DEADLINE_S, check_deadline
from mien.index.errors import DeadlineError
from mien.index.gallery.filters import parse_filter
from mien.service.errors import QueueFullError, TooLateError
from mien.service.inference.admission import CALLER, Limit
from mien.service.inference.other_work import GALLERY_THREADS, OtherWork, cost_of_filter
from mien.service.inference.worker_pool import Priority, WorkerPool


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(body, 20))


def test_work_is_held_until_its_job_ends_though_nobody_waits() -> None:
    async def body() -> None:
        limit, go = Limit("units of work", 4), threading.Event()
        work = OtherWork(WorkerPool(1), limit, max_s=10)
        token = DEADLINE_S.set(time.monotonic() + 0.3)
        with pytest.raises(TooLateError):
            await work.in_gallery(lambda: go.wait(10), 3)
        DEADLINE_S.reset(token)
        assert limit.held == 3
        with pytest.raises(QueueFullError):
            await work.in_gallery(lambda: None, 2)
        assert await work.in_gallery(lambda: "quick") == "quick"
        go.set()
        while limit.held:
            await asyncio.sleep(0.01)
        work.stop()

    run(body())


def test_job_knows_its_deadline() -> None:
    async def body() -> None:
        limit = Limit("units of work", 4)
        work = OtherWork(WorkerPool(1), limit, max_s=10)
        token = DEADLINE_S.set(time.monotonic() + 0.05)

        def job() -> None:
            while True:
                check_deadline()

        with pytest.raises((TooLateError, DeadlineError)):
            await work.in_gallery(job)
        DEADLINE_S.reset(token)
        while limit.held:
            await asyncio.sleep(0.01)
        work.stop()

    run(body())


def test_one_caller_leaves_threads_and_units_to_others() -> None:
    async def body() -> None:
        limit, go = Limit("units of work", 100, 0.75), threading.Event()
        work = OtherWork(WorkerPool(1), limit, max_s=10)
        CALLER.set("a")
        jobs = [asyncio.create_task(work.in_gallery(lambda: go.wait(10), 5)) for _ in range(GALLERY_THREADS + 4)]
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError, match="one caller"):
            await work.in_gallery(lambda: None, 20)
        CALLER.set("b")
        assert await asyncio.wait_for(work.in_gallery(lambda: "other"), 5) == "other"
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
        work, order = OtherWork(pool, Limit("units of work", 64), max_s=10), []

        def paint() -> None:
            time.sleep(0.02)
            order.append("portrait")

        portraits = [asyncio.create_task(work.in_views(paint)) for _ in range(40)]
        await asyncio.sleep(0.05)
        await pool.run(Priority.READ, lambda: order.append("image"))
        assert order.index("image") <= 4
        await asyncio.gather(*portraits)
        work.stop()
        pool.stop()

    run(body())


def test_filter_costs_its_fields_and_values() -> None:
    assert cost_of_filter(None) == 0
    assert cost_of_filter(parse_filter({"label": "fear"})) == 1
    assert cost_of_filter(parse_filter({f"metadata.m{number}": 1 for number in range(32)})) == 32
    assert cost_of_filter(parse_filter({"id": {"in": [str(number) for number in range(1000)]}})) == 21
