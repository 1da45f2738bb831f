"""Search on a device, with FAISS's index for CPUs in place of the one for GPUs."""

import logging
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.vectors.gpu import DeviceIndex, device_of, has_gpu_build, on_device
from mien.index.gallery.vectors.policy import Device, IndexPolicy
from mien.model.errors import ConfigError
from mien.service.inference.served_gallery import index_policy
from mien.service.settings import Settings
from tests.support.gallery_implementations import EMBEDDER, SIZE, random_faces

without_gpu = pytest.mark.skipif(has_gpu_build(), reason="this is what happens without faiss-gpu")


class CountedIndex:
    """FAISS's exact index for CPUs, which counts the searches."""

    searches = 0

    def __init__(self, base: NDArray[np.float32]) -> None:
        self._faiss_index = faiss.IndexFlatL2(base.shape[1])
        self._faiss_index.add(base)

    def search(self, queries: NDArray[np.float32], count: int) -> Any:
        CountedIndex.searches += 1
        return self._faiss_index.search(queries, count)


def test_device_and_cpu_find_the_same_through_all_writes(tmp_path: Path) -> None:
    """After additions, replacements and deletions, with and without merges, and after reopening."""
    policy = IndexPolicy(growing=40, growing_share=0.0, to_device=lambda base: on_device(base, CountedIndex))
    faces = random_faces(300, seed=1)
    ours = open_embedded_gallery(tmp_path / "device", SIZE, EMBEDDER, policy=policy)
    theirs = open_embedded_gallery(tmp_path / "cpu", SIZE, EMBEDDER)
    queries = np.stack([face.embedding for face in random_faces(20, seed=2)])

    def compare() -> None:
        for k in (1, 5, 50):
            found, expected = (store.search(queries, k).matches for store in (ours, theirs))
            assert [[match.face.id for match in each] for each in found] == [
                [match.face.id for match in each] for each in expected
            ]

    for store in (ours, theirs):
        store.add(faces[:200])
    ours.wait_for_index()
    before = CountedIndex.searches
    compare()
    assert CountedIndex.searches > before, "the device was searched"
    for store in (ours, theirs):
        store.delete([face.id for face in faces[:30]])  # the device still has them
        store.add(faces[200:230])
    compare()
    moved = [GalleryFace(face.id, face.embedding + np.float32(0.5)) for face in faces[40:90]]
    for store in (ours, theirs):
        store.add(moved, replace=True)
        store.add(faces[230:])
    ours.wait_for_index()
    compare()
    ours.save()
    ours.close()
    ours = open_embedded_gallery(tmp_path / "device", SIZE, EMBEDDER, policy=policy)
    before = CountedIndex.searches
    compare()
    assert CountedIndex.searches > before
    ours.close()
    theirs.close()


def test_search_for_more_than_the_device_finds_at_once(tmp_path: Path) -> None:
    policy = IndexPolicy(growing=10, growing_share=0.0, to_device=lambda base: on_device(base, CountedIndex))
    store = open_embedded_gallery(tmp_path / "gallery", SIZE, EMBEDDER, policy=policy)
    store.add(random_faces(3000, seed=3))
    store.wait_for_index()
    (matches,) = store.search(np.zeros((1, SIZE), dtype=np.float32), 2500).matches
    assert len({match.face.id for match in matches}) == 2500
    store.close()


def test_full_device_leaves_the_search_to_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    def full(base: NDArray[np.float32]) -> None:
        raise RuntimeError("Error in StandardGpuResourcesImpl: out of memory\nmore")

    assert on_device(np.zeros((3, 2), dtype=np.float32), full) is None
    assert "3 faces are searched on the CPU" in caplog.text
    assert isinstance(on_device(np.zeros((3, 2), dtype=np.float32), CountedIndex), DeviceIndex)


@without_gpu
@pytest.mark.parametrize(("device", "warnings"), [("auto", 0), ("cpu", 0), ("cuda", 1)])
def test_cpu_is_used_without_a_gpu(device: Device, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    policy = index_policy(Settings(gallery_device=device))
    assert policy.to_device is None
    assert policy.exact_up_to == 100_000
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warnings
    if warnings:
        assert "expected faiss-gpu" in caplog.text


@without_gpu
def test_required_gpu_is_an_error_without_one() -> None:
    with pytest.raises(ConfigError, match="search on a GPU is required, and cannot be done: expected faiss-gpu"):
        device_of("require")
