import shutil
from pathlib import Path

import numpy as np
import pytest

from mien.index.bundle.bundle import load_bundle, replace_covering
from mien.index.bundle.covering_npz import read_covering, write_covering
from mien.index.bundle.default import default_bundle
from mien.index.bundle.manifest import COVERING, read_manifest, write_manifest
from mien.index.errors import BundleError
from mien.index.mixture.covering import FEATURES, CoveringTest


@pytest.fixture
def test() -> CoveringTest:
    return CoveringTest(np.random.default_rng(0).normal(size=(2, FEATURES + 3)), np.array([-1.0, 2.0]))


def test_it_is_read_as_written(test: CoveringTest, tmp_path: Path) -> None:
    write_covering(tmp_path / "covering.npz", test, "network")
    read = read_covering(tmp_path / "covering.npz", "network", 3)
    np.testing.assert_array_equal(read.weights, test.weights)
    np.testing.assert_array_equal(read.biases, test.biases)


def test_other_network_or_size_is_refused(test: CoveringTest, tmp_path: Path) -> None:
    path = tmp_path / "covering.npz"
    write_covering(path, test, "network")
    with pytest.raises(BundleError, match="another embedder"):
        read_covering(path, "other", 3)
    with pytest.raises(BundleError, match="weights must be finite floats of shape"):
        read_covering(path, "network", 64)
    path.write_bytes(b"no archive")
    with pytest.raises(BundleError, match="broken"):
        read_covering(path, "network", 3)


def test_bundle_without_it_loads_and_can_be_given_one(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(default_bundle(), folder)
    covering = load_bundle(folder).covering
    assert covering is not None
    (folder / COVERING).unlink()
    manifest = read_manifest(folder)
    digests = {name: digest for name, digest in manifest.sha256.items() if name != COVERING}
    write_manifest(folder, manifest.model_copy(update={"sha256": digests}))
    assert load_bundle(folder).covering is None
    replace_covering(folder, covering)
    given = load_bundle(folder)
    assert given.covering is not None
    np.testing.assert_array_equal(given.covering.weights, covering.weights)
    assert given.manifest.scores == manifest.scores
