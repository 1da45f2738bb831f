"""What paints portraits, and the portraits of the bundle that ships."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import load_bundle, replace_portraits
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, PORTRAITS
from mien.index.errors import BundleError
from mien.index.fitting.portraits import check_portraits, portray_bundle
from mien.index.views.portraits import load_painter
from mien.model.datasets.ferplus import read_ferplus
from mien.model.embedder.embedder import Embedder
from mien.model.errors import DatasetError, EmbedderError
from mien.model.portraits.config import PortraitConfig
from mien.model.portraits.painter import PortraitPainter
from tests.support.data import ROOT
from tests.support.small_run import SmallRun


@pytest.fixture(scope="module")
def painter() -> PortraitPainter:
    found = load_painter(load_bundle(default_bundle()))
    assert found is not None
    return found


def test_portrait_of_each_centroid_is_classified_as_its_emotion() -> None:
    bundle = load_bundle(default_bundle())
    found = check_portraits(bundle, Embedder(bundle.embedder_path))
    assert found.emotions == bundle.mixture.emotions
    own = [painted == read for painted, read in found.sub_classes.items()]
    assert not own or np.mean(own) >= 0.75
    said = (ROOT / "docs" / "portraits.md").read_text(encoding="utf-8")
    assert f"{sum(own)} of {len(own)} sub-classes" in said


def test_portraits_embed_near_their_points(painter: PortraitPainter) -> None:
    bundle = load_bundle(default_bundle())
    points = bundle.gallery.embeddings[::400]
    read = Embedder(bundle.embedder_path).embed(painter.paint(points))
    off = np.linalg.norm(read - points, axis=1).mean()
    assert off < 0.6 * np.linalg.norm(points - points.mean(axis=0), axis=1).mean()
    named, wanted = (bundle.mixture.distances(each).argmin(axis=1) for each in (read, points))
    assert (named == wanted).mean() > 0.75


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


def test_portraits_of_another_network_are_refused(tmp_path: Path, small_run: SmallRun) -> None:
    shutil.copytree(small_run.bundle, tmp_path / "bundle")
    assert load_painter(load_bundle(tmp_path / "bundle")) is None
    replace_portraits(tmp_path / "bundle", default_bundle() / PORTRAITS)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.portraits_path == tmp_path / "bundle" / PORTRAITS
    with pytest.raises(BundleError, match=f"was made with another {EMBEDDER}"):
        load_painter(bundle)


def test_changed_file_is_refused(tmp_path: Path) -> None:
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    with (tmp_path / "bundle" / PORTRAITS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="does not belong to this bundle"):
        load_bundle(tmp_path / "bundle")


def test_bundle_without_portraits_is_refused(small_run: SmallRun) -> None:
    with pytest.raises(BundleError, match="mien portraits makes it"):
        check_portraits(load_bundle(small_run.bundle), Embedder(small_run.network))


def test_patterns_cannot_be_aligned(small_run: SmallRun) -> None:
    faces = read_ferplus(small_run.data, "Training").take(np.arange(12))
    with pytest.raises(DatasetError, match="no face was found"):
        portray_bundle(small_run.bundle, faces, PortraitConfig(most=2))


@pytest.mark.system
def test_portraits_are_made_from_the_faces_of_the_gallery(tmp_path: Path, ferplus_root: Path) -> None:
    """The whole command on the real faces, but short: without the steps after the linear solution."""
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    faces = read_ferplus(ferplus_root, "Training").take(np.arange(0, 28_558, 40))
    found = portray_bundle(tmp_path / "bundle", faces, PortraitConfig(width=4, most=30, steps=1))
    assert found.emotions[:3] == ("neutral", "happiness", "surprise")
    assert load_painter(load_bundle(tmp_path / "bundle")) is not None
