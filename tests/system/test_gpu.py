"""Inference and search on a GPU: ``pip install -e '.[gpu,train,dev]'``, then ``pytest -m gpu``."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.vectors.gpu import DeviceIndex, device_of, device_problem, gpu_index
from mien.index.gallery.vectors.policy import IndexPolicy
from mien.model.embedder.embedder import GPU_BATCH_FACES, Embedder
from mien.model.embedder.session import CUDA, DRIVER, TENSORRT, driver_problem, has_cuda_build
from mien.model.export.float16 import convert_to_float16
from tests.support.faces import MakeFaces
from tests.support.small_run import SmallRun

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
    """Device memory in use."""
    driver = ctypes.CDLL(DRIVER)
    context = ctypes.c_void_p()
    assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
    assert driver.cuCtxSetCurrent(context) == 0
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    assert driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    return total.value - free.value


def test_network_runs_on_the_gpu(gpu_embedder: Embedder) -> None:
    assert gpu_embedder.providers[0] == CUDA


@pytest.mark.parametrize("count", [1, 7, 256, GPU_BATCH_FACES, GPU_BATCH_FACES + 5])
def test_embeddings_are_those_of_the_cpu(gpu_embedder: Embedder, count: int) -> None:
    cpu = Embedder(default_bundle() / EMBEDDER, provider="cpu").embed(crops(count))
    assert np.linalg.norm(gpu_embedder.embed(crops(count)) - cpu, axis=1).max() < TOLERANCE


def test_device_memory_does_not_grow(gpu_embedder: Embedder) -> None:
    generator = np.random.default_rng(0)
    faces = crops(16)
    for count in range(1, 17):
        gpu_embedder.embed(faces[:count])
    before = used_bytes()
    for _ in range(REQUESTS):
        gpu_embedder.embed(faces[: generator.integers(1, 17)])
    assert used_bytes() - before < 2**20


def test_float16_embeddings_are_close_to_float32(small_run: SmallRun, make_faces: MakeFaces, tmp_path: Path) -> None:
    convert_to_float16(small_run.network, tmp_path / "half.onnx")
    faces = make_faces(64).images
    expected = Embedder(small_run.network, provider="cpu").embed(faces)
    spread = np.linalg.norm(expected - expected.mean(axis=0), axis=1).mean()
    found = Embedder(tmp_path / "half.onnx", provider="require").embed(faces)
    assert np.linalg.norm(found - expected, axis=1).max() < 0.02 * spread


def test_tensorrt_embeddings_are_close_to_those_of_the_cpu() -> None:
    embedder = Embedder(default_bundle() / EMBEDDER, provider="tensorrt")
    if TENSORRT not in embedder.providers:
        pytest.skip("TensorRT is not installed")
    cpu = Embedder(default_bundle() / EMBEDDER, provider="cpu").embed(crops(64))
    assert np.linalg.norm(embedder.embed(crops(64)) - cpu, axis=1).max() < 2 * TOLERANCE


def test_gallery_on_the_gpu_answers_as_one_on_the_cpu(tmp_path: Path) -> None:
    if (problem := device_problem()) is not None:
        pytest.skip(problem)
    generator = np.random.default_rng(0)
    base, queries = (generator.normal(size=(count, 64)).astype(np.float32) for count in (20_000, 64))
    faces = [GalleryFace(str(row), embedding) for row, embedding in enumerate(base)]
    answers = []
    for name, to_device in (("gpu", device_of("require")), ("cpu", None)):
        policy = IndexPolicy(kind="exact", to_device=to_device)
        store = open_embedded_gallery(tmp_path / name, 64, "ab" * 32, policy=policy)
        store.add(faces)
        store.wait_for_index()
        store.delete([str(row) for row in range(500)])
        answers.append([[match.face.id for match in each] for each in store.search(queries, 10).matches])
        store.close()
    assert answers[0] == answers[1]


def test_device_memory_of_searches_does_not_grow() -> None:
    if (problem := device_problem()) is not None:
        pytest.skip(problem)
    generator = np.random.default_rng(0)
    search = DeviceIndex(generator.normal(size=(100_000, 64)).astype(np.float32), gpu_index)
    queries = generator.normal(size=(16, 64)).astype(np.float32)
    search.search(queries, 10)
    before = used_bytes()
    for _ in range(REQUESTS):
        search.search(queries[: generator.integers(1, 17)], 10)
    assert used_bytes() - before < 2**20
