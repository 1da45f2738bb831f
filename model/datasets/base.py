"""Labelled photographs: the result of every reader of a data set."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError
from mien.model.faces.box import Box
from mien.model.files import files_below

SUFFIXES: Final = frozenset((".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""Suffixes of the names of photographs, in lower case."""


@dataclass(frozen=True)
class LabelledPhotographs:
    """Photographs of a data set with one emotion each; the files are not read yet.

    Attributes:
        name: of the data set and its split, for reports.
        paths: (n,) files.
        labels: (n,) int64 indices into ``EMOTIONS``.
        subjects: (n,) the person on each photograph; None if the data set does not name them.
        cropped: whether the photographs are face crops already, so that no face has to be detected.
        boxes: (n,) the box of the labelled face, None for a photograph without one; None if no photograph has one.
        left_out: how many photographs were left out, by reason, such as a class that FER+ does not have.
    """

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    subjects: tuple[str, ...] | None
    cropped: bool
    boxes: tuple[Box | None, ...] | None
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions in the data set, in FER+ order."""
        return tuple(name for label, name in enumerate(EMOTIONS) if label in self.labels)

    @property
    def missing_emotions(self) -> tuple[str, ...]:
        """The emotions that are not in the data set, in FER+ order."""
        return tuple(name for name in EMOTIONS if name not in self.classes)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "LabelledPhotographs":
        """The photographs at ``rows`` (indices or a mask), in that order."""
        chosen = np.arange(len(self))[rows]
        return LabelledPhotographs(
            self.name,
            tuple(self.paths[row] for row in chosen),
            self.labels[chosen],
            tuple(self.subjects[row] for row in chosen) if self.subjects is not None else None,
            self.cropped,
            tuple(self.boxes[row] for row in chosen) if self.boxes is not None else None,
            self.left_out,
        )


@dataclass
class Collection:
    """Collects photographs while a data set is read, and counts those that are left out.

    Attributes:
        name: of the data set and its split, for reports.
        cropped: whether the photographs are face crops already.
    """

    name: str
    cropped: bool = False
    _paths: list[Path] = field(default_factory=list)
    _labels: list[int] = field(default_factory=list)
    _subjects: list[str | None] = field(default_factory=list)
    _boxes: list[Box | None] = field(default_factory=list)
    _left_out: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path, emotion: str, *, subject: str | None = None, box: Box | None = None) -> None:
        """Add a photograph if its emotion is one of FER+; otherwise count its class as left out.

        Raises:
            DatasetError: the file does not exist.
        """
        if emotion not in EMOTIONS:
            self.leave_out(emotion)
            return
        if not path.is_file():
            raise DatasetError(f"expected the labelled photograph {path}, found none")
        self._paths.append(path)
        self._labels.append(EMOTIONS.index(emotion))
        self._subjects.append(subject)
        self._boxes.append(box)

    def leave_out(self, what: str, count: int = 1) -> None:
        """Count photographs that are left out."""
        if count:
            self._left_out[what] += count

    def photographs(self) -> LabelledPhotographs:
        """All photographs that were added.

        Raises:
            DatasetError: there are none.
        """
        if not self._paths:
            raise DatasetError(
                f"{self.name}: expected photographs with one of the emotions {', '.join(EMOTIONS)}, got "
                + (", ".join(f"{count} of {what!r}" for what, count in self._left_out.items()) or "none at all")
            )
        subjects = tuple(subject for subject in self._subjects if subject is not None)
        return LabelledPhotographs(
            self.name,
            tuple(self._paths),
            np.array(self._labels, dtype=np.int64),
            subjects if len(subjects) == len(self._paths) else None,
            self.cropped,
            tuple(self._boxes) if any(self._boxes) else None,
            dict(self._left_out),
        )


def check_split(split: str, splits: tuple[str, ...], dataset: str) -> None:
    """Check that a data set has a split.

    Raises:
        DatasetError: ``split`` is none of ``splits``.
    """
    if split not in splits:
        raise DatasetError(f"{dataset} has the splits {', '.join(splits)}, got {split!r}")


def files_by_name(root: Path, ending: str) -> dict[str, Path]:
    """The files below a folder whose names end with ``ending`` (lower case), by name.

    Raises:
        DatasetError: two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in files_below(root):
        # Archives packed on macOS have a second file for every file, in a folder of this name.
        if not path.name.lower().endswith(ending) or "__MACOSX" in path.parts:
            continue
        if path.name in found:
            raise DatasetError(f"{root}: expected each photograph once, got {found[path.name]} and {path}")
        found[path.name] = path
    return found


def first_folder(root: Path, candidates: tuple[str, ...], dataset: str) -> Path:
    """The first of the ``candidates`` that is a folder below ``root``.

    Raises:
        DatasetError: none is.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DatasetError(f"{root} holds no {dataset}: expected the folder {' or '.join(candidates)}")
