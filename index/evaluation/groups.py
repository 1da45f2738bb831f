"""How a bundle behaves on groups of people, as far as photographs with labels of both tell.

A person may be shown several times, and two photographs of one person say less than one of each of two: every figure is
a mean over people, each by the mean over their photographs. Its interval is Wilson's for a share of so many people. All
figures lie between 0 and 1, and no such number varies more than a share of yes and no: for those that are not, the
interval is rather too wide. Few people leave wide intervals; they are the point.

Source: Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mien.index.bundle.bundle import Bundle
from mien.index.evaluation.intervals import Interval
from mien.model.datasets.csv_table import read_listing, rows
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError, NoFaceError
from mien.model.faces.decoding import read_file
from mien.model.pipeline import Pipeline

EVERYBODY: Final = "everybody"
"""The group of all."""

NOT_SAID: Final = "not said"

_NOT_GROUPS: Final = frozenset({"image", "path", "label", "emotion", "subject", "x", "y", "width", "height", "split"})
_MOST_NUMBERS: Final = 5
"""A column of more different numbers than this is cut into thirds."""

_Z: Final = 1.959964
"""Standard deviations to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Photograph:
    """A labelled photograph.

    Attributes:
        path: of the file.
        label: the emotion it shows.
        person: who it shows; the photograph itself where that is not said.
        groups: column to what it says of the person.
    """

    path: Path
    label: str
    person: str
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Looked:
    """What a bundle makes of a photograph: of its largest face.

    Attributes:
        photograph: which.
        found: whether a face was found; without one, the rest is None.
        emotion: what it is named.
        probability: of its label, under the mixture.
        typicality: of the known expressions, 0 to 1.
        known: whether that reaches the bundle's threshold.
    """

    photograph: Photograph
    found: bool
    emotion: str | None = None
    probability: float | None = None
    typicality: float | None = None
    known: bool | None = None


@dataclass(frozen=True)
class Figure:
    """A mean over people.

    Attributes:
        mean: of them.
        interval: 95 %.
        people: how many it is of.
    """

    mean: float
    interval: Interval
    people: int


@dataclass(frozen=True)
class GroupFigures:
    """How a bundle behaves on a group.

    Attributes:
        column: of the table; empty for everybody.
        group: what the column says.
        people: in it.
        photographs: of them.
        figures: by name: ``found``, ``named`` (as labelled, of the faces found), ``named LABEL`` of each label,
            ``probability`` of the label, ``typicality`` and ``known``; None where no photograph says anything.
    """

    column: str
    group: str
    people: int
    photographs: int
    figures: Mapping[str, Figure | None]


def read_photographs(table: Path) -> tuple[list[Photograph], tuple[str, ...]]:
    """Read a table of labelled photographs with more columns, each of which divides people into groups.

    Args:
        table: as ``mien.model.datasets.csv_table`` reads it, or the folder that holds it as ``labels.csv``.

    Returns:
        The photographs, and the names of the columns.

    Raises:
        DatasetError: the table cannot be read, or has no column that says more of the people.
    """
    listed = read_listing(table)
    path = table / "labels.csv" if table.is_dir() else table
    by_path = {path.parent / (row.get("image") or row["path"]): row for _, row in rows(path, ())}
    each = [by_path[photograph] for photograph in listed.paths]
    columns = tuple(name for name in (each[0] if each else {}) if name not in _NOT_GROUPS)
    if not columns:
        raise DatasetError(f"{path} has no column besides image, label and subject that says of what group people are")
    persons = listed.subjects or tuple(str(photograph) for photograph in listed.paths)
    said = {column: _groups([row[column].strip() for row in each]) for column in columns}
    photographs = [
        Photograph(photograph, EMOTIONS[label], person, {column: said[column][row] for column in columns})
        for row, (photograph, label, person) in enumerate(
            zip(listed.paths, listed.labels.tolist(), persons, strict=True)
        )
    ]
    return photographs, columns


def _groups(values: list[str]) -> list[str]:
    """What a column says of each; many different numbers come as thirds."""
    numbers = [float(value) for value in values if _is_number(value)]
    filled = [value for value in values if value]
    if len(numbers) < len(filled) or len(set(numbers)) <= _MOST_NUMBERS:
        return [value or NOT_SAID for value in values]
    first, second = (math.ceil(cut) for cut in np.quantile(numbers, (1 / 3, 2 / 3)).tolist())
    names = (f"under {first}", f"{first} to {second - 1}", f"{second} and over")
    return [NOT_SAID if not value else names[(float(value) >= first) + (float(value) >= second)] for value in values]


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def look(
    bundle: Bundle,
    pipeline: Pipeline,
    photographs: Sequence[Photograph],
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> list[Looked]:
    """Look at photographs as the service does.

    Args:
        bundle: what names them.
        pipeline: with its network.
        photographs: to look at.
        on_progress: called with the number of photographs done and their total.

    Raises:
        ImageError: a photograph cannot be read.
    """
    mixture = bundle.mixture
    found = []
    for done, photograph in enumerate(photographs, 1):
        try:
            face = pipeline.read_faces(read_file(photograph.path, pipeline.limits))[0]
        except NoFaceError:
            found.append(Looked(photograph, found=False))
        else:
            embedding = pipeline.embed([face])
            posterior, typicality = mixture.posterior(embedding)[0], float(mixture.typicality(embedding)[0])
            found.append(
                Looked(
                    photograph,
                    found=True,
                    emotion=mixture.emotions[int(posterior.argmax())],
                    probability=float(posterior[mixture.emotions.index(photograph.label)]),
                    typicality=typicality,
                    known=typicality >= mixture.min_typicality,
                )
            )
        on_progress(done, len(photographs))
    return found


def figures_of(looked: Sequence[Looked], columns: Sequence[str]) -> list[GroupFigures]:
    """The figures of everybody, then of each group of each column, in the order of their names."""
    answers = [_figures("", EVERYBODY, looked)]
    for column in columns:
        names = sorted({each.photograph.groups[column] for each in looked}, key=_order)
        answers += [
            _figures(column, name, [each for each in looked if each.photograph.groups[column] == name])
            for name in names
        ]
    return answers


def _order(group: str) -> tuple[bool, bool, str]:
    return group == NOT_SAID, not group.startswith("under "), group


def _figures(column: str, group: str, looked: Sequence[Looked]) -> GroupFigures:
    faces = [each for each in looked if each.found]
    labels = sorted({each.photograph.label for each in looked})
    named = {
        f"named {label}": _mean([each for each in faces if each.photograph.label == label], _is_named)
        for label in labels
    }
    return GroupFigures(
        column,
        group,
        len({each.photograph.person for each in looked}),
        len(looked),
        {
            "found": _mean(looked, lambda each: float(each.found)),
            "named": _mean(faces, _is_named),
            **named,
            "probability": _mean(faces, lambda each: each.probability or 0.0),
            "typicality": _mean(faces, lambda each: each.typicality or 0.0),
            "known": _mean(faces, lambda each: float(bool(each.known))),
        },
    )


def _is_named(each: Looked) -> float:
    return float(each.emotion == each.photograph.label)


def _mean(looked: Sequence[Looked], value: Callable[[Looked], float]) -> Figure | None:
    """The mean over people, each by the mean over their photographs; None of nobody."""
    held: dict[str, list[float]] = {}
    for each in looked:
        held.setdefault(each.photograph.person, []).append(value(each))
    if not held:
        return None
    mean = float(np.mean([np.mean(values) for values in held.values()]))
    return Figure(mean, wilson(mean, len(held)), len(held))


def wilson(share: float, count: int) -> Interval:
    """Where the share of a population may lie, when it is ``share`` of ``count`` that were drawn: 95 %."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
