import threading

import pytest
from pydantic import BaseModel

from mien.service.routes.cached_json import MAX_CPU_SHARE, MIN_AGE_S, CachedJson, RefreshingCache


class Number(BaseModel):
    number: int


class Counting:
    """A cache of a number that changes, a clock, and how often the answer was made."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.version, self.made, self.now_s, self.cost_s = 0, 0, 100.0, cost_s
        self.cache = RefreshingCache(self.make, lambda: self.version, lambda: self.now_s)

    def make(self) -> CachedJson:
        self.made += 1
        self.now_s += self.cost_s
        return CachedJson(Number(number=self.version))

    def answer(self) -> int:
        return Number.model_validate_json(self.cache.get().plain).number


def test_answer_is_made_once_while_its_data_does_not_change() -> None:
    counting = Counting()
    for _ in range(5):
        assert counting.answer() == 0
        counting.now_s += 10 * MIN_AGE_S
    assert counting.made == 1


def test_change_is_seen_when_the_answer_is_old_enough() -> None:
    counting = Counting()
    assert counting.answer() == 0
    counting.version = 1
    counting.now_s += MIN_AGE_S / 2
    assert counting.answer() == 0
    counting.now_s += MIN_AGE_S
    assert counting.answer() == 1


def test_answer_that_takes_long_is_made_rarely() -> None:
    counting = Counting(cost_s=3.0)
    assert counting.answer() == 0
    counting.version = 1
    counting.now_s += 3.0 / MAX_CPU_SHARE - 1
    assert counting.answer() == 0
    counting.now_s += 2
    assert counting.answer() == 1


def test_others_get_the_old_answer_while_it_is_made_again() -> None:
    started, go_on = threading.Event(), threading.Event()
    versions = iter([0, 1])
    now_s = [0.0]

    def make() -> CachedJson:
        number = next(versions)
        if number:
            started.set()
            assert go_on.wait(30)
        return CachedJson(Number(number=number))

    cache = RefreshingCache(make, lambda: now_s[0], lambda: now_s[0])
    old = cache.get()
    now_s[0] = 10 * MIN_AGE_S
    slow = threading.Thread(target=cache.get)
    slow.start()
    assert started.wait(30)
    assert cache.get() is old
    go_on.set()
    slow.join()
    assert cache.get() is not old


def test_failure_is_raised_and_the_next_attempt_may_succeed() -> None:
    counting = Counting()

    def failing() -> CachedJson:
        if counting.made == 0:
            counting.made = 1
            raise ValueError("gone")
        return counting.make()

    cache = RefreshingCache(failing, lambda: 0, lambda: 0.0)
    with pytest.raises(ValueError, match="gone"):
        cache.get()
    assert cache.get().plain == b'{"number":0}'
