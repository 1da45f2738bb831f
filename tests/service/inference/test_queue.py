import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mien.service.inference.queue import Batcher
from mien.service.inference.worker_pool import WorkerPool


class Recorder:
    """Doubles numbers, and remembers the batches they came in; waits for ``go``."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def work(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        assert self.go.wait(10)
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]


Scenario = Callable[[Batcher[int, int], Recorder], Coroutine[Any, Any, None]]


def run(scenario: Scenario, *, batch_size: int = 4, max_wait_s: float = 0.0, threads: int = 1) -> list[list[int]]:
    recorder = Recorder()
    pool = WorkerPool(threads)
    pool.start()

    async def all_of_it() -> None:
        batcher = Batcher(recorder.work, pool, batch_size=batch_size, max_wait_s=max_wait_s)
        await asyncio.wait_for(scenario(batcher, recorder), 10)
        assert len(batcher) == 0

    asyncio.run(all_of_it())
    pool.stop()
    return recorder.batches


def test_lone_item_does_not_wait() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        began = time.monotonic()
        assert await batcher.submit(21, 1) == 42
        assert time.monotonic() - began < 5

    assert run(scenario, max_wait_s=60) == [[21]]


def test_items_submitted_together_are_one_batch() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        assert await asyncio.gather(*(batcher.submit(item, 1) for item in range(3))) == [0, 2, 4]

    assert run(scenario) == [[0, 1, 2]]


def test_batch_waits_for_an_announced_item() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        async def late() -> int:
            with batcher.announce():
                await asyncio.sleep(0.05)
            return await batcher.submit(2, 1)

        assert list(await asyncio.gather(batcher.submit(1, 1), late())) == [2, 4]

    assert run(scenario, max_wait_s=60) == [[1, 2]]


def test_announced_item_may_not_come() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        async def never() -> None:
            with batcher.announce():
                await asyncio.sleep(0.02)
                raise ValueError

        alone, failed = await asyncio.gather(batcher.submit(1, 1), never(), return_exceptions=True)
        assert alone == 2
        assert isinstance(failed, ValueError)

    assert run(scenario, max_wait_s=60) == [[1]]


def test_wait_for_announced_items_has_a_limit() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        with batcher.announce():
            assert await batcher.submit(1, 1) == 2

    assert run(scenario, max_wait_s=0.02) == [[1]]


def test_full_batch_does_not_wait() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        with batcher.announce():
            assert await asyncio.gather(*(batcher.submit(item, 1) for item in range(4))) == [0, 2, 4, 6]

    assert run(scenario, max_wait_s=60) == [[0, 1, 2, 3]]


def test_batch_grows_up_to_its_size_while_the_thread_is_busy() -> None:
    async def scenario(batcher: Batcher[int, int], recorder: Recorder) -> None:
        recorder.go.clear()
        first = asyncio.create_task(batcher.submit(0, 1))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        others = [
            asyncio.create_task(batcher.submit(item, size)) for item, size in [(1, 1), (2, 2), (3, 2), (4, 9), (5, 1)]
        ]
        await asyncio.sleep(0)
        recorder.go.set()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8, 10]

    assert run(scenario) == [[0], [1, 2], [3], [4], [5]]


def test_error_is_raised_for_all_items_of_its_batch_only() -> None:
    async def scenario(batcher: Batcher[int, int], _: Recorder) -> None:
        results = await asyncio.gather(*(batcher.submit(item, 1) for item in (1, -1)), return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, ValueError]
        assert await batcher.submit(5, 1) == 10

    run(scenario)


def test_cancelled_item_is_skipped() -> None:
    async def scenario(batcher: Batcher[int, int], recorder: Recorder) -> None:
        recorder.go.clear()
        first = asyncio.create_task(batcher.submit(0, 1))
        while not recorder.batches:
            await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await batcher.submit(1, 1)
        recorder.go.set()
        assert await first == 0
        assert await batcher.submit(2, 1) == 4

    assert run(scenario) == [[0], [2]]


def test_as_many_batches_at_once_as_threads() -> None:
    async def scenario(batcher: Batcher[int, int], recorder: Recorder) -> None:
        recorder.go.clear()
        asked = [asyncio.create_task(batcher.submit(item, 1)) for item in range(3)]
        while len(recorder.batches) < 2:
            await asyncio.sleep(0.001)
        recorder.go.set()
        assert await asyncio.gather(*asked) == [0, 2, 4]

    assert sorted(run(scenario, batch_size=1, threads=2)) == [[0], [1], [2]]


def test_faulty_item_does_not_affect_the_others() -> None:
    async def scenario() -> list[object]:
        pool = WorkerPool(1)
        pool.start()
        batcher: Batcher[int, int] = Batcher(
            lambda items: [ValueError(item) if item < 0 else 2 * item for item in items],
            pool,
            batch_size=4,
            max_wait_s=0,
        )
        found = await asyncio.gather(*(batcher.submit(item, 1) for item in (1, -1, 3)), return_exceptions=True)
        pool.stop()
        return list(found)

    first, at_fault, last = asyncio.run(scenario())
    assert (first, last) == (2, 6)
    assert isinstance(at_fault, ValueError)
