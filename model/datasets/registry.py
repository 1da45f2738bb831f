"""The data sets that can be read, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mien.model.datasets.affectnet import read_affectnet
from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.bu_3dfe import read_bu_3dfe
from mien.model.datasets.ck_plus import read_ck_plus
from mien.model.datasets.csv_table import read_listing
from mien.model.datasets.folders import read_folders
from mien.model.datasets.jaffe import read_jaffe
from mien.model.datasets.raf_db import read_raf_db
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError


@dataclass(frozen=True)
class Reader:
    """How a data set is read.

    Attributes:
        read: takes the data set's folder, the name of a split and, with ``own_labels``, the emotions.
        default_split: the split of the transfer protocol.
        layout: what the folder holds, in a few words.
        own_labels: whether the labels are those of the user and not those of the data set.
    """

    read: Callable[..., LabelledPhotographs]
    default_split: str
    layout: str
    own_labels: bool = False


DATASETS: Final[dict[str, Reader]] = {
    "affectnet": Reader(
        read_affectnet, "validation", "validation.csv with Manually_Annotated_Images/, or val_set/{images,annotations}/"
    ),
    "ck+": Reader(read_ck_plus, "all", "cohn-kanade-images/ and Emotion/"),
    "bu-3dfe": Reader(read_bu_3dfe, "all", "F0001/F0001_AN01WH_F2D.bmp"),
    "jaffe": Reader(read_jaffe, "all", "KA.AN1.39.tiff"),
    "raf-db": Reader(read_raf_db, "all", "EmoLabel/list_patition_label.txt and Image/{aligned,original}/"),
    "folders": Reader(read_folders, "all", "a folder of photographs per label", own_labels=True),
    "csv": Reader(
        read_listing, "all", "a table with the columns image and label, and perhaps subject", own_labels=True
    ),
}


def read_dataset(
    name: str, root: Path, split: str | None = None, emotions: tuple[str, ...] = EMOTIONS
) -> LabelledPhotographs:
    """Read a data set.

    Args:
        name: one of ``DATASETS``.
        root: its folder.
        split: one of its splits; None takes the one of the transfer protocol.
        emotions: photographs with another emotion are left out.

    Raises:
        DatasetError: there is no such data set or split, or the folder has another layout.
    """
    if name not in DATASETS:
        raise DatasetError(f"expected one of the data sets {', '.join(DATASETS)}, got {name!r}")
    if not root.is_dir() and not (root.is_file() and name == "csv"):
        raise DatasetError(
            f"expected the data set {name} in the folder {root}, found {'a file' if root.exists() else 'nothing'} there"
        )
    reader = DATASETS[name]
    split = reader.default_split if split is None else split
    return reader.read(root, split, emotions) if reader.own_labels else reader.read(root, split).of(emotions)
