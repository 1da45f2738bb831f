"""Waiting for something that happens elsewhere."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0, *, pause_s: float = 0.01) -> None:
    """Ask again until the condition is true; fail when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {timeout_s} s"
        time.sleep(pause_s)
