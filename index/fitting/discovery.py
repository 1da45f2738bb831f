"""Discovery: the sub-classes of each emotion, out of embedded training faces.

Source: arXiv 2001.06612: fit a mixture to each emotion by EM, and give each face the component it belongs to.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mien.index.evaluation.partitions import MOST_PARTS, cheapest_pairs
from mien.index.fitting.component_count import Candidate, choose_number, try_numbers
from mien.index.mixture.em import Components
from mien.index.mixture.emotion_mixture import EmotionFaces, fit_emotion
from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClass, SubClasses
from mien.model.emotions import UNLABELLED, labels
from mien.model.errors import DatasetError

NEAREST: Final = 12
"""How many faces stand for a sub-class."""

_LEAST_WEIGHT: Final = 1e-3
"""A face without a label whose posterior is smaller takes no part in an emotion."""

Report = Callable[[str], None]


class DiscoveryConfig(BaseModel):
    """How sub-classes are looked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    components_max: int = Field(4, ge=1, le=MOST_PARTS, description="Most sub-classes of an emotion.")
    least_faces: int = Field(
        100, ge=2, description="Clear faces that each sub-class should have; an emotion with fewer stays whole."
    )
    halvings: int = Field(5, ge=1, description="How often a number of sub-classes is tried out on halves of the faces.")
    restarts: int = Field(5, ge=1, description="Seeded starts of each fit, of which the best is kept.")
    seed: int = Field(0, ge=0, description="Decides halves and starts.")


@dataclass(frozen=True)
class DiscoveryFaces:
    """Embedded faces with their raters' votes, those included on whom the raters did not agree.

    Attributes:
        ids: (n,) unique names.
        embeddings: (n, d) floating.
        votes: (n, 10) counts, columns as in ``VOTE_COLUMNS``.
        groups: (n,) int64: near copies have the same number.
        in_gallery: (n,) bool: the face is in the bundle's gallery.
    """

    ids: tuple[str, ...]
    embeddings: NDArray[np.floating]
    votes: NDArray[np.int64]
    groups: NDArray[np.int64]
    in_gallery: NDArray[np.bool_]

    @property
    def clear(self) -> NDArray[np.int64]:
        """(n,) the emotion with a strict majority, or ``UNLABELLED``: such a face takes part without a label."""
        return labels(self.votes, "majority")

    def named(self, mixture: Mixture) -> NDArray[np.int64]:
        """(n,) the emotion that raters chose most often; where they chose none, that of the nearest centroid."""
        chosen = labels(self.votes, "argmax")
        return np.where(chosen == UNLABELLED, mixture.distances(self.embeddings).argmin(axis=1), chosen)


@dataclass(frozen=True)
class Discovery:
    """What was found.

    Attributes:
        subclasses: of all emotions.
        candidates: emotion to the numbers of components that were tried out; empty where there are too few faces.
        places: (n,) int64 place in ``subclasses.each`` of each face.
        probabilities: (n,) float64, of that sub-class within the face's emotion.
    """

    subclasses: SubClasses
    candidates: dict[str, list[Candidate]]
    places: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def discover(
    mixture: Mixture,
    faces: DiscoveryFaces,
    config: DiscoveryConfig,
    *,
    previous: SubClasses | None = None,
    on_stage: Report = lambda _: None,
) -> Discovery:
    """Find the sub-classes of each emotion.

    Args:
        mixture: names the emotion of faces without a label.
        faces: embedded by the mixture's network.
        config: limits and chance.
        previous: an earlier round, maybe of another network. EM goes on from its faces, and a sub-class keeps its
            id when it keeps its faces.
        on_stage: called with the name of each emotion as its turn comes.

    Raises:
        DatasetError: an emotion has no clear face.
    """
    clear = faces.clear
    counts = np.bincount(clear[clear != UNLABELLED], minlength=len(mixture.emotions))
    if counts.min() < 1:
        raise DatasetError(
            f"sub-classes want faces with a strict majority for each emotion, {mixture.emotions[counts.argmin()]} has 0"
        )
    fits: list[Components] = []
    ids: list[list[str]] = []
    highest: list[int] = []
    candidates: dict[str, list[Candidate]] = {}
    for label, emotion in enumerate(mixture.emotions):
        on_stage(emotion)
        rows, own = emotion_faces(mixture, faces, label)
        most = min(config.components_max, int(counts[label]) // config.least_faces)
        background = mixture.covariances.mean(axis=0)
        tried = []
        if most > 1:
            tried = try_numbers(
                own, most, background, seed=config.seed, halvings=config.halvings, restarts=config.restarts
            )
        candidates[emotion] = tried
        earlier = _earlier_places(previous, emotion, [faces.ids[row] for row in rows])
        components = _fitted(own, choose_number(tried), earlier, background, config)
        places = components.log_joint(own.points).argmax(axis=1)
        old_ids = [previous.each[row].id for row in previous.rows_of(emotion)] if previous is not None else []
        last = previous.highest[label] if previous is not None else 0
        names = _names(emotion, components, places, old_ids=old_ids, earlier=earlier, last=last)
        order = sorted(range(len(names)), key=lambda place: _number(names[place]))
        fits.append(Components(components.weights[order], components.means[order], components.covariances[order]))
        ids.append([names[place] for place in order])
        highest.append(max(last, *(_number(name) for name in names)))
    return _described(mixture, faces, fits, ids, highest=tuple(highest), candidates=candidates)


def emotion_faces(mixture: Mixture, faces: DiscoveryFaces, label: int) -> tuple[NDArray[np.int64], EmotionFaces]:
    """The faces that take part in an emotion: their rows, and what they count for there."""
    clear = faces.clear
    posterior = mixture.posterior(faces.embeddings)[:, label]
    weights = np.where(clear == UNLABELLED, posterior, clear == label)
    rows = np.flatnonzero(weights >= _LEAST_WEIGHT)
    own = EmotionFaces(
        faces.embeddings[rows].astype(np.float64), weights[rows], clear[rows] == label, faces.groups[rows]
    )
    return rows, own


def _earlier_places(previous: SubClasses | None, emotion: str, ids: list[str]) -> NDArray[np.int64]:
    """(n,) which of an emotion's earlier sub-classes each face was in, from 0 on; -1 for a face that was in none."""
    if previous is None:
        return np.full(len(ids), -1, dtype=np.int64)
    numbers = {row: number for number, row in enumerate(previous.rows_of(emotion))}
    return np.array([numbers.get(previous.of_face.get(each, -1), -1) for each in ids], dtype=np.int64)


def _fitted(
    own: EmotionFaces,
    numbers: list[int],
    earlier: NDArray[np.int64],
    background: NDArray[np.float64],
    config: DiscoveryConfig,
) -> Components:
    """The first number of components, of those worth having, of which each has its least number of clear faces."""
    for count in numbers:
        start = _start(own.points, earlier, count)
        fitted = fit_emotion(own, count, background, start=start, seed=config.seed, restarts=config.restarts)
        places = fitted.log_joint(own.points[own.clear]).argmax(axis=1)
        if count == 1 or np.bincount(places, minlength=count).min() >= config.least_faces:
            break
    return fitted


def _start(points: NDArray[np.float64], earlier: NDArray[np.int64], count: int) -> NDArray[np.int64] | None:
    """(n,) the earlier component of each face, for a new one the nearest; None where they are none or too many."""
    present = np.unique(earlier[earlier >= 0])
    if not 0 < len(present) <= count:
        return None
    means = np.stack([points[earlier == place].mean(axis=0) for place in present])
    nearest = np.stack([np.linalg.norm(points - mean, axis=1) for mean in means], axis=1).argmin(axis=1)
    return np.where(earlier >= 0, np.searchsorted(present, earlier), nearest)


def _names(
    emotion: str,
    components: Components,
    places: NDArray[np.int64],
    *,
    old_ids: list[str],
    earlier: NDArray[np.int64],
    last: int,
) -> list[str]:
    """(k,) ids: those of earlier sub-classes that keep most of their faces, and new numbers, by falling weight.

    Faces and not means are matched, because the space may be that of another network by now.
    """
    names: dict[int, str] = {}
    if old_ids:
        shared = np.zeros((len(old_ids), len(components)))
        known = earlier >= 0
        np.add.at(shared, (earlier[known], places[known]), 1)
        names = {place: old_ids[old] for old, place in cheapest_pairs(-shared) if shared[old, place] > 0}
    new = [place for place in np.argsort(-components.weights, kind="stable").tolist() if place not in names]
    names |= {place: f"{emotion}/{last + 1 + number}" for number, place in enumerate(new)}
    return [names[place] for place in range(len(components))]


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])


def _described(
    mixture: Mixture,
    faces: DiscoveryFaces,
    fits: list[Components],
    ids: list[list[str]],
    *,
    highest: tuple[int, ...],
    candidates: dict[str, list[Candidate]],
) -> Discovery:
    """Give each face its sub-class, and each sub-class its faces and votes."""
    nobody = np.zeros(faces.votes.shape[1])
    bare = SubClasses(
        mixture.emotions,
        tuple(
            SubClass(name, emotion, float(weight), mean, covariance, (), nobody, nobody)
            for emotion, names, fit in zip(mixture.emotions, ids, fits, strict=True)
            for name, weight, mean, covariance in zip(names, fit.weights, fit.means, fit.covariances, strict=True)
        ),
        {},
        highest,
    )
    places, probabilities = bare.assign(faces.embeddings, faces.named(mixture))
    gallery = np.flatnonzero(faces.in_gallery)
    shares = faces.votes / np.maximum(faces.votes.sum(axis=1, keepdims=True), 1)  # (n, 10)
    each = []
    for place, subclass in enumerate(bare.each):
        emotion_places = bare.rows_of(subclass.emotion)
        members = gallery[places[gallery] == place]
        siblings = gallery[np.isin(places[gallery], [other for other in emotion_places if other != place])]
        votes = shares[members].mean(axis=0) if len(members) else nobody
        difference = votes - shares[siblings].mean(axis=0) if len(siblings) else nobody
        nearest = _nearest(faces, members, subclass.centroid)
        each.append(replace(subclass, nearest=nearest, votes=votes, difference=difference))
    of_face = {faces.ids[row]: int(places[row]) for row in gallery}
    return Discovery(replace(bare, each=tuple(each), of_face=of_face), candidates, places, probabilities)


def _nearest(faces: DiscoveryFaces, members: NDArray[np.int64], centroid: NDArray[np.float64]) -> tuple[str, ...]:
    """Ids of the members nearest to the centroid; of near copies the nearest one."""
    away = np.linalg.norm(faces.embeddings[members].astype(np.float64) - centroid, axis=1)
    chosen: dict[int, str] = {}
    for row in members[np.argsort(away, kind="stable")].tolist():
        chosen.setdefault(int(faces.groups[row]), faces.ids[row])
        if len(chosen) == NEAREST:
            break
    return tuple(chosen.values())
