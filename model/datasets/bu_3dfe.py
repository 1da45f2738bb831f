"""BU-3DFE: 100 people, six posed expressions at four intensities each, and the neutral face.

    F0001/F0001_AN01WH_F2D.bmp     subject, expression, intensity, ancestry; F2D is the frontal photograph

Three-dimensional models and their textures (``_F3D``, ``_RAW``) in the same folders are ignored.

Source: Yin, Wei, Sun, Wang, Rosato: *A 3D Facial Expression Database For Facial Behavior Research*, FG 2006.
"""

import re
from pathlib import Path
from typing import Final

from mien.model.datasets.base import Collection, LabelledPhotographs, check_split, files_by_name
from mien.model.errors import DatasetError

EXPRESSIONS: Final = {
    "AN": "anger",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
"""Classes of BU-3DFE and JAFFE by their letters."""

SPLITS: Final = ("all", "intense")

_NAME: Final = re.compile(
    r"(?P<subject>[FM]\d{4})_(?P<expression>[A-Z]{2})0(?P<intensity>[0-4])[A-Z]{2}_F2D\.bmp", re.ASCII | re.IGNORECASE
)

_INTENSE: Final = ("3", "4")


def read_bu_3dfe(root: Path, split: str = "all") -> LabelledPhotographs:
    """Read the frontal photographs of BU-3DFE.

    Args:
        root: the folder that holds the subjects' folders, at any depth.
        split: ``all``, or ``intense`` for the upper two of the four intensities, and the neutral faces.

    Raises:
        DatasetError: there are none, or a file has another kind of name.
    """
    check_split(split, SPLITS, "BU-3DFE")
    collection = Collection(f"BU-3DFE {split}")
    for name, path in files_by_name(root, "_f2d.bmp").items():
        parts = _NAME.fullmatch(name)
        if parts is None or parts["expression"].upper() not in EXPRESSIONS:
            raise DatasetError(f"{path}: expected a name such as F0001_AN01WH_F2D.bmp")
        emotion = EXPRESSIONS[parts["expression"].upper()]
        if (emotion == "neutral") != (parts["intensity"] == "0"):
            raise DatasetError(f"{path}: expected intensity 00 for NE and 01 to 04 for the rest")
        if split == "intense" and emotion != "neutral" and parts["intensity"] not in _INTENSE:
            collection.leave_out("lower intensities")
            continue
        collection.add(path, emotion, subject=parts["subject"].upper())
    return collection.photographs()
