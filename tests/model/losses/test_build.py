from typing import get_args

import pytest
import torch

from mien.model.losses.base import EmbeddedBatch
from mien.model.losses.build import build_loss
from mien.model.networks.network import EMBEDDING_SIZE
from mien.model.training.config import LossName, TrainingConfig
from tests.support.losses import random_batch

NAMES: tuple[LossName, ...] = get_args(LossName)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", ["fixed", "annealed", "learned"])
def test_every_loss_falls_when_its_gradient_is_followed(name: LossName, schedule: str) -> None:
    config = TrainingConfig.model_validate({"loss": name, "sigma_schedule": schedule, "sigma": 2.0})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss = build_loss(config, 8)
    given = random_batch(64, 8, EMBEDDING_SIZE, seed=1)
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
    given = random_batch(32, 8, EMBEDDING_SIZE, seed=2)
    points = torch.zeros_like(given.embeddings).requires_grad_()
    value = loss(EmbeddedBatch(points, given.classes, given.targets))
    value.backward()
    assert torch.isfinite(value)
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_state_of_a_loss_survives_a_checkpoint() -> None:
    config = TrainingConfig(loss="gaussian-components", sigma_schedule="learned")
    loss, again = build_loss(config, 8), build_loss(config, 8)
    given = random_batch(64, 8, EMBEDDING_SIZE, seed=3)
    loss(given)
    again.load_state_dict(loss.state_dict())
    loss.eval()
    again.eval()
    assert torch.equal(again(given), loss(given))
    assert {"sigma.logarithm", "running.centroids", "running.known"} == loss.state_dict().keys()
