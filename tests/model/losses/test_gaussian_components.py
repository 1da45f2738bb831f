import math

import pytest
import torch

from mien.model.losses.base import EmbeddedBatch
from mien.model.losses.gaussian import brier_score, gaussian_structured_loss
from mien.model.losses.gaussian_components import GaussianComponentsLoss
from mien.model.losses.gaussian_running import RunningGaussianLoss
from tests.support.losses import FIXED_SIGMA, random_batch


def test_one_component_is_the_running_loss() -> None:
    one, running = (
        GaussianComponentsLoss(FIXED_SIGMA, 3, 4, components=1, decay=0.5),
        RunningGaussianLoss(FIXED_SIGMA, 3, 4, decay=0.5),
    )
    for seed in (9, 10, 11):
        given = random_batch(12, 3, 4, seed=seed)
        assert float(one(given)) == pytest.approx(float(running(given)), rel=1e-6)


def test_components_find_two_modes_of_an_emotion() -> None:
    generator = torch.Generator().manual_seed(12)
    loss = GaussianComponentsLoss(FIXED_SIGMA, 2, 2, components=2, decay=0.8)
    places = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, -5.0], [0.0, 5.0]])
    targets = torch.eye(2)
    for _ in range(30):
        way = torch.arange(32) % 4
        z = places[way] + 0.3 * torch.randn(32, 2, generator=generator)
        value = loss(EmbeddedBatch(z, way // 2, targets[way // 2]))
    found = loss.running.centroids
    for emotion, rows in ((0, slice(0, 2)), (1, slice(2, 4))):
        order = found[rows].sum(dim=1).argsort()
        torch.testing.assert_close(found[rows][order], places[2 * emotion : 2 * emotion + 2], atol=0.5, rtol=0)
    assert float(value) < 0.01  # a single centroid of each emotion would be at the origin
    assert float(gaussian_structured_loss(z, way // 2, targets[way // 2], 1.0)) > 0.3


def test_brier_score_of_components_by_hand() -> None:
    squared = torch.tensor([[0.0, 2 * math.log(2), 2 * math.log(4)]])  # weights 1, 1/2, 1/4
    found = brier_score(
        squared, torch.tensor([True, True, True]), torch.tensor([[1.0, 0.0]]), 1.0, emotion_of=torch.tensor([0, 1, 1])
    )
    assert float(found) == pytest.approx(2 * (3 / 7) ** 2)
