import httpx2
import pytest

from mien.service.app import create_app_on
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.middleware.rate_limit import BURST_S, MAX_CALLERS, RateLimiter
from mien.service.server import uvicorn_config
from mien.service.settings import Settings
from tests.support.serving import served_by_uvicorn


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


@pytest.mark.system
@pytest.mark.parametrize("proxies", [None, "192.0.2.0/24", "127.0.0.0/8"])
def test_forwarded_address_is_believed_from_named_proxies_only(served_engine: Engine, proxies: str | None) -> None:
    """Others could take a new name for each request."""
    settings = Settings(rate_per_s=1, proxies=proxies)
    runtime = Runtime(served_engine, settings)
    config = uvicorn_config(create_app_on(runtime), settings, runtime.metrics)
    with served_by_uvicorn(config) as url:
        statuses = {
            httpx2.get(f"{url}/info", headers={"x-forwarded-for": f"198.51.100.{number}"}).status_code
            for number in range(8)
        }
        assert statuses == ({200} if proxies == "127.0.0.0/8" else {200, 429})
        names = {
            httpx2.get(f"{url}/info", headers={"x-forwarded-for": f"nobody-{number}"}).status_code
            for number in range(8)
        }
        assert 429 in names, "what is no address is one caller"
