"""Sigma: the standard deviation that all components share; fixed, annealed or learned."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

SigmaSchedule = Literal["fixed", "annealed", "learned"]


class Sigma(nn.Module):
    """Standard deviation of the Gaussians that a loss shapes, in embedding units.

    - *fixed*: ``start`` throughout, as in the paper.
    - *annealed*: from ``start`` to ``end`` in equal ratios: soft borders first, sharp ones last.
    - *learned*: a parameter that starts at ``start``. It is learned as a logarithm, which keeps it positive.
    """

    def __init__(self, schedule: SigmaSchedule, start: float, end: float) -> None:
        super().__init__()
        self.schedule, self.start, self.end = schedule, start, end
        self.logarithm = nn.Parameter(torch.tensor(math.log(start))) if schedule == "learned" else None

    def forward(self, done: float) -> Tensor:
        """() float sigma when the share ``done`` of the training is done."""
        if self.logarithm is not None:
            return self.logarithm.exp()
        if self.schedule == "annealed":
            return torch.tensor(self.start * (self.end / self.start) ** min(1.0, max(0.0, done)))
        return torch.tensor(self.start)
