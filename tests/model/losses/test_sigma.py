import pytest
import torch

from mien.model.losses.sigma import Sigma


def test_sigma_is_fixed_annealed_or_learned() -> None:
    assert [float(Sigma("fixed", 0.7, 0.1)(done)) for done in (0.0, 1.0)] == [pytest.approx(0.7)] * 2
    annealed = [float(Sigma("annealed", 2.0, 0.5)(done)) for done in (0.0, 0.5, 1.0, 2.0)]
    assert annealed == [pytest.approx(value) for value in (2.0, 1.0, 0.5, 0.5)]
    learned = Sigma("learned", 0.7, 0.1)
    assert float(learned(0.3).detach()) == pytest.approx(0.7)
    (gradient,) = torch.autograd.grad(learned(0.3), list(learned.parameters()))
    assert float(gradient) == pytest.approx(0.7)
