import logging
import subprocess
from pathlib import Path

import onnxruntime
import pytest

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.model.embedder.embedder import Embedder
from mien.model.embedder.provider import Provider
from mien.model.embedder.session import CPU, CUDA, TENSORRT, driver_problem, gpu_providers, has_cuda_build
from mien.model.errors import ConfigError

without_cuda = pytest.mark.skipif(has_cuda_build(), reason="this is what happens without onnxruntime-gpu")


def embedder(provider: Provider) -> Embedder:
    return Embedder(default_bundle() / EMBEDDER, provider=provider)


@without_cuda
@pytest.mark.parametrize(("provider", "warnings"), [("auto", 0), ("cpu", 0), ("cuda", 1), ("tensorrt", 1)])
def test_cpu_build_runs_on_the_cpu(provider: Provider, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    """``cuda`` and ``tensorrt`` warn once, ``auto`` does not."""
    assert embedder(provider).providers == [CPU]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings
    if warnings:
        assert "runs on the CPU" in caplog.text
        assert "expected onnxruntime-gpu" in caplog.text


@without_cuda
def test_cpu_build_refuses_a_required_gpu() -> None:
    with pytest.raises(ConfigError, match="a GPU is required, and cannot be used: expected onnxruntime-gpu"):
        embedder("require")


@pytest.mark.parametrize(
    ("provider", "refused"), [("auto", False), ("cuda", False), ("tensorrt", False), ("require", True)]
)
def test_cuda_build_without_a_driver_warns_or_refuses(
    provider: Provider, refused: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The GPU build of ONNX Runtime on a machine without a GPU warns, except for ``cpu``."""
    if driver_problem() is None:
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    if refused:
        with pytest.raises(ConfigError, match="no NVIDIA driver"):
            embedder(provider)
    else:
        assert embedder(provider).providers == [CPU]
        assert caplog.text.count("the GPU cannot be used: this machine has no NVIDIA driver") == 1


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A library with the two functions of NVIDIA's driver that are called."""
    source = tmp_path / "driver.c"
    source.write_text(
        "#include <stdlib.h>\n"
        'int cuInit(unsigned flags) { return atoi(getenv("CODE")); }\n'
        'int cuDeviceGetCount(int *count) { *count = atoi(getenv("COUNT")); return 0; }\n'
    )
    library = tmp_path / "libdriver.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    except FileNotFoundError:
        pytest.skip("needs a C compiler")
    return library


@pytest.mark.parametrize(
    ("code", "count", "problem"),
    [("0", "1", None), ("0", "0", "the NVIDIA driver finds no GPU"), ("999", "1", "cuInit gives 999")],
)
def test_problems_of_the_driver(
    driver: Path, code: str, count: str, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODE", code)
    monkeypatch.setenv("COUNT", count)
    found = driver_problem(str(driver))
    assert found == problem if problem is None else problem in str(found)


@pytest.mark.parametrize(
    ("provider", "available", "chosen"),
    [
        ("auto", [TENSORRT, CUDA, CPU], [CUDA, CPU]),
        ("require", [CUDA, CPU], [CUDA, CPU]),
        ("tensorrt", [TENSORRT, CUDA, CPU], [TENSORRT, CUDA, CPU]),
        ("tensorrt", [CUDA, CPU], [CUDA, CPU]),
    ],
)
def test_execution_providers_of_a_gpu(
    provider: Provider, available: list[str], chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    names = [each if isinstance(each, str) else each[0] for each in gpu_providers(provider)]
    assert names == chosen
