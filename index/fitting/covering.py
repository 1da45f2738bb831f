"""Fits the test of covered mouths and eyes on coverings that are drawn over faces."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.index.fitting.drawn_coverings import SEEN, cover
from mien.index.mixture.covering import PARTS, CoveringTest, covering_features
from mien.model.embedder.embedder import Embedder

FALSE_ALARMS: Final = 0.02
"""The share of uncovered held-out faces that each part's test may call covered."""

REGULARISATION: Final = 0.03
"""C of the logistic regression."""

COUNT: Final = 1000
"""Faces that each kind of covering is drawn on; six times as many stay as they are."""

_SEED: Final = 1
_LEAST_PX: Final = 20
"""Half of the faces are scaled down, at most to this side, and up again: a blurred face is not a covered one."""


def fit_covering(
    embedder: Embedder, training: NDArray[np.uint8], held_out: NDArray[np.uint8], *, count: int = COUNT
) -> CoveringTest:
    """Fit a logistic regression for each part, and set its threshold on faces that are held out.

    Args:
        embedder: of the bundle.
        training: (n, side, side) uint8 crops to draw on.
        held_out: (m, side, side) uint8 crops that the network was not trained on; the thresholds leave at most
            ``FALSE_ALARMS`` of them covered.
        count: faces that each kind is drawn on.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(_SEED)
    crops = [_some(training, 6 * count, generator)]
    parts: list[str] = [""] * len(crops[0])
    for covering in SEEN:
        crops.append(cover(_some(training, count, generator), covering, _SEED))
        parts += [covering.part] * len(crops[-1])
    softened = _softened(np.concatenate(crops), generator)
    features = covering_features(softened, embedder.embed(softened))
    clear = covering_features(held_out, embedder.embed(held_out))
    weights, biases = [], []
    for part in PARTS:
        test: Any = make_pipeline(
            StandardScaler(), LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000)
        )
        test.fit(features, np.array(parts) == part)
        scaler, regression = test[0], test[1]
        weights.append(regression.coef_[0] / scaler.scale_)
        biases.append(-np.quantile(clear @ weights[-1], 1 - FALSE_ALARMS))
    return CoveringTest(np.stack(weights), np.array(biases))


def _some(faces: NDArray[np.uint8], count: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    return faces[np.sort(generator.permutation(len(faces))[:count])]


def _softened(crops: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """The crops, every other one with less detail."""
    softened = crops.copy()
    side = crops.shape[1]
    for row in range(0, len(crops), 2):
        small = int(generator.integers(_LEAST_PX, side))
        reduced = Image.fromarray(crops[row]).resize((small, small), Image.Resampling.BOX)
        softened[row] = np.asarray(reduced.resize((side, side), Image.Resampling.BICUBIC))
    return softened
