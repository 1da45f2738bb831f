import pytest
import torch

from mien.model.losses.centroids import class_centroids
from mien.model.losses.gaussian import gaussian_structured_loss
from mien.model.losses.gaussian_running import RunningCentroids, RunningGaussianLoss
from tests.support.losses import FIXED_SIGMA, random_batch


def test_running_centroids_are_moving_averages() -> None:
    running = RunningCentroids(3, 2, decay=0.75)
    first, second = random_batch(6, 2, 2, seed=4), random_batch(6, 2, 2, seed=5)
    running(first.embeddings, first.classes)
    found, known = running(second.embeddings, second.classes)
    old, _ = class_centroids(first.embeddings, first.classes, 3)
    new, _ = class_centroids(second.embeddings, second.classes, 3)
    torch.testing.assert_close(found[:2], (0.75 * old + 0.25 * new)[:2])
    assert known.tolist() == [True, True, False]


def test_running_centroids_stay_where_a_class_is_absent_and_in_evaluation() -> None:
    running = RunningCentroids(2, 2, decay=0.5)
    given = random_batch(4, 2, 2, seed=6)
    before, _ = running(given.embeddings, given.classes)
    after, _ = running(given.embeddings[:2] + 9, torch.tensor([0, 0]))
    assert torch.equal(after[1], before[1].detach())
    running.eval()
    kept = running.centroids.clone()
    running(given.embeddings, given.classes)
    assert torch.equal(running.centroids, kept)


def test_gradient_flows_through_the_batchs_share_of_a_running_centroid() -> None:
    running = RunningCentroids(1, 1, decay=0.9)
    running(torch.zeros(2, 1), torch.tensor([0, 0]))
    points = torch.ones(2, 1, requires_grad=True)
    centroids, _ = running(points, torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(centroids.sum(), points)
    assert gradient.tolist() == [[pytest.approx(0.05)], [pytest.approx(0.05)]]


def test_running_centroids_without_decay_are_those_of_the_batch() -> None:
    given = random_batch(12, 3, 4, seed=7)
    loss = RunningGaussianLoss(FIXED_SIGMA, 3, 4, decay=0.0)
    loss(random_batch(12, 3, 4, seed=8))
    expected = gaussian_structured_loss(given.embeddings, given.classes, given.targets, 1.0)
    assert float(loss(given)) == pytest.approx(float(expected), rel=1e-6)
