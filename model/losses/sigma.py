"""Sigma: the standard deviation shared by all Gaussians of a loss; fixed, annealed or learned."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

SigmaSchedule = Literal["fixed", "annealed", "learned"]


class Sigma(nn.Module):
    """Standard deviation of the Gaussians of a loss, in embedding units.

    - *fixed*: ``start`` throughout, as in the paper.
    - *annealed*: from ``start`` to ``end`` geometrically, so that borders between classes are soft first.
    - *learned*: a parameter that starts at ``start``; its logarithm is learned, so that it stays positive.
    """

    def __init__(self, schedule: SigmaSchedule, start: float, end: float) -> None:
        super().__init__()
        self.schedule, self.start, self.end = schedule, start, end
        self.logarithm = nn.Parameter(torch.tensor(math.log(start))) if schedule == "learned" else None

    def forward(self, done: float) -> Tensor:
        """() float, sigma after the share ``done`` of the training."""
        if self.logarithm is not None:
            return self.logarithm.exp()
        if self.schedule == "annealed":
            return torch.tensor(self.start * (self.end / self.start) ** min(1.0, max(0.0, done)))
        return torch.tensor(self.start)
