import asyncio
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from mien.index.bundle.default import default_bundle
from mien.model.errors import ImageError
from mien.service.app import create_app
from mien.service.errors import ReloadError
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.inference.runtime import Runtime, workers_that_fit
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem_kind
from tests.support.engines import SlowEngine
from tests.support.waiting import wait_until


def test_answer_that_takes_too_long_is_answered_with_504(slow: SlowEngine, crop_file: bytes) -> None:
    with TestClient(create_app(slow, Settings(timeout_s=0.2))) as client:
        late = client.post("/classify", params=CROPPED, files={"image": crop_file})
        assert problem_kind(late) == (504, "too-late")
        assert "may take 0.2 s" in late.json()["detail"]
        several = client.post("/classify", params=CROPPED, files=[("images", crop_file)] * 3)
        assert problem_kind(several) == (504, "too-late")
        slow.go.set()


def reloads(runtime: Runtime) -> dict[str, float]:
    """How many bundles were loaded, by result."""
    samples = next(iter(runtime.metrics.reloads.collect())).samples
    return {sample.labels["result"]: sample.value for sample in samples if sample.name == "mien_reloads_total"}


def test_any_number_of_reloads_at_once_costs_two(served_engine: Engine) -> None:
    async def reload() -> list[Engine]:
        runtime = Runtime(served_engine, Settings(provider="cpu"))
        before = reloads(runtime).get("done", 0)
        first = asyncio.create_task(runtime.reload())
        await asyncio.sleep(0.05)  # it has begun: the others must not get its files, and share the next load
        engines = await asyncio.gather(first, *(runtime.reload() for _ in range(200)))
        assert reloads(runtime)["done"] - before == 2
        return engines

    first, *others = asyncio.run(reload())
    assert len(set(others)) == 1
    assert first is not others[0]


def test_reload_of_a_bundle_that_is_gone_fails_for_all_who_asked(served_engine: Engine, tmp_path: Path) -> None:
    async def reload() -> list[BaseException | Engine]:
        shutil.copytree(default_bundle(), tmp_path / "bundle")
        runtime = Runtime(served_engine, Settings(provider="cpu", bundle=tmp_path / "bundle"))
        (tmp_path / "bundle" / "manifest.json").unlink()
        results = await asyncio.gather(*(runtime.reload() for _ in range(20)), return_exceptions=True)
        assert runtime.engine is served_engine
        return list(results)

    results = asyncio.run(reload())
    assert all(isinstance(each, ReloadError) for each in results)
    with pytest.raises(ReloadError, match=r"the old bundle is served on: .* is not a bundle"):
        raise results[0]  # type: ignore[misc]


def test_service_is_not_ready_while_its_threads_are_stuck(slow: SlowEngine, crop_file: bytes) -> None:
    with TestClient(create_app(slow, Settings(timeout_s=0.2, workers=1))) as client:
        assert client.get("/health/ready").status_code == 200
        late = client.post("/classify", params=CROPPED, files={"image": crop_file})
        assert late.status_code == 504
        wait_until(lambda: client.get("/health/ready").status_code == 503)
        assert "at work on one job" in client.get("/health/ready").json()["detail"]
        assert client.get("/health/live").status_code == 200
        slow.go.set()
        wait_until(lambda: client.get("/health/ready").status_code == 200)


def test_request_without_memory_fails_alone(served_engine: Engine, crop_file: bytes) -> None:
    """Those in the same batch are answered."""

    class Greedy(SlowEngine):
        def predict(self, requests: Sequence[InferenceRequest]) -> list[Prediction | ImageError]:
            predictions = super().predict(requests)
            if any(request.k == 7 for request in requests):
                raise MemoryError
            return predictions

    engine = Greedy(served_engine)
    with TestClient(create_app(engine, Settings(workers=1))) as client, ThreadPoolExecutor(3) as threads:

        def ask(k: int) -> Response:
            return client.post("/retrieve", params={**CROPPED, "k": k}, files={"image": crop_file})

        first = threads.submit(ask, 1)
        assert engine.begun.wait(20)
        others = [threads.submit(ask, k) for k in (7, 2)]
        time.sleep(0.2)  # they wait together
        engine.go.set()
        greedy, modest = (each.result() for each in others)
        assert (first.result().status_code, modest.status_code) == (200, 200)
        assert problem_kind(greedy) == (503, "no-memory")
        assert greedy.json()["detail"] == "mien has too little memory for this request"


@pytest.mark.parametrize(("limit", "workers"), [(None, 64), (1 << 29, 1), (2 << 30, 2), (4 << 30, 6), (64 << 30, 64)])
def test_workers_fit_into_the_memory_of_the_container(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, workers: int
) -> None:
    monkeypatch.setattr("mien.service.inference.runtime.usable_cores", lambda: 64)
    monkeypatch.setattr("mien.service.inference.runtime.memory_limit_bytes", lambda: limit)
    assert workers_that_fit() == workers
