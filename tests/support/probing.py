"""A live probe of a running service, and its memory."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.serving import ServedProcess

LONGEST_S: Final = 0.5
"""How long a live probe may take: 20 ms, and what a busy machine adds."""


def process_bytes(served: ServedProcess) -> int:
    return int(Path(f"/proc/{served.process.pid}/statm").read_text(encoding="ascii").split()[1]) * 4096


def probe(served: ServedProcess) -> float:
    """How long a request takes on a new connection, seconds."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", "/health/live")
    assert connection.getresponse().status == 200
    connection.close()
    return time.monotonic() - began


@contextmanager
def others_are_answered(served: ServedProcess, more_bytes: int = 64 * 2**20) -> Iterator[list[float]]:
    """Ask all the while; the median of the answers may take ``LONGEST_S``, and memory may grow by ``more_bytes``."""
    times: list[float] = []
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
    times.append(probe(served))
    assert sorted(times)[int(0.9 * (len(times) - 1))] < LONGEST_S, times
    assert largest[0] - before < more_bytes
