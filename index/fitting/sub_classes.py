"""Discovery of the sub-classes of each emotion in embedded training faces.

A mixture of Gaussians is fitted to each emotion by EM, and each face belongs to its most probable component.

Source: arXiv 2001.06612.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from mien.index.fitting.component_count import Candidate, choose_counts, try_counts
from mien.index.mixture.em import GaussianMixture
from mien.index.mixture.emotion_mixture import EmotionFaces, fit_emotion
from mien.index.mixture.mixture import Mixture
from mien.index.mixture.sub_classes import SubClass, SubClasses
from mien.model.emotions import UNLABELLED, labels, vote_columns
from mien.model.errors import DatasetError

NEAREST: Final = 12
"""Faces nearest to its centroid that a sub-class lists."""

MAX_SUB_CLASSES: Final = 8
"""Upper limit of the setting for the sub-classes of an emotion."""

_MIN_WEIGHT: Final = 1e-3
"""A face without a label whose posterior is smaller is left out of an emotion."""


class DiscoveryConfig(BaseModel):
    """Settings of the discovery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    components_max: int = Field(4, ge=1, le=MAX_SUB_CLASSES, description="Maximal number of sub-classes of an emotion.")
    least_faces: int = Field(
        100, ge=2, description="Clear faces that each sub-class must have; an emotion with too few is not split."
    )
    halvings: int = Field(5, ge=1, description="How often a number of sub-classes is tried on halves of the faces.")
    restarts: int = Field(5, ge=1, description="Random starts of each fit, of which the best is kept.")
    seed: int = Field(0, ge=0, description="Seed of halves and starts.")


@dataclass(frozen=True)
class DiscoveryFaces:
    """Embedded faces with their raters' votes, including those on which the raters did not agree.

    Attributes:
        ids: (n,) unique names.
        embeddings: (n, d) floating.
        votes: (n, c + 2) counts, columns as in ``vote_columns``.
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
        """(n,) the emotion with a strict majority, or ``UNLABELLED`` for a face that takes part without a label."""
        return labels(self.votes, "majority")

    def labels(self, mixture: Mixture) -> NDArray[np.int64]:
        """(n,) the emotion with the most votes; that of the nearest centroid where no emotion has any."""
        chosen = labels(self.votes, "argmax")
        return np.where(chosen == UNLABELLED, mixture.distances(self.embeddings).argmin(axis=1), chosen)


@dataclass(frozen=True)
class Discovery:
    """The result of a discovery.

    Attributes:
        sub_classes: of all emotions.
        candidates: emotion to the numbers of components that were tried; empty where there are too few faces.
        rows: (n,) int64 index into ``sub_classes.each`` for each face.
        probabilities: (n,) float64, of that sub-class within the face's emotion.
    """

    sub_classes: SubClasses
    candidates: dict[str, list[Candidate]]
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def discover_sub_classes(
    mixture: Mixture,
    faces: DiscoveryFaces,
    config: DiscoveryConfig,
    *,
    previous: SubClasses | None = None,
    on_emotion: Callable[[str], None] = lambda _: None,
) -> Discovery:
    """Find the sub-classes of each emotion.

    Args:
        mixture: gives the emotion of faces without a label.
        faces: embedded by the mixture's network.
        config: settings.
        previous: sub-classes of an earlier round, possibly of another network. EM starts from their faces, and a
            sub-class that keeps faces keeps its id and, where half of its faces are from there, name and description.
        on_emotion: called with the name of each emotion when its turn comes.

    Raises:
        DatasetError: an emotion has no clear face.
    """
    clear = faces.clear
    counts = np.bincount(clear[clear != UNLABELLED], minlength=len(mixture.emotions))
    if counts.min() < 1:
        raise DatasetError(
            f"sub-classes need faces with a strict majority for each emotion, {mixture.emotions[counts.argmin()]} has 0"
        )
    fits: list[GaussianMixture] = []
    ids: list[list[str]] = []
    highest: list[int] = []
    candidates: dict[str, list[Candidate]] = {}
    for label, emotion in enumerate(mixture.emotions):
        on_emotion(emotion)
        rows, own = emotion_faces(mixture, faces, label)
        max_count = min(config.components_max, int(counts[label]) // config.least_faces)
        background = mixture.covariances.mean(axis=0)
        tried = []
        if max_count > 1:
            tried = try_counts(
                own, max_count, background, seed=config.seed, halvings=config.halvings, restarts=config.restarts
            )
        candidates[emotion] = tried
        former = _former_sub_classes(previous, emotion, [faces.ids[row] for row in rows])
        own_mixture = _fit(own, choose_counts(tried), former, background, config)
        assigned = own_mixture.log_joint(own.points).argmax(axis=1)
        former_ids = [previous.each[row].id for row in previous.rows_of(emotion)] if previous is not None else []
        last = previous.highest[label] if previous is not None else 0
        names = _ids(emotion, own_mixture, assigned, former_ids=former_ids, former=former, last=last)
        order = sorted(range(len(names)), key=lambda column: _number(names[column]))
        fits.append(
            GaussianMixture(own_mixture.weights[order], own_mixture.means[order], own_mixture.covariances[order])
        )
        ids.append([names[column] for column in order])
        highest.append(max(last, *(_number(name) for name in names)))
    return _assemble(mixture, faces, fits, ids, previous=previous, highest=tuple(highest), candidates=candidates)


def emotion_faces(mixture: Mixture, faces: DiscoveryFaces, label: int) -> tuple[NDArray[np.int64], EmotionFaces]:
    """The faces that take part in an emotion, and their rows."""
    clear = faces.clear
    posterior = mixture.posterior(faces.embeddings)[:, label]
    weights = np.where(clear == UNLABELLED, posterior, clear == label)
    rows = np.flatnonzero(weights >= _MIN_WEIGHT)
    own = EmotionFaces(
        faces.embeddings[rows].astype(np.float64), weights[rows], clear[rows] == label, faces.groups[rows]
    )
    return rows, own


def _former_sub_classes(previous: SubClasses | None, emotion: str, ids: list[str]) -> NDArray[np.int64]:
    """(n,) the former sub-class of each face among those of the emotion, from 0 on; -1 for a face that had none."""
    if previous is None:
        return np.full(len(ids), -1, dtype=np.int64)
    numbers = {row: number for number, row in enumerate(previous.rows_of(emotion))}
    return np.array([numbers.get(previous.of_face.get(each, -1), -1) for each in ids], dtype=np.int64)


def _fit(
    own: EmotionFaces,
    counts: list[int],
    former: NDArray[np.int64],
    background: NDArray[np.float64],
    config: DiscoveryConfig,
) -> GaussianMixture:
    """The mixture of the first count of components for which each has enough clear faces."""
    for count in counts:
        start = _start(own.points, former, count)
        mixture = fit_emotion(own, count, background, start=start, seed=config.seed, restarts=config.restarts)
        assigned = mixture.log_joint(own.points[own.clear]).argmax(axis=1)
        if count == 1 or np.bincount(assigned, minlength=count).min() >= config.least_faces:
            break
    return mixture


def _start(points: NDArray[np.float64], former: NDArray[np.int64], count: int) -> NDArray[np.int64] | None:
    """(n,) the former component of each face, for a new face the nearest; None where there are none or too many."""
    present = np.unique(former[former >= 0])
    if not 0 < len(present) <= count:
        return None
    means = np.stack([points[former == component].mean(axis=0) for component in present])
    nearest = np.stack([np.linalg.norm(points - mean, axis=1) for mean in means], axis=1).argmin(axis=1)
    return np.where(former >= 0, np.searchsorted(present, former), nearest)


def _ids(
    emotion: str,
    mixture: GaussianMixture,
    assigned: NDArray[np.int64],
    *,
    former_ids: list[str],
    former: NDArray[np.int64],
    last: int,
) -> list[str]:
    """(k,) ids: those of former sub-classes that keep most of their faces, and new numbers in order of falling weight.

    Sub-classes are matched by their faces and not by their means, because the space may be that of another network.

    Args:
        emotion: its name.
        mixture: of k components.
        assigned: (n,) the component of each face.
        former_ids: of the emotion's former sub-classes.
        former: (n,) the former sub-class of each face, or -1.
        last: the highest number that the emotion has given so far.
    """
    from scipy.optimize import linear_sum_assignment

    known = former >= 0
    shared = np.zeros((len(former_ids), len(mixture)))
    np.add.at(shared, (former[known], assigned[known]), 1)
    pairs = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
    ids = {int(column): former_ids[row] for row, column in pairs if shared[row, column] > 0}
    new = [column for column in np.argsort(-mixture.weights, kind="stable").tolist() if column not in ids]
    ids |= {column: f"{emotion}/{last + 1 + number}" for number, column in enumerate(new)}
    return [ids[column] for column in range(len(mixture))]


def _number(sub_class_id: str) -> int:
    return int(sub_class_id.rpartition("/")[2])


def _assemble(
    mixture: Mixture,
    faces: DiscoveryFaces,
    fits: list[GaussianMixture],
    ids: list[list[str]],
    *,
    previous: SubClasses | None,
    highest: tuple[int, ...],
    candidates: dict[str, list[Candidate]],
) -> Discovery:
    """Assign each face to a sub-class, and complete the sub-classes with their faces, votes and former names."""
    no_votes = np.zeros(faces.votes.shape[1])
    bare = SubClasses(
        mixture.emotions,
        tuple(
            SubClass(name, emotion, float(weight), mean, covariance, (), no_votes, no_votes)
            for emotion, names, fit in zip(mixture.emotions, ids, fits, strict=True)
            for name, weight, mean, covariance in zip(names, fit.weights, fit.means, fit.covariances, strict=True)
        ),
        {},
        highest,
        vote_columns(mixture.emotions),
    )
    rows, probabilities = bare.assign(faces.embeddings, faces.labels(mixture))
    gallery = np.flatnonzero(faces.in_gallery)
    shares = faces.votes / np.maximum(faces.votes.sum(axis=1, keepdims=True), 1)  # (n, c + 2)
    each = []
    for row, sub_class in enumerate(bare.each):
        members = gallery[rows[gallery] == row]
        siblings = gallery[np.isin(rows[gallery], [other for other in bare.rows_of(sub_class.emotion) if other != row])]
        votes = shares[members].mean(axis=0) if len(members) else no_votes
        difference = votes - shares[siblings].mean(axis=0) if len(siblings) else no_votes
        nearest = _nearest(faces, members, sub_class.centroid)
        former = _former_self(previous, sub_class.id, [faces.ids[face] for face in members])
        name, description = (former.name, former.description) if former is not None else (None, None)
        each.append(
            replace(sub_class, nearest=nearest, votes=votes, difference=difference, name=name, description=description)
        )
    of_face = {faces.ids[face]: int(rows[face]) for face in gallery}
    return Discovery(replace(bare, each=tuple(each), of_face=of_face), candidates, rows, probabilities)


def _former_self(previous: SubClasses | None, sub_class_id: str, members: list[str]) -> SubClass | None:
    """The former sub-class of this id, if half of the members were in it: then its name holds for them."""
    if previous is None:
        return None
    former = [previous.each[previous.of_face[face]] for face in members if face in previous.of_face]
    same = [each for each in former if each.id == sub_class_id]
    return same[0] if same and 2 * len(same) >= len(former) else None


def _nearest(faces: DiscoveryFaces, members: NDArray[np.int64], centroid: NDArray[np.float64]) -> tuple[str, ...]:
    """Ids of the members nearest to the centroid, one of each group of near copies."""
    distances = np.linalg.norm(faces.embeddings[members].astype(np.float64) - centroid, axis=1)
    chosen: dict[int, str] = {}
    for face in members[np.argsort(distances, kind="stable")].tolist():
        chosen.setdefault(int(faces.groups[face]), faces.ids[face])
        if len(chosen) == NEAREST:
            break
    return tuple(chosen.values())
