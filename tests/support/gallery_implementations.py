"""The implementations of a gallery, and faces to fill them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.store import GalleryStore
from tests.support.milvus_galleries import open_pooled

SIZE: Final = 8
EMBEDDER: Final = "ab" * 32

OpenGallery = Callable[[Path], GalleryStore]
"""Opens the gallery of a folder; creates it the first time, and later finds what it had."""


def open_embedded(folder: Path) -> GalleryStore:
    return open_embedded_gallery(folder, SIZE, EMBEDDER)


def open_distributed(folder: Path) -> GalleryStore:
    return open_pooled(folder, SIZE, EMBEDDER)


IMPLEMENTATIONS: Final[dict[str, OpenGallery]] = {"embedded": open_embedded, "distributed": open_distributed}
"""By name. An implementation that needs a server starts it on its first call, or skips the test without one."""

EACH_IMPLEMENTATION: Final = ["embedded", pytest.param("distributed", marks=pytest.mark.milvus)]
"""The names, as parameters of tests."""


def face(face_id: str, place: float | NDArray[np.floating] = 0.0, **fields: Any) -> GalleryFace:
    """A face at ``place``: an embedding, or its coordinate on the first axis."""
    embedding = np.zeros(SIZE, dtype=np.float32)
    if isinstance(place, np.ndarray):
        embedding[:] = place
    else:
        embedding[0] = place
    return GalleryFace(face_id, embedding, **fields)


def random_faces(count: int, seed: int = 0, prefix: str = "face") -> list[GalleryFace]:
    """Faces with all fields, in two emotions and five subjects; some without."""
    generator = np.random.default_rng(seed)
    return [
        face(
            f"{prefix}-{row:05d}",
            generator.normal(size=SIZE),
            label=("happiness", "fear", None)[row % 3],
            emotion=("happiness", "fear")[row % 2],
            sub_class=f"{('happiness', 'fear')[row % 2]}/{row % 4 // 2 + 1}",
            subject=None if row % 6 == 5 else f"subject {row % 6}",
            metadata={"row": row, "camera": {"name": f"cam{row % 7}"}, "flash": row % 2 == 0},
            time=1_700_000_000.0 + row,
        )
        for row in range(count)
    ]
