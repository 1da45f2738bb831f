"""Batches bound to memory, on the CPU's: the same calls bind a GPU's."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER
from mien.model.embedder.embedder import Embedder
from mien.model.embedder.io_binding import BoundBatch


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(default_bundle() / EMBEDDER), providers=["CPUExecutionProvider"])


def test_bound_batch_gives_the_same_embeddings(session: onnxruntime.InferenceSession) -> None:
    """Also from several threads at once, and no result changes an earlier one."""
    bound = BoundBatch(session, (4, 48, 48), (4, 64), device="cpu")
    generator = np.random.default_rng(0)
    batches = [generator.integers(0, 256, (4, 48, 48), dtype=np.uint8) for _ in range(12)]
    embedder = Embedder(default_bundle() / EMBEDDER, provider="cpu")
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(bound.run, batches))
    for batch, embeddings in zip(batches, found, strict=True):
        assert embeddings.shape == (4, 64)
        np.testing.assert_allclose(embeddings, embedder.embed(batch), atol=1e-5)


def test_another_shape_is_refused(session: onnxruntime.InferenceSession) -> None:
    bound = BoundBatch(session, (4, 48, 48), (4, 64), device="cpu")
    with pytest.raises(Exception, match=r"(?i)shape|size|dimension"):
        bound.run(np.zeros((3, 48, 48), dtype=np.uint8))
