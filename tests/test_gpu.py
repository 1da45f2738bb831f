"""The GPU path, where there is a GPU: ``pip install -e '.[gpu,dev]'`` and then ``pytest -m gpu``."""

import ctypes

import numpy as np
import pytest
from numpy.typing import NDArray

from index.bundle import EMBEDDER, default_bundle
from model.embedder import Embedder
from model.execution import CUDA, DRIVER, driver_problem, has_cuda_build

_REASON = driver_problem() or ("" if has_cuda_build() else "onnxruntime-gpu is not installed")

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(_REASON), reason=_REASON)]

TOLERANCE = 0.05
"""In embedding units, where centroids of emotions lie 4 to 6 apart: convolutions round to TF32 on a GPU."""

REQUESTS = 10_000


def crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def gpu_embedder() -> Embedder:
    return Embedder(default_bundle() / EMBEDDER, provider="require")


def used_bytes() -> int:
    """The device memory that is not free."""
    driver = ctypes.CDLL(DRIVER)
    context = ctypes.c_void_p()
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert driver.cuCtxSetCurrent(context) == 0
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return total.value - free.value


def test_it_runs_there(gpu_embedder: Embedder) -> None:
    assert gpu_embedder.providers[0] == CUDA


@pytest.mark.parametrize("count", [1, 7, 256, 1000])
def test_it_gives_what_the_cpu_gives(gpu_embedder: Embedder, count: int) -> None:
    cpu = Embedder(default_bundle() / EMBEDDER, provider="cpu").embed(crops(count))
    assert np.linalg.norm(gpu_embedder.embed(crops(count)) - cpu, axis=1).max() < TOLERANCE


def test_its_memory_does_not_grow(gpu_embedder: Embedder) -> None:
    generator = np.random.default_rng(0)
    faces = crops(16)
    for count in range(1, 17):
        gpu_embedder.embed(faces[:count])
    before = used_bytes()
    for _ in range(REQUESTS):
        gpu_embedder.embed(faces[: generator.integers(1, 17)])
    assert used_bytes() - before < 2**20


def test_searching_gives_what_the_cpu_gives() -> None:
    faiss = pytest.importorskip("faiss")
    if not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("faiss-gpu is not installed")
    generator = np.random.default_rng(0)
    base, queries = (generator.normal(size=(count, 64)).astype(np.float32) for count in (100_000, 64))
    exact = faiss.IndexFlatL2(64)
    exact.add(base)
    expected, _ = exact.search(queries, 10)
    found, _ = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, exact).search(queries, 10)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
