import shutil
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle, load_bundle, replace_portraits
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import EMBEDDER, PORTRAITS
from mien.index.errors import BundleError
from mien.index.fitting.portraits import check_portraits, portray_bundle
from mien.index.views.portraits import load_painter
from mien.model.datasets.ferplus import read_ferplus
from mien.model.embedder.embedder import Embedder
from mien.model.errors import DatasetError
from mien.model.portraits.config import PortraitConfig
from tests.support.data import ROOT
from tests.support.small_run import SmallRun


def test_portrait_of_each_centroid_is_classified_as_its_emotion(shipped_bundle: Bundle) -> None:
    found = check_portraits(shipped_bundle, Embedder(shipped_bundle.embedder_path))
    assert found.emotions == shipped_bundle.mixture.emotions
    own = [painted == read for painted, read in found.sub_classes.items()]
    assert not own or np.mean(own) >= 0.75
    document = (ROOT / "docs" / "portraits.md").read_text(encoding="utf-8")
    assert f"{sum(own)} of {len(own)} sub-classes" in document


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
    """The whole command on the real faces, but short."""
    shutil.copytree(default_bundle(), tmp_path / "bundle")
    faces = read_ferplus(ferplus_root, "Training").take(np.arange(0, 28_558, 40))
    found = portray_bundle(
        tmp_path / "bundle",
        faces,
        PortraitConfig(most=60, neighbours=10, points=300, width=64, components=32, steps=300, rounds=2),
    )
    assert found.emotions[:3] == ("neutral", "happiness", "surprise")
    assert load_painter(load_bundle(tmp_path / "bundle")) is not None
