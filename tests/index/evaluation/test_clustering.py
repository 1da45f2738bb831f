import json
from dataclasses import asdict
from itertools import combinations
from math import comb

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from mien.index.evaluation.clustering import clustering_scores
from mien.model.errors import DatasetError


def blobs(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(4), 30))
    return 10 * np.eye(4)[labels] + spread * rng.normal(size=(120, 4)), labels


def test_clusters_equal_to_the_classes_score_1() -> None:
    scores = clustering_scores(*blobs(spread=0.5), clusters=4)
    assert scores.normalised_mutual_information == pytest.approx(1)
    assert scores.adjusted_rand_index == pytest.approx(1)
    assert (scores.faces, scores.clusters) == (120, 4)


def test_scores_do_not_depend_on_the_numbers_of_the_classes() -> None:
    embeddings, labels = blobs(spread=6.0)
    renamed = np.array([2, 0, 3, 1])[labels]
    one, other = clustering_scores(embeddings, labels, 4), clustering_scores(embeddings, renamed, 4)
    assert list(asdict(one).values()) == pytest.approx(list(asdict(other).values()))
    assert 0.05 < one.normalised_mutual_information < 0.95


def test_random_labels_score_about_0() -> None:
    embeddings, labels = blobs(spread=0.5)
    scores = clustering_scores(embeddings, np.random.default_rng(1).permutation(labels), 4)
    assert abs(scores.adjusted_rand_index) < 0.05
    assert scores.normalised_mutual_information < 0.1


def test_scores_agree_with_their_definitions() -> None:
    embeddings, labels = blobs(spread=6.0, seed=2)
    found = KMeans(4, n_init=10, random_state=3).fit_predict(embeddings)
    together = {(a, b) for a, b in combinations(range(120), 2) if labels[a] == labels[b]}
    clustered = {(a, b) for a, b in combinations(range(120), 2) if found[a] == found[b]}
    by_chance = len(together) * len(clustered) / comb(120, 2)
    rand = (len(together & clustered) - by_chance) / ((len(together) + len(clustered)) / 2 - by_chance)
    scores = clustering_scores(embeddings, labels, 4, seed=3)
    assert scores.adjusted_rand_index == pytest.approx(rand)
    assert scores.normalised_mutual_information == pytest.approx(normalized_mutual_info_score(labels, found))


def test_scores_are_reproducible() -> None:
    embeddings, labels = blobs(spread=20.0)
    assert clustering_scores(embeddings, labels, 6, seed=5) == clustering_scores(embeddings, labels, 6, seed=5)


def test_scores_become_json() -> None:
    scores = asdict(clustering_scores(*blobs(spread=1.0), clusters=4))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(("faces", "labels"), [(3, 3), (5, 4)])
def test_too_few_faces_are_refused(faces: int, labels: int) -> None:
    with pytest.raises(DatasetError, match=f"at least 4 faces .* got {faces} embeddings and {labels} labels"):
        clustering_scores(np.zeros((faces, 2)), np.zeros(labels, dtype=int), 4)
