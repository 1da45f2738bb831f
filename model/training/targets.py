"""The samples of a training: faces with their classes and target distributions."""

import csv
import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.model.datasets.ferplus import LabelledFaces
from mien.model.emotions import EMOTIONS, NO_EMOTION, UNLABELLED, distribution, drop_single_votes, labels
from mien.model.errors import DatasetError
from mien.model.training.config import TrainingConfig


@dataclass(frozen=True)
class TrainingSet:
    """The faces of a training.

    Attributes:
        names: (n,) names of the faces in the data set.
        images: (n, h, w) uint8 crops.
        emotions: (n,) int64 indices into the c emotions.
        classes: (n,) int64, the class whose centroid each face belongs to: its emotion, or its sub-class.
        targets: (n, c) float32 rows that sum to 1.
        emotion_of: (s,) int64, the emotion of each sub-class; None if the classes are the emotions.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    emotions: NDArray[np.int64]
    classes: NDArray[np.int64]
    targets: NDArray[np.float32]
    emotion_of: NDArray[np.int64] | None = None

    @property
    def class_count(self) -> int:
        """s, the number of classes with a centroid."""
        return self.targets.shape[1] if self.emotion_of is None else len(self.emotion_of)


@dataclass(frozen=True)
class SubClassLabels:
    """The sub-class of each face, as ``mien discover`` writes them.

    Attributes:
        of_face: name of a face, without a suffix, to its sub-class, such as ``happiness/1``.
        sha256: of the file, as hexadecimal digits.
    """

    of_face: dict[str, str]
    sha256: str


def read_sub_classes(path: Path, emotions: tuple[str, ...] = EMOTIONS) -> SubClassLabels:
    """Read a CSV file with the columns ``name`` and ``sub_class``, which is of one of the ``emotions``.

    Raises:
        DatasetError: the file cannot be read, or a row has no name or no sub-class of an emotion.
    """
    try:
        raw = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"sub-classes cannot be read from {path}: {error}") from None
    of_face: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        name, sub_class = row.get("name"), row.get("sub_class")
        if not name or not sub_class or sub_class.partition("/")[0] not in emotions:
            raise DatasetError(
                f"{path}, line {number}: expected a name and a sub_class such as happiness/1, "
                f"got {name!r} and {sub_class!r}"
            )
        of_face[Path(name).stem] = sub_class
    if not of_face:
        raise DatasetError(f"{path} must have a face with a sub-class, got none")
    return SubClassLabels(of_face, hashlib.sha256(raw).hexdigest())


def select_training_set(
    faces: LabelledFaces, config: TrainingConfig, sub_classes: SubClassLabels | None = None
) -> TrainingSet:
    """Select the faces of a training: those with a label by the protocol of ``config`` or, if given, with a sub-class.

    Targets from votes leave single votes out, as Barsoum et al. do, unless a face has only single votes. A face without
    a label may have a sub-class that was inferred for it; it is selected if it has a vote for an emotion.

    With ``every``, only each n-th face is used. With ``second_opinion``, FER2013's label of a face counts as that many
    additional votes.

    Raises:
        DatasetError: none of the faces has a sub-class, or, with ``second_opinion``, a label of FER2013.
    """
    faces = faces.take(np.arange(0, len(faces), config.every))
    faces = _with_second_opinion(faces, config.second_opinion)
    emotions = labels(faces.votes, config.protocol)
    if sub_classes is None:
        faces, emotions = faces.take(emotions != UNLABELLED), emotions[emotions != UNLABELLED]
        return TrainingSet(faces.names, faces.images, emotions, emotions, targets_of(faces.votes, emotions, config))
    sub_class_of = [sub_classes.of_face.get(Path(name).stem, "") for name in faces.names]
    has_votes = distribution(faces.votes).sum(axis=1) > 0
    rows = np.array([row for row, sub_class in enumerate(sub_class_of) if sub_class and has_votes[row]], dtype=np.int64)
    if len(rows) == 0:
        raise DatasetError(f"none of the {len(faces)} training faces has a sub-class: the file belongs to other faces")
    names = sorted({sub_class_of[row] for row in rows})
    emotion_of = np.array([faces.emotions.index(name.partition("/")[0]) for name in names], dtype=np.int64)
    classes = np.array([names.index(sub_class_of[row]) for row in rows], dtype=np.int64)
    # A face without a label has the emotion of its sub-class.
    emotions = np.where(emotions[rows] != UNLABELLED, emotions[rows], emotion_of[classes])
    faces = faces.take(rows)
    targets = targets_of(faces.votes, emotions, config)
    return TrainingSet(faces.names, faces.images, emotions, classes, targets, emotion_of)


def _with_second_opinion(faces: LabelledFaces, count: int) -> LabelledFaces:
    """Add ``count`` votes for FER2013's label to each face that has one."""
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
    """(n, c) float32 targets of faces: the shares of their votes, or one-hot by their emotions."""
    if config.targets == "one-hot":
        return np.eye(votes.shape[1] - len(NO_EMOTION), dtype=np.float32)[emotions]
    cleaned = distribution(drop_single_votes(votes))
    return np.where(cleaned.sum(axis=1, keepdims=True) > 0, cleaned, distribution(votes)).astype(np.float32)
