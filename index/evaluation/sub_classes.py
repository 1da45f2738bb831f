"""What sub-classes are worth: found again, likelier than one Gaussian, and alike in what else raters saw.

Nothing here is scored on the faces that sub-classes were fitted on, but for the agreement between seeds.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import mean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mien.index.evaluation.held_out import HeldOutFaces
from mien.index.evaluation.partitions import adjusted_rand_index
from mien.index.fitting.discovery import Discovery, DiscoveryConfig, DiscoveryFaces, discover, emotion_faces
from mien.index.mixture.emotion_mixture import fit_emotion
from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClasses
from mien.model.emotions import EMOTIONS, VOTE_COLUMNS

SEEDS: Final = 3
"""Discoveries that are compared with one another."""

NEAREST: Final = 10
"""Faces that a retrieval within an emotion answers."""


@dataclass(frozen=True)
class _Neighbourhood:
    """Held-out faces of one emotion beside the training faces of it, each with the emotion that came second.

    Attributes:
        queries: (q, d) embeddings.
        wanted: (q,) second choices.
        query_places: (q,) sub-classes.
        points: (n, d) embeddings.
        seconds: (n,) second choices, or -1.
        places: (n,) sub-classes.
    """

    queries: NDArray[np.floating]
    wanted: NDArray[np.int64]
    query_places: NDArray[np.int64]
    points: NDArray[np.floating]
    seconds: NDArray[np.int64]
    places: NDArray[np.int64]


def subclass_scores(
    mixture: Mixture, faces: DiscoveryFaces, found: Discovery, held_out: HeldOutFaces, config: DiscoveryConfig
) -> dict[str, Any]:
    """Score sub-classes.

    Args:
        mixture: of the emotions.
        faces: that they were found in.
        found: in those faces.
        held_out: faces that nothing was fitted on, each with a strict majority.
        config: how they were found.

    Returns:
        JSON values. For each emotion: how many sub-classes; for each number that was tried out, the agreement between
        halves of the faces and the gain of held-out log-likelihood over one Gaussian (nats per face); the adjusted
        Rand index between seeds. On the held-out faces: log-likelihood per face (nats) under sub-classes and under one
        Gaussian, squared error of the mean votes of the sub-class and of the emotion as a forecast of a face's votes,
        and the share of faces retrieved within the emotion that have the query's second choice.
    """
    others = [discover(mixture, faces, _reseeded(config, config.seed + more)) for more in range(1, SEEDS)]
    chosen = found.subclasses
    emotions: dict[str, Any] = {}
    for label, emotion in enumerate(mixture.emotions):
        own = faces.clear == label
        count = len(chosen.rows_of(emotion))
        agreements = [
            adjusted_rand_index(one.places[own], another.places[own])
            for one, another in combinations([found, *others], 2)
        ]
        first = found.candidates[emotion][0] if found.candidates[emotion] else None
        emotions[emotion] = {
            "sub_classes": count,
            "clear_faces": int(own.sum()),
            "agreement_between_seeds": mean(agreements) if count > 1 else None,
            "tried": [
                {
                    "sub_classes": each.count,
                    "agreement_between_halves": each.agreement,
                    "log_likelihood_gain": each.gain_over(first)[0],
                    "log_likelihood_gain_error": each.gain_over(first)[1],
                }
                for each in found.candidates[emotion]
                if first is not None and each is not first
            ],
        }
    split = [emotion for emotion in mixture.emotions if len(chosen.rows_of(emotion)) > 1]
    return {
        "faces": len(faces.ids),
        "sub_classes": len(chosen),
        "seeds": SEEDS,
        "agreement_between_seeds": mean(emotions[emotion]["agreement_between_seeds"] for emotion in split)
        if split
        else None,
        "held_out": _held_out_scores(mixture, faces, found, held_out),
        "emotions": emotions,
    }


def _reseeded(config: DiscoveryConfig, seed: int) -> DiscoveryConfig:
    """The same settings with another seed."""
    return config.model_copy(update={"seed": seed})


def describe(subclasses: SubClasses) -> list[dict[str, Any]]:
    """What there is to say of each sub-class but for its Gaussian: JSON values."""
    sizes = np.bincount(list(subclasses.of_face.values()), minlength=len(subclasses))
    return [
        {
            "id": each.id,
            "emotion": each.emotion,
            "weight": each.weight,
            "gallery_faces": int(sizes[place]),
            "nearest": list(each.nearest),
            "votes": dict(zip(VOTE_COLUMNS, each.votes.round(4).tolist(), strict=True)),
            "difference_from_siblings": dict(zip(VOTE_COLUMNS, each.difference.round(4).tolist(), strict=True)),
        }
        for place, each in enumerate(subclasses.each)
    ]


def _held_out_scores(
    mixture: Mixture, faces: DiscoveryFaces, found: Discovery, held_out: HeldOutFaces
) -> dict[str, Any]:
    """Over the held-out faces of the emotions that have more than one sub-class."""
    subclasses = found.subclasses
    background = mixture.covariances.mean(axis=0)
    shares = faces.votes[:, : len(EMOTIONS)] / np.maximum(faces.votes[:, : len(EMOTIONS)].sum(axis=1, keepdims=True), 1)
    named = faces.named(mixture)
    likelihoods: list[NDArray[np.float64]] = []  # each (q, 2): under sub-classes, under one Gaussian
    errors: list[NDArray[np.float64]] = []  # each (q, 2): by the sub-class, by the emotion
    retrieved: list[NDArray[np.float64]] = []  # each (q, 4)
    for label, emotion in enumerate(mixture.emotions):
        rows = np.flatnonzero(held_out.labels == label)
        if len(subclasses.rows_of(emotion)) < 2 or len(rows) == 0:
            continue
        queries = held_out.embeddings[rows]
        whole = fit_emotion(emotion_faces(mixture, faces, label)[1], 1, background)
        likelihoods.append(
            np.stack([subclasses.mixtures[label].log_likelihood(queries), whole.log_likelihood(queries)], axis=1)
        )
        own = np.flatnonzero(named == label)
        places = found.places[own]
        query_places, _ = subclasses.assign(queries, np.full(len(rows), label))
        by_place = {place: shares[own][places == place].mean(axis=0) for place in np.unique(places)}
        overall = shares[own].mean(axis=0)
        forecast = np.stack([by_place.get(place, overall) for place in query_places])
        errors.append(
            np.stack(
                [
                    np.square(forecast - held_out.votes[rows]).sum(axis=1),
                    np.square(overall - held_out.votes[rows]).sum(axis=1),
                ],
                axis=1,
            )
        )
        wanted = second_choices(held_out.votes[rows], label)
        has = wanted >= 0
        retrieved.append(
            _retrieved(
                _Neighbourhood(
                    queries[has],
                    wanted[has],
                    query_places[has],
                    faces.embeddings[own],
                    second_choices(shares[own], label),
                    places,
                )
            )
        )
    if not likelihoods:
        return {"faces": 0}
    likelihood, error, precision = (np.concatenate(each) for each in (likelihoods, errors, retrieved))
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
            "queries": len(precision),
            **dict(zip(names, precision.mean(axis=0).tolist(), strict=True)),
        }
        if len(precision)
        else None,
    }


def second_choices(shares: NDArray[np.floating], label: int) -> NDArray[np.int64]:
    """(n,) the emotion that most raters saw besides ``label`` in each of (n, c) shares of votes; -1 where none did."""
    rest = shares.copy()
    rest[:, label] = 0
    return np.where(rest.max(axis=1) > 0, rest.argmax(axis=1), -1)


def _retrieved(near: _Neighbourhood) -> NDArray[np.float64]:
    """(q, 4) share of faces with the query's second choice: among all, its sub-class, and the nearest of either."""
    rows = np.empty((len(near.queries), 4))
    for row, (query, wanted, place) in enumerate(zip(near.queries, near.wanted, near.query_places, strict=True)):
        hits = near.seconds == wanted
        order = np.argsort(np.linalg.norm(near.points - query, axis=1), kind="stable")
        siblings = near.places == place
        inside = order[siblings[order]]
        rows[row] = (
            hits.mean(),
            hits[siblings].mean() if siblings.any() else 0.0,
            hits[order[:NEAREST]].mean(),
            hits[inside[:NEAREST]].mean() if len(inside) else 0.0,
        )
    return rows
