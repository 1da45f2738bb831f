import math

import pytest
import torch
from torch import Tensor

from mien.model.losses.multi_threshold_triplet import dual_triplet_loss
from mien.model.losses.triplet import TripletLoss, triplet_loss
from tests.support.losses import FIXED_SIGMA, random_batch


def triplets_by_loops(z: Tensor, classes: list[int], margin: float) -> float:
    gaps = []
    for a in range(len(classes)):
        for p in range(len(classes)):
            for n in range(len(classes)):
                if a != p and classes[a] == classes[p] and classes[a] != classes[n]:
                    gap = math.dist(z[a].tolist(), z[p].tolist()) - math.dist(z[a].tolist(), z[n].tolist()) + margin
                    gaps += [gap] if gap > 0 else []
    return sum(gaps) / max(1, len(gaps))


def test_triplets_equal_plain_loops() -> None:
    given = random_batch(11, 3, 4, seed=16)
    for margin in (0.2, 1.0):
        expected = triplets_by_loops(given.embeddings, given.classes.tolist(), margin)
        assert float(triplet_loss(given.embeddings, given.classes, margin)) == pytest.approx(expected, rel=1e-4)
    assert float(TripletLoss(FIXED_SIGMA, margin=1.0)(given)) == pytest.approx(
        triplets_by_loops(given.embeddings, given.classes.tolist(), 1.0), rel=1e-4
    )


def test_far_classes_violate_no_margin() -> None:
    classes = torch.arange(9) % 3
    assert float(triplet_loss(10 * torch.eye(3)[classes], classes, 1.0)) == 0
    assert float(dual_triplet_loss(10 * torch.eye(3)[classes], classes, 1.0)) == 0


def test_batch_of_one_class_has_no_triplets() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for loss in (triplet_loss, dual_triplet_loss):
        value = loss(z, torch.zeros(4, dtype=torch.int64), 1.0)
        value.backward()  # type: ignore[no-untyped-call]
        assert not value.detach().any()
