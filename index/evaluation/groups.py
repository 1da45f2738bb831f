"""``mien groups``: scores of a bundle by groups of people, on photographs labelled with emotions and groups.

Two photographs of one person say less than one of each of two: every figure is a mean over people, of the mean over the
photographs of each. Its interval is Wilson's for a share of so many people. All figures lie between 0 and 1; for those
that are no shares of yes and no the interval is too wide, as no other number in this range varies more.

Source: Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mien.index.bundle.bundle import Bundle
from mien.index.evaluation.scores.intervals import Interval
from mien.model.datasets.csv_table import read_listing
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError, NoFaceError
from mien.model.faces.decoding import read_file
from mien.model.pipeline import Pipeline

EVERYBODY: Final = "everybody"
"""Name of the group of all people."""

NOT_SAID: Final = "not said"
"""Name of the group of people for whom a column is empty."""

_MAX_NUMBERS: Final = 5
"""A column with more different numbers is split into thirds."""

_Z: Final = 1.959964
"""Standard deviations from the mean within which 95 % of a normal distribution lie."""


@dataclass(frozen=True)
class Photograph:
    """A labelled photograph.

    Attributes:
        path: of the file.
        label: its emotion.
        person: identifies the person; the path where that is not known.
        groups: column to group of the person.
    """

    path: Path
    label: str
    person: str
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Result:
    """The result for the largest face of a photograph.

    Attributes:
        photograph: which.
        found: whether a face was found; without one, the rest is None.
        emotion: the predicted one.
        probability: posterior of its label.
        typicality: of the known expressions, 0 to 1.
        known: whether the typicality reaches the bundle's threshold.
    """

    photograph: Photograph
    found: bool
    emotion: str | None = None
    probability: float | None = None
    typicality: float | None = None
    known: bool | None = None


@dataclass(frozen=True)
class Figure:
    """A mean over people, with its 95 % interval."""

    mean: float
    interval: Interval
    people: int


@dataclass(frozen=True)
class GroupFigures:
    """The scores of a group.

    Attributes:
        column: of the table; empty for everybody.
        group: value of the column.
        people: how many.
        photographs: how many.
        figures: by name: ``found``, ``named`` (share of the found faces whose emotion is the label), ``named LABEL``
            for each label, ``probability`` of the label, ``typicality`` and ``known``; None without a photograph.
    """

    column: str
    group: str
    people: int
    photographs: int
    figures: Mapping[str, Figure | None]


def read_photographs(table: Path, emotions: tuple[str, ...] = EMOTIONS) -> tuple[list[Photograph], tuple[str, ...]]:
    """Read a table of labelled photographs with further columns, each of which divides people into groups.

    Args:
        table: in the format of ``mien.model.datasets.csv_table``, or the folder that holds it as ``labels.csv``.
        emotions: photographs with another label are left out.

    Returns:
        The photographs, and the names of these columns.

    Raises:
        DatasetError: the table cannot be read, or has no such column.
    """
    listed = read_listing(table, emotions=emotions)
    columns = tuple(listed.metadata)
    if not columns:
        raise DatasetError(
            f"{table} must have a column with the group of each person, besides image, label and subject"
        )
    persons = listed.subjects or tuple(str(photograph) for photograph in listed.paths)
    groups = {column: group_names(values) for column, values in listed.metadata.items()}
    photographs = [
        Photograph(photograph, emotions[label], person, {column: groups[column][row] for column in columns})
        for row, (photograph, label, person) in enumerate(
            zip(listed.paths, listed.labels.tolist(), persons, strict=True)
        )
    ]
    return photographs, columns


def group_names(values: Sequence[str]) -> list[str]:
    """The group of each value of a column: the value or, for many different numbers, one of three ranges."""
    numbers = [float(value) for value in values if _is_number(value)]
    filled = [value for value in values if value]
    if len(numbers) < len(filled) or len(set(numbers)) <= _MAX_NUMBERS:
        return [value or NOT_SAID for value in values]
    first, second = (math.ceil(cut) for cut in np.quantile(numbers, (1 / 3, 2 / 3)).tolist())
    names = (f"under {first}", f"{first} to {second - 1}", f"{second} and over")
    return [NOT_SAID if not value else names[(float(value) >= first) + (float(value) >= second)] for value in values]


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def evaluate_photographs(
    bundle: Bundle,
    pipeline: Pipeline,
    photographs: Sequence[Photograph],
    on_progress: Callable[[int, int], None] = lambda _, __: None,
    *,
    already_cropped: bool = False,
) -> list[Result]:
    """Classify photographs as the service does.

    Args:
        bundle: to score.
        pipeline: with its network.
        photographs: to classify.
        on_progress: called with the number of photographs done and their total.
        already_cropped: the photographs are face crops: nothing is detected.

    Raises:
        ImageError: a photograph cannot be read.
    """
    mixture = bundle.mixture
    results = []
    for done, photograph in enumerate(photographs, 1):
        try:
            file = read_file(photograph.path, pipeline.limits)
            face = pipeline.read_faces(file, already_cropped=already_cropped)[0]
        except NoFaceError:
            results.append(Result(photograph, found=False))
        else:
            embedding = pipeline.embed([face])
            posterior, typicality = mixture.posterior(embedding)[0], float(mixture.typicality(embedding)[0])
            results.append(
                Result(
                    photograph,
                    found=True,
                    emotion=mixture.emotions[int(posterior.argmax())],
                    probability=float(posterior[mixture.emotions.index(photograph.label)]),
                    typicality=typicality,
                    known=typicality >= mixture.min_typicality,
                )
            )
        on_progress(done, len(photographs))
    return results


def group_figures(results: Sequence[Result], columns: Sequence[str]) -> list[GroupFigures]:
    """The figures of everybody, then of each group of each column, sorted by name."""
    groups = [_figures("", EVERYBODY, results)]
    for column in columns:
        names = sorted({each.photograph.groups[column] for each in results}, key=_sort_key)
        groups += [
            _figures(column, name, [each for each in results if each.photograph.groups[column] == name])
            for name in names
        ]
    return groups


def _sort_key(group: str) -> tuple[bool, bool, str]:
    return group == NOT_SAID, not group.startswith("under "), group


def _figures(column: str, group: str, results: Sequence[Result]) -> GroupFigures:
    faces = [each for each in results if each.found]
    labels = sorted({each.photograph.label for each in results})
    by_label = {
        f"named {label}": _mean([each for each in faces if each.photograph.label == label], _is_correct)
        for label in labels
    }
    return GroupFigures(
        column,
        group,
        len({each.photograph.person for each in results}),
        len(results),
        {
            "found": _mean(results, lambda each: float(each.found)),
            "named": _mean(faces, _is_correct),
            **by_label,
            "probability": _mean(faces, lambda each: each.probability or 0.0),
            "typicality": _mean(faces, lambda each: each.typicality or 0.0),
            "known": _mean(faces, lambda each: float(bool(each.known))),
        },
    )


def _is_correct(each: Result) -> float:
    return float(each.emotion == each.photograph.label)


def _mean(results: Sequence[Result], value: Callable[[Result], float]) -> Figure | None:
    """The mean over people of the mean over their photographs; None without a photograph."""
    values: dict[str, list[float]] = {}
    for each in results:
        values.setdefault(each.photograph.person, []).append(value(each))
    if not values:
        return None
    mean = float(np.mean([np.mean(of_person) for of_person in values.values()]))
    return Figure(mean, wilson_interval(mean, len(values)), len(values))


def wilson_interval(share: float, count: int) -> Interval:
    """Wilson's 95 % interval of a share that was observed in ``count`` people."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
