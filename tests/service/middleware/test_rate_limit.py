import pytest

from mien.service.middleware.rate_limit import BURST_S, MAX_CALLERS, RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_burst_is_followed_by_the_rate() -> None:
    clock = Clock()
    rates = RateLimiter(5.0, clock)
    assert [rates.wait_s("a") for _ in range(int(5 * BURST_S))] == [0.0] * 10
    assert rates.wait_s("a") == pytest.approx(0.2)
    assert rates.wait_s("b") == 0, "each caller has a bucket of its own"
    clock.now += 0.21
    assert rates.wait_s("a") == 0
    assert rates.wait_s("a") > 0


def test_refused_request_takes_no_token() -> None:
    clock = Clock()
    rates = RateLimiter(1.0, clock)
    while rates.wait_s("a") == 0:
        pass
    for _ in range(100):
        rates.wait_s("a")
    clock.now += 1.01
    assert rates.wait_s("a") == 0


def test_clock_that_goes_back_takes_no_tokens() -> None:
    clock = Clock()
    rates = RateLimiter(1.0, clock)
    assert rates.wait_s("a") == 0
    clock.now -= 50
    assert rates.wait_s("a") == 0
    assert 0 < rates.wait_s("a") <= 1


def test_no_limit() -> None:
    rates = RateLimiter(0.0)
    assert all(rates.wait_s("a") == 0 for _ in range(1000))
    assert len(rates) == 0


def test_number_of_buckets_is_limited() -> None:
    rates = RateLimiter(1.0, Clock())
    for number in range(MAX_CALLERS + 500):
        rates.wait_s(str(number))
    assert len(rates) == MAX_CALLERS
