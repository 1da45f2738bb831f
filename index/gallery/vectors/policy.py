"""How an embedded gallery is searched: exactly, or by cells once it is large."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.gallery.vectors.vectors import Leading

EXACT_UP_TO: Final = 100_000
"""Faces that ``auto`` searches exactly: one millisecond on one core."""


@dataclass(frozen=True)
class IndexPolicy:
    """How a gallery is searched.

    Attributes:
        kind: ``exact``; ``cells`` (approximate); or ``auto``, which goes over to cells when exact search gets slow.
        exact_up_to: faces that ``auto`` searches exactly.
        tail: faces that may stand behind the base before they are merged into it, at least.
        tail_share: the same, as a share of the base.
        to_device: copies a base to a GPU, where it is then searched exactly (``mien.index.gallery.vectors.gpu``); None
            is the CPU.
    """

    kind: str = "auto"
    exact_up_to: int = EXACT_UP_TO
    tail: int = 5_000
    tail_share: float = 0.1
    to_device: Callable[[NDArray[np.float32]], Leading | None] | None = None

    def wants_cells(self, faces: int) -> bool:
        """Whether so many faces are searched by cells."""
        return (self.kind == "cells" and faces >= 1000) or (self.kind == "auto" and faces > self.exact_up_to)
