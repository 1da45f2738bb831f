import threading

import pytest
from pydantic import BaseModel

from mien.service.routes.cached_json import Written
from mien.service.routes.refreshed import COST_SHARE, LEAST_AGE_S, Refreshed


class Number(BaseModel):
    number: int


class Counting:
    """Something that changes, a clock, and how often it was put into words."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.version, self.made, self.now_s, self.cost_s = 0, 0, 100.0, cost_s
        self.kept = Refreshed(self.make, lambda: self.version, lambda: self.now_s)

    def make(self) -> Written:
        self.made += 1
        self.now_s += self.cost_s
        return Written(Number(number=self.version))

    def answer(self) -> int:
        return Number.model_validate_json(self.kept.current().plain).number


def test_what_has_not_changed_is_made_once() -> None:
    counting = Counting()
    for _ in range(5):
        assert counting.answer() == 0
        counting.now_s += 10 * LEAST_AGE_S
    assert counting.made == 1


def test_a_change_is_seen_once_the_answer_is_old_enough() -> None:
    counting = Counting()
    assert counting.answer() == 0
    counting.version = 1
    counting.now_s += LEAST_AGE_S / 2
    assert counting.answer() == 0
    counting.now_s += LEAST_AGE_S
    assert counting.answer() == 1


def test_what_takes_long_is_made_rarely() -> None:
    counting = Counting(cost_s=3.0)
    assert counting.answer() == 0
    counting.version = 1
    counting.now_s += 3.0 / COST_SHARE - 1
    assert counting.answer() == 0
    counting.now_s += 2
    assert counting.answer() == 1


def test_others_are_given_the_old_one_while_it_is_made_anew() -> None:
    started, go_on = threading.Event(), threading.Event()
    versions = iter([0, 1])
    now_s = [0.0]

    def make() -> Written:
        number = next(versions)
        if number:
            started.set()
            assert go_on.wait(30)
        return Written(Number(number=number))

    kept = Refreshed(make, lambda: now_s[0], lambda: now_s[0])
    old = kept.current()
    now_s[0] = 10 * LEAST_AGE_S
    slow = threading.Thread(target=kept.current)
    slow.start()
    assert started.wait(30)
    assert kept.current() is old
    go_on.set()
    slow.join()
    assert kept.current() is not old


def test_a_failure_is_passed_on_and_the_next_may_succeed() -> None:
    counting = Counting()

    def failing() -> Written:
        if counting.made == 0:
            counting.made = 1
            raise ValueError("gone")
        return counting.make()

    kept = Refreshed(failing, lambda: 0, lambda: 0.0)
    with pytest.raises(ValueError, match="gone"):
        kept.current()
    assert kept.current().plain == b'{"number":0}'
