"""How an embedded gallery is searched: exactly, or approximately once it is large; on the CPU or a GPU.

Settings import this module, so it does not import FAISS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mien.index.gallery.vectors.view import AnnIndex

Device = Literal["auto", "cpu", "cuda", "require"]
"""Where exact search runs; the words mean what they mean for the network (``mien.model.embedder.provider``)."""

IndexKind = Literal["auto", "exact", "ivf"]
"""``exact``; ``ivf``, which is approximate; or ``auto``, which is ``ivf`` once exact search gets slow."""

EXACT_UP_TO: Final = 100_000
"""Faces that ``auto`` searches exactly: one millisecond on one core."""

_MIN_IVF_FACES: Final = 1000


@dataclass(frozen=True)
class IndexPolicy:
    """How a gallery is searched.

    Attributes:
        kind: exact or approximate.
        exact_up_to: faces that ``auto`` searches exactly.
        growing: vectors that the growing segment may always have before it is merged.
        growing_share: vectors that it may have, as a share of the sealed segment.
        to_device: copies a sealed segment to a GPU, to be searched exactly there (``mien.index.gallery.vectors.gpu``);
            None searches on the CPU.
    """

    kind: IndexKind = "auto"
    exact_up_to: int = EXACT_UP_TO
    growing: int = 5_000
    growing_share: float = 0.1
    to_device: "Callable[[NDArray[np.float32]], AnnIndex | None] | None" = None

    def needs_ivf(self, faces: int) -> bool:
        """Whether so many faces are searched approximately."""
        return (self.kind == "ivf" and faces >= _MIN_IVF_FACES) or (self.kind == "auto" and faces > self.exact_up_to)

    def needs_merge(self, sealed: int, growing: int, tombstones: int) -> bool:
        """Whether the growing segment or the tombstones have become too many."""
        return max(growing, tombstones) > max(self.growing, int(self.growing_share * sealed))
