"""``mien groups``: scores of a bundle by groups of people, on photographs labelled with emotions and groups.

Two photographs of one person say less than one of each of two: every figure is a mean over people, of the mean over the
photographs of each. Its interval is Wilson's for a share of so many people. All figures lie between 0 and 1; for those
that are no shares of yes and no the interval is too wide, as no other number in this range varies more.

Source: Wilson: *Probable Inference, the Law of Succession, and Statistical Inference*, 1927.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.predictions import NOT_SAID, Predictions, group_names
from mien.index.evaluation.scores.intervals import Interval
from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.csv_table import read_listing
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

EVERYBODY: Final = "everybody"
"""Name of the group of all people."""

_Z: Final = 1.959964
"""Standard deviations from the mean within which 95 % of a normal distribution lie."""


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


def read_photographs(table: Path, emotions: tuple[str, ...] = EMOTIONS) -> LabelledPhotographs:
    """Read a table of labelled photographs with further columns, each of which divides people into groups.

    Args:
        table: in the format of ``mien.model.datasets.csv_table``, or the folder that holds it as ``labels.csv``.
        emotions: photographs with another label are left out.

    Raises:
        DatasetError: the table cannot be read, or has no such column.
    """
    photographs = read_listing(table, emotions=emotions)
    if not photographs.metadata:
        raise DatasetError(
            f"{table} must have a column with the group of each person, besides image, label and subject"
        )
    return photographs


def group_figures(
    photographs: LabelledPhotographs, found: NDArray[np.int64], predictions: Predictions
) -> list[GroupFigures]:
    """The figures of everybody, then of each group of each column, sorted by name.

    Args:
        photographs: n of them; where people are not named, each photograph counts as one of its own.
        found: (m,) rows of the photographs whose face was found.
        predictions: of these faces.
    """
    people = np.array(photographs.subjects or [str(path) for path in photographs.paths])
    groups = [("", EVERYBODY, np.ones(len(photographs), dtype=np.bool_))]
    for column, values in photographs.metadata.items():
        names = np.array(group_names(values))
        groups += [(column, name, names == name) for name in sorted(set(names.tolist()), key=_order)]
    return [
        GroupFigures(
            column,
            group,
            len(np.unique(people[members])),
            int(members.sum()),
            _figures(photographs, people, members, found, predictions),
        )
        for column, group, members in groups
    ]


def _order(group: str) -> tuple[bool, bool, str]:
    return group == NOT_SAID, not group.startswith("under "), group


def _figures(
    photographs: LabelledPhotographs,
    people: NDArray[np.str_],
    members: NDArray[np.bool_],
    found: NDArray[np.int64],
    predictions: Predictions,
) -> dict[str, Figure | None]:
    own = members[found]  # (m,)
    owners, labels = people[found[own]], predictions.labels[own]
    correct = predictions.predicted[own] == labels
    is_found = np.isin(np.flatnonzero(members), found)
    shown = np.unique(photographs.labels[members]).tolist()
    return {
        "found": _mean(people[members], is_found),
        "named": _mean(owners, correct),
        **{
            f"named {name}": _mean(owners[labels == label], correct[labels == label])
            for name, label in sorted((photographs.emotions[label], label) for label in shown)
        },
        "probability": _mean(owners, predictions.posteriors[own, labels]),
        "typicality": _mean(owners, predictions.typicality[own]),
        "known": _mean(owners, predictions.known[own]),
    }


def _mean(people: NDArray[np.str_], values: NDArray[Any]) -> Figure | None:
    """The mean over people of the mean over their photographs; None without a photograph."""
    if len(people) == 0:
        return None
    names, person = np.unique(people, return_inverse=True)
    mean = float((np.bincount(person, weights=values) / np.bincount(person)).mean())
    return Figure(mean, wilson_interval(mean, len(names)), len(names))


def wilson_interval(share: float, count: int) -> Interval:
    """Wilson's 95 % interval of a share that was observed in ``count`` people."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
