import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from mien.model.errors import ImageError, UnsupportedImageError
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import ImageQuery, InferenceRequest, Prediction
from mien.service.inference.queue import Batcher, LoadedEngine
from mien.service.inference.reader_pool import ReaderPool
from mien.service.inference.worker_pool import WorkerPool
from mien.service.settings import Settings
from tests.support.faces import MakeFaces
from tests.support.images import encode


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


class RecordingEngine(Engine):
    """An engine that remembers how many requests each of its batches had."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.bundle, engine.pipeline, engine.max_k)
        self.sizes: list[int] = []

    def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
        self.sizes.append(len(requests))
        return super().predict(requests)


@pytest.mark.parametrize(
    ("count", "threads", "sizes"), [(1, 2, [1]), (7, 2, [7]), (8, 2, [4, 4]), (8, 1, [8]), (19, 2, [6, 6, 7])]
)
def test_crops_of_a_request_go_through_the_network_in_few_batches_on_every_core(
    served_engine: Engine, make_faces: MakeFaces, count: int, threads: int, sizes: list[int]
) -> None:
    engine, files = RecordingEngine(served_engine), [encode(image) for image in make_faces(count).images]
    files[0] = b"no image"

    async def predict() -> list[Prediction | ImageError]:
        pool = WorkerPool(threads)
        pool.start()
        readers = ReaderPool(1, Settings(), engine.metrics)
        loaded = LoadedEngine(engine, pool, readers, batch_size=8, max_wait_s=0)
        found = await loaded.predict_all([ImageQuery(file, already_cropped=True) for file in files])
        pool.stop()
        assert not readers.pids(), "plain crops are decoded with their batch"
        return found

    first, *others = asyncio.run(predict())
    assert sorted(engine.sizes) == sizes
    assert isinstance(first, UnsupportedImageError)
    for file, prediction in zip(files[1:], others, strict=True):
        assert isinstance(prediction, Prediction)
        alone = served_engine.predict_one(InferenceRequest(crop_file=file))
        np.testing.assert_allclose(prediction.embeddings, alone.embeddings, atol=1e-4)
