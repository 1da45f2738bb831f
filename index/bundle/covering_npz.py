"""``covering.npz``: the test of covered mouths and eyes."""

from pathlib import Path
from typing import Final

import numpy as np

from mien.index.bundle.npz import read_arrays
from mien.index.mixture.covering import FEATURES, PARTS, CoveringTest

# f features: those of a crop and the d dimensions of its embedding.
_SHAPES: Final = {"weights": f"f {len(PARTS)} f", "biases": f"f {len(PARTS)}"}


def write_covering(path: Path, test: CoveringTest, embedder_sha256: str) -> None:
    """Write a test that was fitted on embeddings of the network with this digest."""
    np.savez_compressed(path, embedder_sha256=np.array(embedder_sha256), weights=test.weights, biases=test.biases)


def read_covering(path: Path, embedder_sha256: str, size: int) -> CoveringTest:
    """Read what ``write_covering`` wrote.

    Args:
        path: the file.
        embedder_sha256: of the bundle's network.
        size: d, dimensions of its embeddings.

    Raises:
        BundleError: the file is broken, or belongs to another network.
    """
    arrays = read_arrays(path, embedder_sha256, _SHAPES, sizes={"f": FEATURES + size})
    return CoveringTest(arrays["weights"], arrays["biases"])
