from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import PORTRAITS
from mien.model.embedder.embedder import Embedder
from mien.model.errors import EmbedderError
from mien.model.portraits.painter import PortraitPainter
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def painter() -> PortraitPainter:
    return PortraitPainter(default_bundle() / PORTRAITS)


def test_portraits_embed_near_their_points(painter: PortraitPainter, shipped_bundle: Bundle) -> None:
    points = shipped_bundle.gallery.embeddings[::400]
    read = Embedder(shipped_bundle.embedder_path).embed(painter.paint(points))
    off = np.linalg.norm(read - points, axis=1).mean()
    assert off < 0.6 * np.linalg.norm(points - points.mean(axis=0), axis=1).mean()
    emotions, expected = (shipped_bundle.mixture.distances(each).argmin(axis=1) for each in (read, points))
    assert (emotions == expected).mean() > 0.75


def test_batch_does_not_change_a_portrait(painter: PortraitPainter) -> None:
    points = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float32)
    faces = painter.paint(points)
    assert faces.shape == (300, 48, 48)
    assert faces.dtype == np.uint8
    one = painter.paint(points[299:])[0].astype(int)
    assert np.abs(one - faces[299].astype(int)).max() <= 1
    assert painter.paint(points[:0]).shape == (0, 48, 48)


def test_embeddings_of_other_dimensions_are_refused(painter: PortraitPainter) -> None:
    with pytest.raises(ValueError, match=r"expected embeddings \(n, 64\), got \(2, 3\)"):
        painter.paint(np.zeros((2, 3), np.float32))


def test_file_is_small() -> None:
    assert (default_bundle() / PORTRAITS).stat().st_size < 3 * 2**20


def test_other_files_are_refused(tmp_path: Path, small_run: SmallRun) -> None:
    with pytest.raises(EmbedderError, match="no portrait network at"):
        PortraitPainter(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(EmbedderError, match="is no network that ONNX Runtime can load"):
        PortraitPainter(tmp_path / "x.onnx")
    with pytest.raises(EmbedderError, match="was not written by mien portraits"):
        PortraitPainter(small_run.network)
