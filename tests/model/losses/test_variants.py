import math

import pytest
import torch
from torch import Tensor

from mien.model.errors import ConfigError
from mien.model.losses.base import EmbeddedBatch
from mien.model.losses.build import build_loss
from mien.model.losses.centroids import class_centroids
from mien.model.losses.gaussian import brier_score, gaussian_structured_loss
from mien.model.losses.gaussian_components import GaussianComponentsLoss
from mien.model.losses.gaussian_running import RunningCentroids, RunningGaussianLoss
from mien.model.losses.multi_threshold_triplet import MultiThresholdTripletLoss, dual_triplet_loss
from mien.model.losses.prototypical import PrototypicalLoss
from mien.model.losses.sigma import Sigma
from mien.model.losses.softmax import SoftmaxLoss
from mien.model.losses.triplet import TripletLoss, triplet_loss
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.training.config import LossName, TrainingConfig

FIXED = Sigma("fixed", 1.0, 0.5)
NAMES: list[LossName] = [
    "gaussian",
    "gaussian-running",
    "gaussian-components",
    "prototypical",
    "softmax",
    "triplet",
    "multi-threshold-triplet",
]


def batch(n: int, c: int, d: int, seed: int) -> EmbeddedBatch:
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(n, c, generator=generator)
    return EmbeddedBatch(
        torch.randn(n, d, generator=generator), torch.arange(n) % c, soft / soft.sum(dim=1, keepdim=True)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", ["fixed", "annealed", "learned"])
def test_every_loss_falls_when_its_gradient_is_followed(name: LossName, schedule: str) -> None:
    config = TrainingConfig.model_validate({"loss": name, "sigma_schedule": schedule, "sigma": 2.0})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = build_loss(config, 8)
    given = batch(64, 8, EMBEDDING_SIZE, seed=1)
    points = given.embeddings.clone().requires_grad_()
    certain = torch.nn.functional.one_hot(given.classes, 8).float()
    optimiser = torch.optim.Adam([points, *loss.parameters()], lr=0.05)
    values = []
    for step in range(60):
        value = loss(EmbeddedBatch(points, given.classes, certain, step / 60))
        assert value.shape == ()
        values.append(float(value.detach()))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert values[-1] < 0.6 * values[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_finite_for_equal_embeddings(name: LossName) -> None:
    loss = build_loss(TrainingConfig(loss=name), 8)
    given = batch(32, 8, EMBEDDING_SIZE, seed=2)
    points = torch.zeros_like(given.embeddings).requires_grad_()
    value = loss(EmbeddedBatch(points, given.classes, given.targets))
    value.backward()
    assert torch.isfinite(value)
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_state_of_a_loss_survives_a_checkpoint() -> None:
    config = TrainingConfig(loss="gaussian-components", sigma_schedule="learned")
    loss, again = build_loss(config, 8), build_loss(config, 8)
    given = batch(64, 8, EMBEDDING_SIZE, seed=3)
    loss(given)
    again.load_state_dict(loss.state_dict())
    loss.eval()
    again.eval()
    assert torch.equal(again(given), loss(given))
    assert {"sigma.logarithm", "running.centroids", "running.known"} == loss.state_dict().keys()


def test_sigma_is_fixed_annealed_or_learned() -> None:
    assert [float(Sigma("fixed", 0.7, 0.1)(done)) for done in (0.0, 1.0)] == [pytest.approx(0.7)] * 2
    annealed = [float(Sigma("annealed", 2.0, 0.5)(done)) for done in (0.0, 0.5, 1.0, 2.0)]
    assert annealed == [pytest.approx(value) for value in (2.0, 1.0, 0.5, 0.5)]
    learned = Sigma("learned", 0.7, 0.1)
    assert float(learned(0.3).detach()) == pytest.approx(0.7)
    (gradient,) = torch.autograd.grad(learned(0.3), list(learned.parameters()))
    assert float(gradient) == pytest.approx(0.7)


def test_running_centroids_are_moving_averages() -> None:
    running = RunningCentroids(3, 2, decay=0.75)
    first, second = batch(6, 2, 2, seed=4), batch(6, 2, 2, seed=5)
    running(first.embeddings, first.classes)
    found, known = running(second.embeddings, second.classes)
    old, _ = class_centroids(first.embeddings, first.classes, 3)
    new, _ = class_centroids(second.embeddings, second.classes, 3)
    torch.testing.assert_close(found[:2], (0.75 * old + 0.25 * new)[:2])
    assert known.tolist() == [True, True, False]


def test_running_centroids_stay_where_a_class_is_absent_and_in_evaluation() -> None:
    running = RunningCentroids(2, 2, decay=0.5)
    given = batch(4, 2, 2, seed=6)
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
    given = batch(12, 3, 4, seed=7)
    loss = RunningGaussianLoss(FIXED, 3, 4, decay=0.0)
    loss(batch(12, 3, 4, seed=8))
    expected = gaussian_structured_loss(given.embeddings, given.classes, given.targets, 1.0)
    assert float(loss(given)) == pytest.approx(float(expected), rel=1e-6)


def test_one_component_is_the_running_loss() -> None:
    one, running = (
        GaussianComponentsLoss(FIXED, 3, 4, components=1, decay=0.5),
        RunningGaussianLoss(FIXED, 3, 4, decay=0.5),
    )
    for seed in (9, 10, 11):
        given = batch(12, 3, 4, seed=seed)
        assert float(one(given)) == pytest.approx(float(running(given)), rel=1e-6)


def test_components_find_two_modes_of_an_emotion() -> None:
    generator = torch.Generator().manual_seed(12)
    loss = GaussianComponentsLoss(FIXED, 2, 2, components=2, decay=0.8)
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


def test_softmax_is_cross_entropy_of_a_linear_layer() -> None:
    loss, given = SoftmaxLoss(FIXED, 5, 4), batch(10, 5, 4, seed=13)
    logits = given.embeddings @ loss.head.weight.T + loss.head.bias
    expected = torch.nn.functional.cross_entropy(logits, given.targets)
    torch.testing.assert_close(loss(given), expected)


def test_prototypical_is_cross_entropy_against_the_others() -> None:
    given = batch(9, 3, 4, seed=14)
    total = 0.0
    for i in range(9):
        logits = []
        for j in range(3):
            others = [k for k in range(9) if given.classes[k] == j and k != i]
            logits.append(-(given.embeddings[i] - given.embeddings[others].mean(dim=0)).square().sum() / 2)
        total -= float((given.targets[i] * torch.stack(logits).log_softmax(dim=0)).sum())
    assert float(PrototypicalLoss(FIXED, leave_one_out=True)(given)) == pytest.approx(total / 9, rel=1e-5)


def test_prototypical_leaves_absent_classes_out() -> None:
    given = batch(8, 4, 3, seed=15)
    classes, targets = given.classes % 2, torch.eye(4)[given.classes % 2]
    loss = PrototypicalLoss(FIXED, leave_one_out=False)
    absent = float(loss(EmbeddedBatch(given.embeddings, classes, targets)))
    assert absent == pytest.approx(float(loss(EmbeddedBatch(given.embeddings, classes, targets[:, :2]))), rel=1e-6)


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
    given = batch(11, 3, 4, seed=16)
    for margin in (0.2, 1.0):
        expected = triplets_by_loops(given.embeddings, given.classes.tolist(), margin)
        assert float(triplet_loss(given.embeddings, given.classes, margin)) == pytest.approx(expected, rel=1e-4)
    assert float(TripletLoss(FIXED, margin=1.0)(given)) == pytest.approx(
        triplets_by_loops(given.embeddings, given.classes.tolist(), 1.0), rel=1e-4
    )


def test_far_classes_violate_no_margin() -> None:
    classes = torch.arange(9) % 3
    assert float(triplet_loss(10 * torch.eye(3)[classes], classes, 1.0)) == 0
    assert float(dual_triplet_loss(10 * torch.eye(3)[classes], classes, 1.0)) == 0


def test_dual_triplets_equal_plain_loops() -> None:
    given = batch(11, 3, 4, seed=17)
    z, classes, margin = given.embeddings, given.classes.tolist(), 0.8
    distance = [[math.dist(a.tolist(), b.tolist()) for b in z] for a in z]
    total = 0.0
    for a in range(11):
        p = max((k for k in range(11) if k != a and classes[k] == classes[a]), key=lambda k: distance[a][k])
        n = min((k for k in range(11) if classes[k] != classes[a]), key=lambda k: distance[a][k])
        total += max(0, distance[a][p] - distance[a][n] + margin) + max(0, distance[a][p] - distance[p][n] + margin)
    assert float(dual_triplet_loss(z, given.classes, margin)) == pytest.approx(total / 11, rel=1e-4)


def test_batch_of_one_class_has_no_triplets() -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for loss in (triplet_loss, dual_triplet_loss):
        value = loss(z, torch.zeros(4, dtype=torch.int64), 1.0)
        value.backward()  # type: ignore[no-untyped-call]
        assert not value.detach().any()


def test_each_slice_has_its_margin() -> None:
    loss, given = MultiThresholdTripletLoss(FIXED, 8, largest_margin=2.0, slices=4), batch(12, 3, 8, seed=18)
    assert loss.margins == [pytest.approx(margin) for margin in (0.5, 1.0, 1.5, 2.0)]
    parts = [
        float(dual_triplet_loss(given.embeddings[:, 2 * k : 2 * k + 2], given.classes, 0.5 * (k + 1))) for k in range(4)
    ]
    assert float(loss(given)) == pytest.approx(sum(parts) / 4, rel=1e-6)
    with pytest.raises(ConfigError, match=r"slices must divide the 64 dimensions .* got 7"):
        MultiThresholdTripletLoss(FIXED, 64, largest_margin=1.0, slices=7)
