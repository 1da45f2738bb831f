import math

import pytest

from mien.model.errors import ConfigError
from mien.model.losses.multi_threshold_triplet import MultiThresholdTripletLoss, dual_triplet_loss
from tests.support.losses import FIXED_SIGMA, random_batch


def test_dual_triplets_equal_plain_loops() -> None:
    given = random_batch(11, 3, 4, seed=17)
    z, classes, margin = given.embeddings, given.classes.tolist(), 0.8
    distance = [[math.dist(a.tolist(), b.tolist()) for b in z] for a in z]
    total = 0.0
    for a in range(11):
        p = max((k for k in range(11) if k != a and classes[k] == classes[a]), key=lambda k: distance[a][k])
        n = min((k for k in range(11) if classes[k] != classes[a]), key=lambda k: distance[a][k])
        total += max(0, distance[a][p] - distance[a][n] + margin) + max(0, distance[a][p] - distance[p][n] + margin)
    assert float(dual_triplet_loss(z, given.classes, margin)) == pytest.approx(total / 11, rel=1e-4)


def test_each_slice_has_its_margin() -> None:
    loss, given = (
        MultiThresholdTripletLoss(FIXED_SIGMA, 8, largest_margin=2.0, slices=4),
        random_batch(12, 3, 8, seed=18),
    )
    assert loss.margins == [pytest.approx(margin) for margin in (0.5, 1.0, 1.5, 2.0)]
    parts = [
        float(dual_triplet_loss(given.embeddings[:, 2 * k : 2 * k + 2], given.classes, 0.5 * (k + 1))) for k in range(4)
    ]
    assert float(loss(given)) == pytest.approx(sum(parts) / 4, rel=1e-6)
    with pytest.raises(ConfigError, match=r"slices must divide the 64 dimensions .* got 7"):
        MultiThresholdTripletLoss(FIXED_SIGMA, 64, largest_margin=1.0, slices=7)
