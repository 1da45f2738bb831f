import math

import pytest
import torch
from torch import Tensor

from mien.model.losses.base import EmbeddedBatch
from mien.model.losses.centroids import class_centroids, squared_distances
from mien.model.losses.gaussian import GaussianLoss, gaussian_structured_loss, mixed_loss
from mien.model.losses.sigma import Sigma


def loss_by_loops(z: Tensor, labels: Tensor, targets: Tensor, sigma: float, *, leave_one_out: bool) -> float:
    """The definition, one number at a time, in float64."""
    points, classes, goal = z.double().tolist(), labels.tolist(), targets.double().tolist()
    n, c = len(points), targets.shape[1]
    total = 0.0
    for i in range(n):
        weights = [0.0] * c
        for j in range(c):
            members = [k for k in range(n) if classes[k] == j]
            if not members:
                continue
            if leave_one_out and classes[i] == j and len(members) > 1:
                members = [k for k in members if k != i]
            centroid = [sum(points[k][d] for k in members) / len(members) for d in range(z.shape[1])]
            squared = sum((a - b) ** 2 for a, b in zip(points[i], centroid, strict=True))
            weights[j] = math.exp(-squared / (2 * sigma**2))
        for j in range(c):
            if j in classes:
                total += (weights[j] / sum(weights) - goal[i][j]) ** 2
    return total / n


def batch(n: int, c: int, d: int, seed: int, present: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, d, generator=generator, dtype=torch.float64)
    labels = torch.arange(n) % (present or c)
    soft = torch.rand(n, c, generator=generator, dtype=torch.float64)
    return z, labels, soft / soft.sum(dim=1, keepdim=True)


def one_hot(labels: Tensor, c: int) -> Tensor:
    return torch.eye(c, dtype=torch.float64)[labels]


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("c", "present"), [(8, 8), (8, 5), (3, 3)])
def test_loss_equals_plain_loops(c: int, present: int, sigma: float, leave_one_out: bool) -> None:
    z, labels, soft = batch(17, c, 4, seed=c + present, present=present)
    for targets in (soft, one_hot(labels, c)):
        found = gaussian_structured_loss(z, labels, targets, sigma, leave_one_out=leave_one_out)
        assert found.shape == ()
        assert float(found) == pytest.approx(
            loss_by_loops(z, labels, targets, sigma, leave_one_out=leave_one_out), rel=1e-12
        )


def test_class_of_one_sample_keeps_it_when_one_is_left_out() -> None:
    z, _, _ = batch(5, 3, 2, seed=0)
    labels = torch.tensor([0, 0, 0, 1, 2])
    targets = one_hot(labels, 3)
    found = float(gaussian_structured_loss(z, labels, targets, 1.0, leave_one_out=True))
    assert found == pytest.approx(loss_by_loops(z, labels, targets, 1.0, leave_one_out=True), rel=1e-12)


def test_float32_stays_close_to_float64() -> None:
    z, labels, soft = batch(40, 8, 64, seed=4)
    single = gaussian_structured_loss(z.float(), labels, soft.float(), 1.0)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(gaussian_structured_loss(z, labels, soft, 1.0)), rel=1e-5)


@pytest.mark.parametrize("c", [2, 8])
def test_uniform_posterior_scores_one_minus_one_over_c(c: int) -> None:
    labels = torch.arange(4 * c) % c
    z = torch.full((4 * c, 64), 3.0)
    assert float(gaussian_structured_loss(z, labels, one_hot(labels, c).float(), 1.0)) == pytest.approx(1 - 1 / c)


def test_separate_classes_score_zero_and_swapped_targets_two() -> None:
    labels = torch.arange(12) % 3
    z = 100 * torch.eye(3)[labels]
    assert float(gaussian_structured_loss(z, labels, one_hot(labels, 3).float(), 1.0)) == pytest.approx(0, abs=1e-6)
    swapped = one_hot((labels + 1) % 3, 3).float()
    assert float(gaussian_structured_loss(z, labels, swapped, 1.0)) == pytest.approx(2)


def test_no_dead_zone_far_from_every_centroid() -> None:
    # Two samples of each class, far apart in opposite directions: every centroid is hundreds of sigma^2 away from
    # every sample, so that exp(-squared / 2) is zero in float32. The nearer ones should still win.
    offset = torch.tensor([30.0, 0.0])
    means = torch.tensor([[0.0, 0.0], [0.0, 0.5]])
    z = torch.cat([means + offset, means - offset]).requires_grad_()
    labels = torch.tensor([0, 1, 0, 1])
    squared = squared_distances(z, class_centroids(z, labels, 2)[0]).detach()
    assert float(squared.min()) > 800
    assert torch.exp(-squared / 2).sum() == 0
    loss = gaussian_structured_loss(z, labels, one_hot(labels, 2).float(), 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert (z.grad.norm(dim=1) > 1e-3).all()


def test_gradient_flows_through_the_centroids() -> None:
    z, labels, targets = batch(12, 3, 4, seed=1)
    z.requires_grad_()
    (whole,) = torch.autograd.grad(gaussian_structured_loss(z, labels, targets, 1.0), z)
    centroids = class_centroids(z, labels, 3)[0].detach()
    posterior = (-squared_distances(z, centroids) / 2).softmax(dim=1)
    (detached,) = torch.autograd.grad((posterior - targets).square().sum(dim=1).mean(), z)
    assert not torch.allclose(whole, detached, rtol=0.01)
    # Only differences of embeddings count, so moving all of them together changes nothing.
    torch.testing.assert_close(whole.sum(dim=0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("present", [8, 5])
def test_gradients_agree_with_finite_differences(present: int, leave_one_out: bool) -> None:
    z, labels, targets = batch(14, 8, 3, seed=2, present=present)
    z.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda points: gaussian_structured_loss(points, labels, targets, 0.8, leave_one_out=leave_one_out), (z,)
    )


def test_absent_classes_take_no_part() -> None:
    z, labels, _ = batch(12, 8, 4, seed=3, present=3)
    among_eight = gaussian_structured_loss(z, labels, one_hot(labels, 8), 1.0)
    among_three = gaussian_structured_loss(z, labels, one_hot(labels, 3), 1.0)
    assert float(among_eight) == pytest.approx(float(among_three), rel=1e-12)


def test_soft_targets_are_met_by_a_soft_posterior() -> None:
    # A sample halfway between two symmetric classes has the posterior (1/2, 1/2).
    z = torch.tensor([[-1.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    posterior = (-squared_distances(z, class_centroids(z, labels, 2)[0]) / 2).softmax(dim=1)
    assert float(gaussian_structured_loss(z, labels, posterior, 1.0)) == pytest.approx(0, abs=1e-15)
    assert float(gaussian_structured_loss(z, labels, one_hot(labels, 2), 1.0)) > 0.1


def test_leaving_one_out_takes_the_reward_from_mere_spread() -> None:
    # Noise without classes: a sample that is part of its centroid looks closer to it than it is.
    generator = torch.Generator().manual_seed(0)
    z, labels = 3 * torch.randn(64, 64, generator=generator), torch.arange(64) % 8
    targets = one_hot(labels, 8).float()
    assert float(gaussian_structured_loss(z, labels, targets, 1.0)) < 0.3
    assert float(gaussian_structured_loss(z, labels, targets, 1.0, leave_one_out=True)) > 0.875


def test_sub_classes_are_summed_by_emotion() -> None:
    z, classes, _ = batch(24, 4, 3, seed=6)
    emotion_of = torch.tensor([0, 0, 1, 2])
    targets = one_hot(emotion_of[classes], 3)
    centroids = torch.stack([z[classes == j].mean(dim=0) for j in range(4)])
    posterior = (-(z[:, None] - centroids[None]).square().sum(dim=2) / 2).softmax(dim=1)
    of_emotions = torch.stack([posterior[:, 0] + posterior[:, 1], posterior[:, 2], posterior[:, 3]], dim=1)
    found = gaussian_structured_loss(z, classes, targets, 1.0, emotion_of=emotion_of)
    assert float(found) == pytest.approx(float((of_emotions - targets).square().sum(dim=1).mean()), rel=1e-12)
    identity = gaussian_structured_loss(z, classes, one_hot(classes, 4), 1.0, emotion_of=torch.arange(4))
    assert float(identity) == pytest.approx(float(gaussian_structured_loss(z, classes, one_hot(classes, 4), 1.0)))


def test_emotion_takes_part_when_one_of_its_sub_classes_does() -> None:
    z, _, _ = batch(12, 3, 4, seed=7)
    classes = torch.arange(12) % 2 * 2  # of the four sub-classes, 0 and 2 are there
    emotion_of = torch.tensor([0, 0, 1, 2])
    found = gaussian_structured_loss(z, classes, one_hot(emotion_of[classes], 3), 1.0, emotion_of=emotion_of)
    alone = gaussian_structured_loss(z, classes // 2, one_hot(classes // 2, 2), 1.0)
    assert float(found) == pytest.approx(float(alone), rel=1e-12)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_module_is_the_function_with_its_sigma(leave_one_out: bool) -> None:
    z, labels, targets = batch(12, 3, 4, seed=8)
    loss = GaussianLoss(Sigma("annealed", 2.0, 0.5), leave_one_out=leave_one_out)
    for done, sigma in ((0.0, 2.0), (0.5, 1.0), (1.0, 0.5)):
        found = float(loss(EmbeddedBatch(z, labels, targets, done)))
        assert found == pytest.approx(
            float(gaussian_structured_loss(z, labels, targets, sigma, leave_one_out=leave_one_out)), rel=1e-6
        )
    assert loss.state_dict() == {}


def test_weights_of_the_components_are_shares_of_the_batch() -> None:
    z, _, targets = batch(12, 3, 4, seed=3)
    labels = torch.tensor([0] * 7 + [1] * 4 + [2])
    found = gaussian_structured_loss(z, labels, targets, 0.8, prior_power=1.0)
    squared = squared_distances(z, class_centroids(z, labels, 3)[0])
    weighted = torch.tensor([7.0, 4.0, 1.0]) * (-squared / (2 * 0.8**2)).exp()
    expected = (weighted / weighted.sum(dim=1, keepdim=True) - targets).square().sum(dim=1).mean()
    torch.testing.assert_close(found, expected)
    without = gaussian_structured_loss(z, labels, targets, 0.8)
    torch.testing.assert_close(gaussian_structured_loss(z, labels, targets, 0.8, prior_power=0.0), without)


def test_weights_leave_absent_classes_out() -> None:
    z, labels, targets = batch(12, 4, 4, seed=3, present=3)
    loss = gaussian_structured_loss(z.requires_grad_(), labels, targets, 1.0, prior_power=1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_mixed_points_lie_between_two_classes_and_have_both_as_target() -> None:
    """On the line between two centroids the posterior is the mixed target only where the loss says so."""
    z = torch.tensor([[-3.0, 0.0], [3.0, 0.0]]).repeat_interleave(20, dim=0)
    labels = torch.tensor([0, 1]).repeat_interleave(20)
    targets = torch.eye(2)[labels]
    torch.manual_seed(0)
    losses = torch.stack([mixed_loss(z, labels, targets, 1.0, 2.0) for _ in range(50)])
    assert losses.min() > 0
    assert losses.max() < 0.5
    # Points mixed with a partner of their own class are certain, and half are: half of the batch costs nothing.
    soft = torch.stack([mixed_loss(z, labels, targets, 3.0, 2.0) for _ in range(50)])
    assert soft.mean() < losses.mean()  # a wider sigma shares out the points between


def test_mixing_hangs_on_the_global_generator_alone_and_is_half_of_the_loss() -> None:
    z, labels, targets = batch(16, 4, 4, seed=5)
    points = EmbeddedBatch(z, labels, targets)
    loss = GaussianLoss(Sigma("fixed", 1.0, 1.0), leave_one_out=True, mixing=2.0)
    plain = GaussianLoss(Sigma("fixed", 1.0, 1.0), leave_one_out=True)
    torch.manual_seed(7)
    first = loss(points)
    torch.manual_seed(7)
    mixed = mixed_loss(z, labels, targets, 1.0, 2.0)
    torch.testing.assert_close(first, (plain(points) + mixed) / 2)
