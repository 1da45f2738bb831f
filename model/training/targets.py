"""What a network learns from: faces, the class that each belongs to, and the distribution it is scored against."""

import csv
import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.emotions import EMOTIONS, UNLABELLED, distribution, drop_single_votes, labels
from mien.model.errors import DatasetError
from mien.model.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingSet:
    """Faces that take part in training.

    Attributes:
        names: (n,) as the data set has them.
        images: (n, h, w) uint8 crops.
        emotions: (n,) int64 indices into ``EMOTIONS``.
        classes: (n,) int64, the class whose centroid each face belongs to: its emotion, or its sub-class.
        targets: (n, 8) float32 rows that sum to 1.
        emotion_of: (s,) int64, the emotion of each sub-class; None where the classes are the emotions.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    emotions: NDArray[np.int64]
    classes: NDArray[np.int64]
    targets: NDArray[np.float32]
    emotion_of: NDArray[np.int64] | None = None

    @property
    def class_count(self) -> int:
        """s: how many classes have a centroid."""
        return len(EMOTIONS) if self.emotion_of is None else len(self.emotion_of)


@dataclass(frozen=True)
class SubClassLabels:
    """Which sub-class each face belongs to, as ``mien discover`` writes it.

    Attributes:
        of_face: from the face's name, without a file's ending, to its sub-class, such as ``happiness/1``.
        sha256: of the file, as hexadecimal digits.
    """

    of_face: dict[str, str]
    sha256: str


def read_sub_classes(path: Path) -> SubClassLabels:
    """Read a CSV file with the columns ``name`` and ``sub_class``.

    Raises:
        DatasetError: the file cannot be read, or a row is no face with a sub-class of one of the emotions.
    """
    try:
        raw = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"sub-classes cannot be read from {path}: {error}") from None
    of_face: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        name, sub_class = row.get("name"), row.get("sub_class")
        if not name or not sub_class or sub_class.partition("/")[0] not in EMOTIONS:
            raise DatasetError(
                f"{path}, line {number}: expected a name and a sub_class such as happiness/1, "
                f"got {name!r} and {sub_class!r}"
            )
        of_face[Path(name).stem] = sub_class
    if not of_face:
        raise DatasetError(f"{path} gives no face a sub-class")
    return SubClassLabels(of_face, hashlib.sha256(raw).hexdigest())


def training_set(
    faces: LabelledFaces, config: TrainingConfig, sub_classes: SubClassLabels | None = None
) -> TrainingSet:
    """The faces that take part, by the protocol of ``config`` or, with sub-classes, by having one.

    Vote targets leave single votes out, as Barsoum et al. do; a face with nothing but single votes keeps them. With
    sub-classes, a face without a label of its own takes part with the sub-class that was inferred for it, as long as
    its raters voted for any emotion: the votes are what it is scored against.

    With ``second_opinion``, FER2013's own label counts as that many additional votes.

    Raises:
        DatasetError: sub-classes were given and none of the faces has one, or a second opinion is asked for and none
            of the faces has one.
    """
    faces = _with_second_opinion(faces, config.second_opinion)
    emotions = labels(faces.votes, config.protocol)
    if sub_classes is None:
        taken = faces.take(emotions != UNLABELLED)
        emotions = emotions[emotions != UNLABELLED]
        return TrainingSet(taken.names, taken.images, emotions, emotions, targets_of(taken.votes, emotions, config))
    given = [sub_classes.of_face.get(Path(name).stem, "") for name in faces.names]
    voted = distribution(faces.votes).sum(axis=1) > 0
    rows = np.array([row for row, sub_class in enumerate(given) if sub_class and voted[row]], dtype=np.int64)
    if len(rows) == 0:
        raise DatasetError(f"none of the {len(faces)} training faces has a sub-class: the file belongs to other faces")
    names = sorted({given[row] for row in rows})
    emotion_of = np.array([EMOTIONS.index(name.partition("/")[0]) for name in names], dtype=np.int64)
    classes = np.array([names.index(given[row]) for row in rows], dtype=np.int64)
    # A face whose raters agree on no emotion counts as its sub-class's where one emotion is asked for.
    emotions = np.where(emotions[rows] != UNLABELLED, emotions[rows], emotion_of[classes])
    taken = faces.take(rows)
    targets = targets_of(taken.votes, emotions, config)
    return TrainingSet(taken.names, taken.images, emotions, classes, targets, emotion_of)


def _with_second_opinion(faces: LabelledFaces, count: int) -> LabelledFaces:
    """The faces with ``count`` additional votes for FER2013's own label of each, where there is one."""
    if count == 0:
        return faces
    opinions = faces.opinions
    if opinions is None or not (opinions != UNLABELLED).any():
        raise DatasetError(f"second_opinion must be 0 for faces without FER2013's own labels, got {count}")
    labelled = np.flatnonzero(opinions != UNLABELLED)
    votes = faces.votes.copy()
    votes[labelled, opinions[labelled]] += count
    return replace(faces, votes=votes)


def targets_of(votes: NDArray[np.integer], emotions: NDArray[np.int64], config: TrainingConfig) -> NDArray[np.float32]:
    """(n, 8) what the posterior of each face is scored against: the shares of its votes, or its one emotion."""
    if config.targets == "one-hot":
        return np.eye(len(EMOTIONS), dtype=np.float32)[emotions]
    cleaned = distribution(drop_single_votes(votes))
    return np.where(cleaned.sum(axis=1, keepdims=True) > 0, cleaned, distribution(votes)).astype(np.float32)
