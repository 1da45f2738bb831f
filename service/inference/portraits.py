"""Portraits of points, kept once they are painted."""

import threading
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.index.bundle.bundle import Bundle
from mien.index.errors import QueryError
from mien.index.views.portraits import load_painter

MAX_CACHED: Final = 4096
"""Portraits that are kept: 9 MiB."""


class PortraitCache:
    """Paints portraits, and keeps those that were used last. Thread-safe."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the painter of ``bundle``; without one, ``paint`` fails.

        Raises:
            BundleError: the painter belongs to another network.
        """
        self._painter = load_painter(bundle)
        self._portraits: OrderedDict[bytes, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._portraits)

    @property
    def can_paint(self) -> bool:
        """Whether the bundle has a painter."""
        return self._painter is not None

    def paint(self, embeddings: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(n, side, side) uint8 portraits of (n, d) embeddings.

        Raises:
            QueryError: the bundle has no painter.
        """
        if self._painter is None:
            raise QueryError("the bundle that is served has no portraits: mien portraits makes them")
        keys = [row.tobytes() for row in embeddings]
        with self._lock:
            known = {key: self._portraits[key] for key in keys if key in self._portraits}
            for key in known:
                self._portraits.move_to_end(key)
        missing = {key: row for key, row in zip(keys, embeddings, strict=True) if key not in known}
        if missing:
            painted = self._painter.paint(np.stack(list(missing.values())))
            known |= dict(zip(missing, painted, strict=True))
            with self._lock:
                self._portraits.update({key: known[key] for key in missing})
                while len(self._portraits) > MAX_CACHED:
                    self._portraits.popitem(last=False)
        return np.stack([known[key] for key in keys])
