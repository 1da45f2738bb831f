"""Sub-classes, scored on held-out faces: log-likelihood, forecasts of votes, and retrieval within an emotion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.mixture.em import GaussianMixture
from mien.index.mixture.sub_classes import SubClasses

NEAREST: Final = 10
"""Faces that a retrieval within an emotion returns."""


@dataclass(frozen=True)
class TrainingFaces:
    """The faces that sub-classes were found in.

    Attributes:
        embeddings: (n, d).
        labels: (n,) indices into the emotions.
        rows: (n,) the sub-class of each.
        votes: (n, c) the share of each emotion among the votes.
    """

    embeddings: NDArray[np.floating]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]
    votes: NDArray[np.floating]


def score_sub_classes(
    sub_classes: SubClasses, single: Sequence[GaussianMixture], training: TrainingFaces, held_out: HeldOutFaces
) -> dict[str, Any]:
    """Score sub-classes on the held-out faces of the emotions that have more than one.

    Args:
        sub_classes: of c emotions.
        single: (c,) one Gaussian for each emotion, to compare with.
        training: the faces that both were fitted on.
        held_out: faces that nothing was fitted on.

    Returns:
        JSON values: log-likelihood per face (nats) under sub-classes and under one Gaussian, squared error of the mean
        votes of the sub-class and of the emotion as a forecast of a face's votes, and the share of faces retrieved
        within the emotion that have the query's second choice.
    """
    likelihoods: list[NDArray[np.float64]] = []  # each (q, 2): under sub-classes, under one Gaussian
    errors: list[NDArray[np.float64]] = []  # each (q, 2): by the sub-class, by the emotion
    precisions: list[NDArray[np.float64]] = []  # each (q, 4)
    for label, emotion in enumerate(sub_classes.emotions):
        queries = np.flatnonzero(held_out.labels == label)
        if len(sub_classes.rows_of(emotion)) < 2 or len(queries) == 0:
            continue
        points, votes = held_out.embeddings[queries], held_out.votes[queries]
        own = np.flatnonzero(training.labels == label)
        rows, own_votes = training.rows[own], training.votes[own]
        query_rows, _ = sub_classes.assign(points, np.full(len(queries), label))
        mixtures = sub_classes.mixtures[label], single[label]
        likelihoods.append(np.stack([mixture.log_likelihood(points) for mixture in mixtures], axis=1))

        of_emotion = own_votes.mean(axis=0)
        of_sub_class = {row: own_votes[rows == row].mean(axis=0) for row in np.unique(rows)}
        forecast = np.stack([of_sub_class.get(row, of_emotion) for row in query_rows])
        errors.append(np.stack([np.square(each - votes).sum(axis=1) for each in (forecast, of_emotion)], axis=1))

        wanted, candidates = second_choices(votes, label), second_choices(own_votes, label)
        precisions += [
            _precision(points[query], training.embeddings[own], candidates == wanted[query], rows == query_rows[query])
            for query in np.flatnonzero(wanted >= 0)
        ]
    if not likelihoods:
        return {"faces": 0}
    likelihood, error = np.concatenate(likelihoods), np.concatenate(errors)
    gain = likelihood[:, 0] - likelihood[:, 1]
    names = ("any_of_the_emotion", "any_of_the_sub_class", "nearest_of_the_emotion", "nearest_of_the_sub_class")
    return {
        "faces": len(likelihood),
        "log_likelihood_sub_classes": float(likelihood[:, 0].mean()),
        "log_likelihood_one_gaussian": float(likelihood[:, 1].mean()),
        "log_likelihood_gain": float(gain.mean()),
        "log_likelihood_gain_error": float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else None,
        "vote_forecast_error_sub_class": float(error[:, 0].mean()),
        "vote_forecast_error_emotion": float(error[:, 1].mean()),
        "second_choice": {
            "queries": len(precisions),
            **dict(zip(names, np.mean(precisions, axis=0).tolist(), strict=True)),
        }
        if precisions
        else None,
    }


def describe(sub_classes: SubClasses) -> list[dict[str, Any]]:
    """A description of each sub-class without its Gaussian: JSON values."""
    columns = sub_classes.vote_columns
    sizes = np.bincount(list(sub_classes.of_face.values()), minlength=len(sub_classes))
    return [
        {
            "id": each.id,
            "emotion": each.emotion,
            "name": each.name,
            "description": each.description,
            "weight": each.weight,
            "gallery_faces": int(sizes[row]),
            "nearest": list(each.nearest),
            "votes": dict(zip(columns, each.votes.round(4).tolist(), strict=True)),
            "difference_from_siblings": dict(zip(columns, each.difference.round(4).tolist(), strict=True)),
        }
        for row, each in enumerate(sub_classes.each)
    ]


def second_choices(shares: NDArray[np.floating], label: int) -> NDArray[np.int64]:
    """(n,) the emotion other than ``label`` with the most votes, of (n, c) shares of votes; -1 where none has any."""
    rest = shares.copy()
    rest[:, label] = 0
    return np.where(rest.max(axis=1) > 0, rest.argmax(axis=1), -1)


def _precision(
    query: NDArray[np.floating],
    points: NDArray[np.floating],
    hits: NDArray[np.bool_],
    siblings: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """(4,) share of hits among all points, those of the sub-class, and the nearest of either.

    Args:
        query: (d,).
        points: (n, d) of the emotion's training faces.
        hits: (n,) whether a face has the query's second choice.
        siblings: (n,) whether it is in the query's sub-class.
    """
    order = np.argsort(np.linalg.norm(points - query, axis=1), kind="stable")
    inside = order[siblings[order]]
    parts = hits, hits[siblings], hits[order[:NEAREST]], hits[inside[:NEAREST]]
    return np.array([part.mean() if len(part) else 0.0 for part in parts])
