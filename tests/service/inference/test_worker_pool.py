import threading
from concurrent.futures import CancelledError

import pytest

from mien.service.inference.worker_pool import Cores, Order


def test_what_is_nearest_to_an_answer_comes_first() -> None:
    cores = Cores(1)
    done: list[str] = []
    cores.submit(Order.READ, lambda: done.append("read"))
    cores.submit(Order.ANSWER, lambda: done.append("answer"))
    cores.submit(Order.READ, lambda: done.append("read later"))
    cores.start()
    cores.stop()
    assert done == ["answer", "read", "read later"]


def test_an_answer_or_its_error_comes_back() -> None:
    cores = Cores(2)
    cores.start()
    assert cores.submit(Order.READ, lambda: 3).result(timeout=5) == 3
    with pytest.raises(ZeroDivisionError):
        cores.submit(Order.READ, lambda: 1 / 0).result(timeout=5)
    assert cores.submit(Order.READ, lambda: 4).result(timeout=5) == 4, "an error ended the thread"
    cores.stop()


def test_a_cancelled_job_is_never_done() -> None:
    cores = Cores(1)
    cores.start()
    begun, go = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go.wait(5)

    cores.submit(Order.READ, wait)
    assert begun.wait(5)
    done: list[int] = []
    cancelled = cores.submit(Order.READ, lambda: done.append(1))
    assert cancelled.cancel()
    go.set()
    cores.stop()
    assert done == []
    with pytest.raises(CancelledError):
        cancelled.result()


def test_stop_waits_for_what_was_submitted() -> None:
    cores = Cores(3)
    cores.start()
    jobs = [cores.submit(Order.READ, lambda number=number: number) for number in range(50)]  # type: ignore[misc]
    cores.stop()
    assert [job.result(timeout=0) for job in jobs] == list(range(50))
