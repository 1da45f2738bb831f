import asyncio
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from mien.index.bundle.default import default_bundle
from mien.service.app import create_app
from mien.service.errors import ReloadError
from mien.service.inference.engine import Engine
from mien.service.inference.runtime import Runtime
from mien.service.settings import Settings
from tests.support.answers import CROPPED, problem_kind
from tests.support.engines import SlowEngine


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
