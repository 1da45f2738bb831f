"""JAFFE: ten Japanese women, seven posed expressions each, 213 grey photographs.

    jaffe/KA.AN1.39.tiff     subject, expression and which of her photographs of it, number

Source: Lyons, Akamatsu, Kamachi, Gyoba: *Coding Facial Expressions with Gabor Wavelets*, FG 1998.
"""

import re
from pathlib import Path
from typing import Final

from mien.model.datasets.base import Collection, LabelledPhotographs, check_split, files_by_name
from mien.model.datasets.bu_3dfe import EXPRESSIONS
from mien.model.errors import DatasetError

SPLITS: Final = ("all",)

ENDINGS: Final = (".tiff", ".tif", ".png")
"""The owners distribute TIFF files, copies of the set are PNG files; the first kind that is there is read."""

_NAME: Final = re.compile(
    r"(?P<subject>[A-Z]{2})\.(?P<expression>[A-Z]{2})\d\.\d+\.(tiff?|png)", re.ASCII | re.IGNORECASE
)


def read_jaffe(root: Path, split: str = "all") -> LabelledPhotographs:
    """Read JAFFE.

    Args:
        root: the folder that holds the files, at any depth.
        split: ``all``.

    Raises:
        DatasetError: there are none, or a file has another kind of name.
    """
    check_split(split, SPLITS, "JAFFE")
    collection = Collection("JAFFE all")
    files = next((found for ending in ENDINGS if (found := files_by_name(root, ending))), {})
    for name, path in files.items():
        parts = _NAME.fullmatch(name)
        if parts is None or parts["expression"].upper() not in EXPRESSIONS:
            raise DatasetError(f"{path}: expected a name such as KA.AN1.39.tiff")
        collection.add(path, EXPRESSIONS[parts["expression"].upper()], subject=parts["subject"].upper())
    return collection.photographs()
