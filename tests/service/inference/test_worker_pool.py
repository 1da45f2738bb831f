import threading
import time
from concurrent.futures import CancelledError

import pytest

from mien.service.inference.worker_pool import Priority, WorkerPool, split
from tests.support.waiting import wait_until


def test_job_nearest_an_answer_is_done_first() -> None:
    pool = WorkerPool(1)
    done: list[str] = []
    pool.submit(Priority.READ, lambda: done.append("read"))
    pool.submit(Priority.ANSWER, lambda: done.append("answer"))
    pool.submit(Priority.READ, lambda: done.append("read later"))
    pool.start()
    pool.stop()
    assert done == ["answer", "read", "read later"]


def test_result_or_error_of_a_job_is_returned() -> None:
    pool = WorkerPool(2)
    pool.start()
    assert pool.submit(Priority.READ, lambda: 3).result(timeout=5) == 3
    with pytest.raises(ZeroDivisionError):
        pool.submit(Priority.READ, lambda: 1 / 0).result(timeout=5)
    assert pool.submit(Priority.READ, lambda: 4).result(timeout=5) == 4, "an error ended the thread"
    pool.stop()


def test_cancelled_job_is_skipped() -> None:
    pool = WorkerPool(1)
    pool.start()
    begun, go = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go.wait(5)

    pool.submit(Priority.READ, wait)
    assert begun.wait(5)
    done: list[int] = []
    cancelled = pool.submit(Priority.READ, lambda: done.append(1))
    assert cancelled.cancel()
    go.set()
    pool.stop()
    assert done == []
    with pytest.raises(CancelledError):
        cancelled.result()


def test_stop_waits_for_all_jobs() -> None:
    pool = WorkerPool(3)
    pool.start()
    jobs = [pool.submit(Priority.READ, lambda number=number: number) for number in range(50)]  # type: ignore[misc]
    pool.stop()
    assert [job.result(timeout=0) for job in jobs] == list(range(50))


@pytest.mark.parametrize(
    ("count", "threads", "sizes"),
    [(0, 2, []), (3, 2, [1, 1, 1]), (20, 2, [5, 5, 5, 5]), (64, 2, [8] * 8), (9, 1, [5, 4])],
)
def test_items_are_split_into_jobs_that_keep_the_threads_busy(count: int, threads: int, sizes: list[int]) -> None:
    jobs = split(range(count), threads, 8)
    assert [len(job) for job in jobs] == sizes
    assert [item for job in jobs for item in job] == list(range(count))


def test_pool_is_stuck_while_every_thread_is_at_work() -> None:
    pool = WorkerPool(2)
    pool.start()
    go = threading.Event()
    pool.submit(Priority.READ, lambda: go.wait(10))
    time.sleep(0.05)
    assert pool.stuck_s == 0, "one thread is free"
    pool.submit(Priority.READ, lambda: go.wait(10))
    wait_until(lambda: pool.stuck_s > 0.05)
    began = time.monotonic()
    pool.stop(within_s=0.1)
    assert time.monotonic() - began < 5, "it does not wait for what is stuck"
    go.set()
    wait_until(lambda: pool.stuck_s == 0)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_job_shares_its_items_with_free_threads(threads: int, count: int) -> None:
    pool = WorkerPool(threads)
    pool.start()
    workers: set[int] = set()
    both = threading.Barrier(min(threads, count) or 1)

    def square(number: int) -> int:
        if number < both.parties:
            both.wait(5)
        workers.add(threading.get_ident())
        return number**2

    shared = pool.submit(Priority.VIEW, lambda: pool.share(Priority.VIEW, square, range(count)))
    assert shared.result(timeout=10) == [number**2 for number in range(count)]
    assert len(workers) >= min(threads, count)
    pool.stop()


def test_job_does_its_items_alone_while_the_other_threads_are_busy() -> None:
    pool = WorkerPool(2)
    pool.start()
    begun, go = threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        assert go.wait(10)

    pool.submit(Priority.READ, busy)
    assert begun.wait(5)
    shared = pool.submit(Priority.VIEW, lambda: pool.share(Priority.VIEW, abs, [-1, -2, -3]))
    assert shared.result(timeout=5) == [1, 2, 3]
    go.set()
    pool.stop()


def test_error_of_a_shared_item_is_raised_and_the_rest_is_left() -> None:
    pool = WorkerPool(2)
    pool.start()
    done: list[int] = []

    def fail(number: int) -> None:
        done.append(number)
        raise ZeroDivisionError

    shared = pool.submit(Priority.VIEW, lambda: pool.share(Priority.VIEW, fail, range(100)))
    with pytest.raises(ZeroDivisionError):
        shared.result(timeout=10)
    assert len(done) <= 2
    pool.stop()
