"""AffectNet: faces from the web, labelled by one annotator each.

Two layouts are read:

- *tables*: ``training.csv`` and ``validation.csv`` (also below ``Manually_Annotated_file_lists/``) with the
  photographs below ``Manually_Annotated_Images/``, as first distributed; the tables have the boxes of the faces;
- *annotations*: ``train_set/`` and ``val_set/``, each with ``images/0.jpg`` (224x224 face crops) and
  ``annotations/0_exp.npy``, as distributed since 2021.

Source: Mollahosseini, Hasani, Mahoor: *AffectNet: A Database for Facial Expression, Valence, and Arousal Computing in
the Wild*, arXiv 1708.03985.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from mien.model.datasets.base import SUFFIXES, Collection, LabelledPhotographs, check_split, first_folder
from mien.model.datasets.csv_table import lines, rows
from mien.model.errors import DatasetError
from mien.model.faces.box import Box

EXPRESSIONS: Final = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
    "none",
    "uncertain",
    "no face",
)
"""AffectNet's classes in the order of their numbers."""

SPLITS: Final = ("validation", "training", "all")

_SETS: Final = {"validation": "val_set", "training": "train_set"}

_BOX: Final = ("face_x", "face_y", "face_width", "face_height")

_COLUMNS: Final = ("subDirectory_filePath", *_BOX, "facial_landmarks", "expression", "valence", "arousal")
"""The columns of a table in the published order, for versions without a heading."""

_IMAGES: Final = (
    "Manually_Annotated_Images",
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
)


def read_affectnet(root: Path, split: str = "validation") -> LabelledPhotographs:
    """Read AffectNet's manually annotated photographs.

    Args:
        root: the folder of either layout.
        split: ``validation``, for which results are published, ``training`` or ``all``.

    Raises:
        DatasetError: the folder has neither layout, a file is malformed, or a labelled photograph is missing.
    """
    check_split(split, SPLITS, "AffectNet")
    parts = SPLITS[:2] if split == "all" else (split,)
    tables = {part: _table(root, part) for part in parts}
    if all(tables.values()):
        collection = Collection(f"AffectNet {split}")
        images = first_folder(root, _IMAGES, "AffectNet images")
        for table in filter(None, tables.values()):
            _read_table(table, images, collection)
    elif all((root / _SETS[part] / "annotations").is_dir() for part in parts):
        collection = Collection(f"AffectNet {split}", cropped=True)
        for part in parts:
            _read_annotations(root / _SETS[part], collection)
    else:
        raise DatasetError(
            f"{root} holds no AffectNet {split}: expected "
            + " and ".join(f"{part}.csv with {_IMAGES[0]}/, or {_SETS[part]}/annotations/" for part in parts)
        )
    return collection.photographs()


def _table(root: Path, part: str) -> Path | None:
    places = (root / f"{part}.csv", root / "Manually_Annotated_file_lists" / f"{part}.csv")
    return next((place for place in places if place.is_file()), None)


def _read_table(table: Path, images: Path, collection: Collection) -> None:
    seen: set[str] = set()
    for line, row in _entries(table):
        name = row["subDirectory_filePath"].strip()
        if name in seen:
            collection.leave_out("listed again")
            continue
        seen.add(name)
        try:
            collection.add(images / name, _expression(row["expression"]), box=_box(row))
        except DatasetError as error:
            raise DatasetError(f"{table}, line {line}: {error}") from None


def _entries(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    _, first = next(lines(table), (0, list[str]()))
    if _COLUMNS[0] in first:
        yield from rows(table, (_COLUMNS[0], *_BOX, "expression"))
        return
    for line, fields in lines(table):
        if len(fields) != len(_COLUMNS):
            raise DatasetError(f"{table}, line {line}: expected {len(_COLUMNS)} fields, got {len(fields)}")
        yield line, dict(zip(_COLUMNS, fields, strict=True))


def _expression(text: str) -> str:
    number = text.strip()
    if not (number.isascii() and number.isdecimal() and int(number) < len(EXPRESSIONS)):
        raise DatasetError(f"expression must be a whole number from 0 to {len(EXPRESSIONS) - 1}, got {text!r}")
    return EXPRESSIONS[int(number)]


def _box(row: dict[str, str]) -> Box | None:
    """The box of a face; None for NULL or a box without area, as pictures without a face have."""
    fields = [row[column].strip() for column in _BOX]
    if any(field.upper() in ("", "NULL") for field in fields):
        return None
    try:
        x, y, width, height = map(float, fields)
    except ValueError:
        raise DatasetError(f"{', '.join(_BOX)} must be numbers, got {', '.join(fields)}") from None
    return (x, y, width, height) if all(map(math.isfinite, (x, y))) and width > 0 and height > 0 else None


def _read_annotations(folder: Path, collection: Collection) -> None:
    images = first_folder(folder, ("images",), "AffectNet images")
    waiting = {path.stem: path for path in sorted(images.iterdir()) if path.suffix.lower() in SUFFIXES}
    for annotation in sorted((folder / "annotations").glob("*_exp.npy"), key=_number):
        image = waiting.pop(annotation.name.removesuffix("_exp.npy"), None)
        if image is None:
            raise DatasetError(f"{annotation}: expected its photograph in {images}, found none")
        try:
            collection.add(image, _expression(_stored(annotation)))
        except DatasetError as error:
            raise DatasetError(f"{annotation}: {error}") from None
    collection.leave_out("without an annotation", len(waiting))


def _number(annotation: Path) -> tuple[int, str]:
    """Sorts annotations by their numbers, so that 2 comes before 10."""
    digits = annotation.name.removesuffix("_exp.npy")
    return (int(digits), "") if digits.isascii() and digits.isdecimal() else (-1, digits)


def _stored(annotation: Path) -> str:
    """The one value of an annotation file: a number, stored as text."""
    try:
        value = np.load(annotation, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"expected a NumPy file, got {error}") from None
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise DatasetError("expected a NumPy file with one value")
    return str(value.item())
