"""The cells file: how a large gallery was sorted into cells, so that a restart need not sort it anew."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import GalleryError
from mien.index.gallery.vectors.ivf import Cells
from mien.model.files import write_atomically


@dataclass(frozen=True)
class CellsImage:
    """What a cells file holds; it belongs to the resident file of the same generation and counter.

    Attributes:
        generation: of the database.
        counter: of the database.
        centroids: (c, d) float32.
        of_face: (n,) int32 the cell of each face of the resident file, -1 where it had none yet.
        probes: how many cells a query looks into.
        recall: that was measured with so many.
    """

    generation: str
    counter: int
    centroids: NDArray[np.float32]
    of_face: NDArray[np.int32]
    probes: int
    recall: float

    def cells(self, base: NDArray[np.float32]) -> Cells:
        """The cells over the base of the resident file."""
        cells = Cells(base, self.centroids, self.of_face.astype(np.int64), self.probes)
        cells.recall = self.recall
        return cells


def write_cells(path: Path, image: CellsImage) -> None:
    """Write a cells file, whole or not at all."""
    with write_atomically(path) as file:
        np.savez(
            file,
            generation=np.array(image.generation),
            counter=np.array(image.counter),
            centroids=image.centroids,
            of_face=image.of_face,
            probes=np.array(image.probes),
            recall=np.array(image.recall),
        )


def read_cells(path: Path) -> CellsImage:
    """Read a cells file.

    Raises:
        GalleryError: it is broken.
        FileNotFoundError: there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            image = CellsImage(
                str(file["generation"]),
                int(file["counter"]),
                file["centroids"].astype(np.float32),
                file["of_face"].astype(np.int32),
                int(file["probes"]),
                float(file["recall"]),
            )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise GalleryError(f"{path} is broken: {error}") from None
    count = len(image.centroids)
    whole = image.centroids.ndim == 2 and image.of_face.ndim == 1 and 1 <= image.probes <= count
    if not whole or (len(image.of_face) and not -1 <= image.of_face.min() <= image.of_face.max() < count):
        raise GalleryError(f"{path} is broken: its parts do not fit one another")
    return image
