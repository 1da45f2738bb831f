import pytest
import torch

from mien.model.losses.base import EmbeddedBatch
from mien.model.losses.prototypical import PrototypicalLoss
from tests.support.losses import FIXED_SIGMA, random_batch


def test_prototypical_is_cross_entropy_against_the_others() -> None:
    given = random_batch(9, 3, 4, seed=14)
    total = 0.0
    for i in range(9):
        logits = []
        for j in range(3):
            others = [k for k in range(9) if given.classes[k] == j and k != i]
            logits.append(-(given.embeddings[i] - given.embeddings[others].mean(dim=0)).square().sum() / 2)
        total -= float((given.targets[i] * torch.stack(logits).log_softmax(dim=0)).sum())
    assert float(PrototypicalLoss(FIXED_SIGMA, leave_one_out=True)(given)) == pytest.approx(total / 9, rel=1e-5)


def test_prototypical_leaves_absent_classes_out() -> None:
    given = random_batch(8, 4, 3, seed=15)
    classes, targets = given.classes % 2, torch.eye(4)[given.classes % 2]
    loss = PrototypicalLoss(FIXED_SIGMA, leave_one_out=False)
    absent = float(loss(EmbeddedBatch(given.embeddings, classes, targets)))
    assert absent == pytest.approx(float(loss(EmbeddedBatch(given.embeddings, classes, targets[:, :2]))), rel=1e-6)
