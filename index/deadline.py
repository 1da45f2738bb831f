"""Deadlines of requests: long work in a thread, which cannot be ended from outside, checks them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from mien.index.errors import DeadlineError

if TYPE_CHECKING:
    from threading import Lock, RLock

DEADLINE_S: Final[ContextVar[float | None]] = ContextVar("deadline_s", default=None)
"""When the work of this context must end, by ``time.monotonic``; None for work that may take as long as it takes."""


def check_deadline() -> None:
    """Check that there is time left.

    Raises:
        DeadlineError: there is none.
    """
    deadline_s = DEADLINE_S.get()
    if deadline_s is not None and time.monotonic() > deadline_s:
        raise DeadlineError("the answer would have come too late")


@contextmanager
def locked_in_time(lock: "Lock | RLock") -> Iterator[None]:
    """Hold a lock inside a ``with`` block.

    Raises:
        DeadlineError: the deadline came first.
    """
    deadline_s = DEADLINE_S.get()
    if not lock.acquire(timeout=-1 if deadline_s is None else max(0.0, deadline_s - time.monotonic())):
        raise DeadlineError("the answer would have come too late: others are before it")
    try:
        yield
    finally:
        lock.release()
