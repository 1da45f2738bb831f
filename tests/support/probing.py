"""A live probe of a running service, and its memory."""

import http.client
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.support.serving import ServedProcess

LONGEST_S: Final = 0.5
"""How long a live probe may take, without the time that other programs took from the service."""


def process_bytes(served: ServedProcess) -> int:
    return int(Path(f"/proc/{served.process.pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def starved_s(served: ServedProcess) -> dict[str, float]:
    """Seconds that each thread of a service, and of this process, has been ready to run without a core."""
    found = {}
    for pid in (served.process.pid, os.getpid()):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has ended
                found[task.name] = int((task / "schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    return found


def probe(served: ServedProcess) -> float:
    """How long a request takes on a new connection, seconds, less the longest wait of a thread for a core."""
    before, began = starved_s(served), time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", "/health/live")
    assert connection.getresponse().status == 200
    connection.close()
    took = time.monotonic() - began
    starved = (waited - before.get(task, 0.0) for task, waited in starved_s(served).items())
    return took - max(starved, default=0.0)


@contextmanager
def others_are_answered(served: ServedProcess, more_bytes: int = 64 * 2**20) -> Iterator[list[float]]:
    """Ask all the while; nine of ten answers may take ``LONGEST_S``, and memory may grow by ``more_bytes``."""
    times = [probe(served)]
    before, stop = process_bytes(served), threading.Event()
    largest = [before]

    def ask() -> None:
        while not stop.wait(0.02):
            times.append(probe(served))
            largest[0] = max(largest[0], process_bytes(served))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()
    assert sorted(times)[int(0.9 * (len(times) - 1))] < LONGEST_S, times
    assert largest[0] - before < more_bytes
