"""Inputs of losses."""

from typing import Final

import torch

from mien.model.losses.base import EmbeddedBatch
from mien.model.losses.sigma import Sigma

FIXED_SIGMA: Final = Sigma("fixed", 1.0, 0.5)


def random_batch(n: int, c: int, d: int, seed: int) -> EmbeddedBatch:
    """n random embeddings in d dimensions with random targets; the c classes take turns."""
    generator = torch.Generator().manual_seed(seed)
    soft = torch.rand(n, c, generator=generator)
    return EmbeddedBatch(
        torch.randn(n, d, generator=generator), torch.arange(n) % c, soft / soft.sum(dim=1, keepdim=True)
    )
