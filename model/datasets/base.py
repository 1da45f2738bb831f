"""Labelled photographs: the result of every reader of a data set."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.emotions import EMOTIONS, SPELLINGS, emotion_of, in_order
from mien.model.errors import DatasetError
from mien.model.faces.box import Box
from mien.model.files import files_below

SUFFIXES: Final = frozenset((".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""Suffixes of the names of photographs, in lower case."""

_NEAR: Final = 0.8
"""A label as near to an emotion as this (difflib's ratio) is a misspelt one."""


@dataclass(frozen=True)
class LabelledPhotographs:
    """Photographs of a data set with one emotion each; the files are not read yet.

    Attributes:
        name: of the data set and its split, for reports.
        paths: (n,) files.
        labels: (n,) int64 indices into ``emotions``.
        subjects: (n,) the person on each photograph; None if the data set does not name them.
        cropped: whether the photographs are face crops already, so that no face has to be detected.
        boxes: (n,) the box of the labelled face, None for a photograph without one; None if no photograph has one.
        left_out: how many photographs were left out, by reason, such as a class that is not asked for.
        emotions: (c,) names.
        metadata: further columns of the data set, each with (n,) texts.
    """

    name: str
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    subjects: tuple[str, ...] | None
    cropped: bool
    boxes: tuple[Box | None, ...] | None
    left_out: dict[str, int]
    emotions: tuple[str, ...] = EMOTIONS
    metadata: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions that photographs have."""
        return tuple(name for label, name in enumerate(self.emotions) if label in self.labels)

    @property
    def missing_emotions(self) -> tuple[str, ...]:
        """The emotions that no photograph has."""
        return tuple(name for name in self.emotions if name not in self.classes)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "LabelledPhotographs":
        """The photographs at ``rows`` (indices or a mask), in that order."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            paths=tuple(self.paths[row] for row in chosen),
            labels=self.labels[chosen],
            subjects=tuple(self.subjects[row] for row in chosen) if self.subjects is not None else None,
            boxes=tuple(self.boxes[row] for row in chosen) if self.boxes is not None else None,
            metadata={name: tuple(values[row] for row in chosen) for name, values in self.metadata.items()},
        )

    def of(self, emotions: tuple[str, ...]) -> "LabelledPhotographs":
        """The photographs with one of these ``emotions``; the others are counted as left out.

        Raises:
            DatasetError: there are none.
        """
        if emotions == self.emotions:
            return self
        names = [self.emotions[label] for label in self.labels.tolist()]
        kept = np.array([name in emotions for name in names], dtype=np.bool_)
        left_out = {**self.left_out, **Counter(name for name in names if name not in emotions)}
        if not kept.any():
            raise _none_of(self.name, emotions, left_out)
        labels = np.array([emotions.index(name) for name in names if name in emotions], dtype=np.int64)
        return replace(self.take(kept), labels=labels, left_out=left_out, emotions=emotions)


@dataclass
class Collection:
    """Collects photographs while a data set is read, and counts those that are left out.

    Attributes:
        name: of the data set and its split, for reports.
        cropped: whether the photographs are face crops already.
        emotions: photographs with another emotion are left out; None keeps all, and those that occur are the emotions.
    """

    name: str
    cropped: bool = False
    emotions: tuple[str, ...] | None = EMOTIONS
    _paths: list[Path] = field(default_factory=list)
    _labels: list[str] = field(default_factory=list)
    _subjects: list[str | None] = field(default_factory=list)
    _boxes: list[Box | None] = field(default_factory=list)
    _metadata: list[Mapping[str, str]] = field(default_factory=list)
    _left_out: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        path: Path,
        emotion: str,
        *,
        subject: str | None = None,
        box: Box | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Add a photograph, or count its emotion as left out.

        Args:
            path: its file.
            emotion: its label.
            subject: the person; None where it is not known.
            box: of the labelled face.
            metadata: its further columns: those of the first photograph.

        Raises:
            DatasetError: the file does not exist, or the emotion is a misspelt one.
        """
        if self.emotions is not None and emotion not in self.emotions:
            check_spelling(emotion, self.emotions)
            self.leave_out(emotion)
            return
        if not path.is_file():
            raise DatasetError(f"expected the labelled photograph {path}, found none")
        self._paths.append(path)
        self._labels.append(emotion)
        self._subjects.append(subject)
        self._boxes.append(box)
        self._metadata.append(metadata or {})

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
            raise _none_of(self.name, self.emotions or (), self._left_out)
        emotions = self.emotions or in_order(self._labels)
        subjects = tuple(subject for subject in self._subjects if subject is not None)
        return LabelledPhotographs(
            self.name,
            tuple(self._paths),
            np.array([emotions.index(emotion) for emotion in self._labels], dtype=np.int64),
            subjects if len(subjects) == len(self._paths) else None,
            self.cropped,
            tuple(self._boxes) if any(self._boxes) else None,
            dict(self._left_out),
            emotions,
            {name: tuple(each[name] for each in self._metadata) for name in self._metadata[0]},
        )


def _none_of(name: str, emotions: tuple[str, ...], left_out: Mapping[str, int]) -> DatasetError:
    wanted = f"photographs with one of the emotions {', '.join(emotions)}" if emotions else "labelled photographs"
    found = ", ".join(f"{count} of {what!r}" for what, count in left_out.items()) or "none at all"
    return DatasetError(f"{name}: expected {wanted}, got {found}")


def check_spelling(label: str, emotions: tuple[str, ...]) -> None:
    """Refuse a label that is nearly one of the emotions: left out, it would leave a wrong score.

    Raises:
        DatasetError: the label is misspelt.
    """
    spellings = {spelling: name for spelling in (*emotions, *SPELLINGS) if (name := emotion_of(spelling)) in emotions}
    near = get_close_matches(label.lower(), spellings, n=1, cutoff=_NEAR)
    if near and label not in emotions:
        raise DatasetError(f"no emotion is called {label!r}: did you mean {spellings[near[0]]}?")


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
