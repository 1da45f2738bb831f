import json
from itertools import combinations
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.cluster import KMeans

from mien.index.evaluation.scores.classification import (
    FREQUENT,
    classification_scores,
    clustering_scores,
    gallery_labels,
    nearest_neighbour_vote,
    score_classification,
    softmax_head,
)
from mien.index.evaluation.scores.intervals import mean_interval
from mien.index.gallery.fixed_gallery import Entry, FixedGallery
from mien.model.emotions import EMOTIONS
from mien.model.errors import DatasetError

Labels = NDArray[np.int64]

NAMES = ("joy", "fear", "anger", "sadness")


def random_faces(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, n, p=[0.6, 0.25, 0.1, 0.05])
    return labels, np.where(rng.random(n) < 0.6, labels, rng.integers(0, 4, n))


def test_scores_by_hand() -> None:
    scores = classification_scores(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("joy", "fear"))
    assert scores["faces"] == 4
    assert scores["confusion"] == [[2, 1], [0, 1]]
    assert scores["accuracy"] == 3 / 4
    assert scores["recall_per_class"] == {"joy": pytest.approx(2 / 3), "fear": 1.0}
    assert scores["macro_recall"] == pytest.approx((2 / 3 + 1) / 2)
    assert scores["macro_precision"] == pytest.approx((1 + 1 / 2) / 2)
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_scores_agree_with_plain_loops() -> None:
    labels, predicted = random_faces()
    precision, recall, f1 = [], [], []
    for j in range(4):
        hit = sum(1 for y, p in zip(labels, predicted, strict=True) if y == p == j)
        labelled = sum(1 for y in labels if y == j)
        claimed = sum(1 for p in predicted if p == j)
        precision.append(hit / claimed)
        recall.append(hit / labelled)
        f1.append(2 * precision[-1] * recall[-1] / (precision[-1] + recall[-1]))
    scores = classification_scores(labels, predicted, NAMES)
    assert scores["macro_precision"] == pytest.approx(np.mean(precision))
    assert scores["macro_recall"] == pytest.approx(np.mean(recall))
    assert scores["macro_f1"] == pytest.approx(np.mean(f1))
    assert list(scores["recall_per_class"].values()) == pytest.approx(recall)


def test_scores_agree_with_scikit_learn() -> None:
    labels, predicted = random_faces(seed=1)
    scores = classification_scores(labels, predicted, NAMES)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, predicted, average="macro")
    figures = scores["macro_precision"], scores["macro_recall"], scores["macro_f1"]
    assert figures == pytest.approx((precision, recall, f1))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))


def test_class_without_labels_counts_only_as_mistakes() -> None:
    scores = classification_scores(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), ("joy", "fear", "anger"))
    assert scores["recall_per_class"]["anger"] is None
    assert scores["macro_recall"] == (1 / 2 + 1) / 2
    assert scores["macro_precision"] == 1.0
    assert scores["accuracy"] == 3 / 4


def test_class_that_is_never_predicted_has_precision_and_f1_of_0() -> None:
    scores = classification_scores(np.array([0, 0, 1]), np.array([0, 0, 0]), ("joy", "fear"))
    assert scores["macro_precision"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 0) / 2)


def test_nmi_agrees_with_its_definition_in_plain_loops() -> None:
    labels, predicted = random_faces(seed=2)
    n = len(labels)
    information, label_entropy, predicted_entropy = 0.0, 0.0, 0.0
    for a in range(4):
        share_a = np.mean(labels == a)
        label_entropy -= share_a * np.log(share_a)
        predicted_entropy -= np.mean(predicted == a) * np.log(np.mean(predicted == a))
        for b in range(4):
            both = sum(1 for y, p in zip(labels, predicted, strict=True) if (y, p) == (a, b)) / n
            if both:
                information += both * np.log(both / (share_a * np.mean(predicted == b)))
    assert classification_scores(labels, predicted, NAMES)["normalised_mutual_information"] == pytest.approx(
        2 * information / (label_entropy + predicted_entropy)
    )


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([0, 0, 1, 1, 1], [0, 0, 1, 1, 1], 1.0),
        ([0, 0, 1, 1, 1], [1, 1, 0, 0, 0], 1.0),  # other names, same partition
        ([0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 1, 1], 0.0),  # independent
        ([0, 0, 0, 0], [0, 1, 0, 1], 0.0),  # one of the two has a single part
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),  # both have
    ],
)
def test_nmi_of_equal_and_of_independent_partitions(labels: list[int], predicted: list[int], expected: float) -> None:
    scores = classification_scores(np.array(labels), np.array(predicted), NAMES)
    assert scores["normalised_mutual_information"] == pytest.approx(expected, abs=1e-12)


def test_order_of_faces_and_dtype_do_not_matter() -> None:
    labels, predicted = random_faces()
    order = np.random.default_rng(3).permutation(len(labels))
    expected = classification_scores(labels, predicted, NAMES)
    assert classification_scores(labels[order].astype(np.int8), predicted[order].astype(np.uint8), NAMES) == expected


def test_scores_become_json() -> None:
    labels, predicted = random_faces()
    scores = classification_scores(labels, predicted, (*NAMES, "disgust"))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([], [], "one label and one prediction per face"),
        ([0, 1], [0], r"got \(2,\) labels and \(1,\) predictions"),
        ([0, -1], [0, 1], "labels must be from 0 to 1, got -1 to 0"),
        ([0, 1], [0, 2], "predictions must be from 0 to 1, got 0 to 2"),
    ],
)
def test_classes_that_do_not_fit_are_refused(labels: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        classification_scores(np.array(labels, dtype=int), np.array(predicted, dtype=int), ("joy", "fear"))


def labels_and_predictions(n: int = 400, seed: int = 0) -> tuple[Labels, Labels]:
    """Labels, and predictions of which a quarter are wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, n)
    return labels, np.where(rng.random(n) < 0.75, labels, rng.integers(0, 8, n))


def test_scores_are_those_of_classification_and_recall_of_frequent_emotions() -> None:
    labels, predicted = labels_and_predictions()
    scores, _ = score_classification(labels, predicted)
    plain = classification_scores(labels, predicted, EMOTIONS)
    assert scores["macro_f1"] == plain["macro_f1"]
    assert scores["confusion"] == plain["confusion"]
    recalls = [(predicted == label)[labels == label].mean() for label in range(8)]
    assert EMOTIONS[5] not in FREQUENT
    assert EMOTIONS[7] not in FREQUENT
    assert scores["macro_recall_frequent"] == pytest.approx(np.mean([recalls[row] for row in (0, 1, 2, 3, 4, 6)]))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_intervals_are_those_of_resampled_faces() -> None:
    labels, predicted = labels_and_predictions(150)
    _, intervals = score_classification(labels, predicted)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(1500):
        rows = rng.integers(0, 150, 150)
        drawn.append(classification_scores(labels[rows], predicted[rows], EMOTIONS))
    for name in ("accuracy", "macro_precision", "macro_recall", "macro_f1"):
        values = [each[name] for each in drawn]
        assert intervals[name] == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=0.012), name
    assert intervals["accuracy"] == pytest.approx(mean_interval(labels == predicted))
    fear = [each["recall_per_class"]["fear"] or 0.0 for each in drawn]
    assert intervals["recall_per_class.fear"] == pytest.approx(tuple(np.quantile(fear, (0.025, 0.975))), abs=0.04)


def test_class_without_labels_has_no_interval() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 7, 1, 1])
    scores, intervals = score_classification(labels, predicted)
    assert scores["recall_per_class"]["fear"] is None
    assert not any("fear" in path or "contempt" in path for path in intervals)
    assert scores["macro_recall_frequent"] == 0.75
    assert intervals["macro_recall"].high == 1.0


def test_rare_emotions_alone_have_no_frequent_recall() -> None:
    scores, intervals = score_classification(np.array([5, 7]), np.array([5, 5]))
    assert scores["macro_recall_frequent"] is None
    assert "macro_recall_frequent" not in intervals


def test_draws_without_a_class_are_left_out_of_its_interval() -> None:
    _, intervals = score_classification(np.array([0] * 30 + [6]), np.array([0] * 30 + [6]))
    assert intervals["recall_per_class.fear"] == (1.0, 1.0)
    assert intervals["macro_recall"] == (1.0, 1.0)


def line(emotions: list[int]) -> FixedGallery:
    """Faces in a row, at 0, 1, 2, ..."""
    entries = [Entry(str(row), EMOTIONS[label], {}) for row, label in enumerate(emotions)]
    return FixedGallery(entries, np.arange(len(emotions), dtype=np.float32)[:, None])


def test_neighbours_vote_and_the_nearest_breaks_a_tie() -> None:
    gallery = line([4, 3] * 5 + [1] * 20)
    queries = np.array([[0.1], [100.0]], dtype=np.float32)
    assert nearest_neighbour_vote(gallery, queries).tolist() == [4, 1]  # of eleven: five of 4, five of 3, one of 1


def test_softmax_head_is_fitted_on_the_gallery() -> None:
    gallery = line([2] * 20 + [6] * 20)
    assert gallery_labels(gallery).tolist() == [2] * 20 + [6] * 20
    assert softmax_head(gallery)(np.array([[3.0], [36.0]], dtype=np.float32)).tolist() == [2, 6]


def blobs(spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(4), 30))
    return 10 * np.eye(4)[labels] + spread * rng.normal(size=(120, 4)), labels


def test_clusters_equal_to_the_classes_score_1() -> None:
    scores = clustering_scores(*blobs(spread=0.5), clusters=4)
    assert scores["normalised_mutual_information"] == pytest.approx(1)
    assert scores["adjusted_rand_index"] == pytest.approx(1)
    assert (scores["faces"], scores["clusters"]) == (120, 4)


def test_clustering_scores_do_not_depend_on_the_numbers_of_the_classes() -> None:
    embeddings, labels = blobs(spread=6.0)
    renamed = np.array([2, 0, 3, 1])[labels]
    one, other = clustering_scores(embeddings, labels, 4), clustering_scores(embeddings, renamed, 4)
    assert list(one.values()) == pytest.approx(list(other.values()))
    assert 0.05 < one["normalised_mutual_information"] < 0.95


def test_random_labels_score_about_0() -> None:
    embeddings, labels = blobs(spread=0.5)
    scores = clustering_scores(embeddings, np.random.default_rng(1).permutation(labels), 4)
    assert abs(scores["adjusted_rand_index"]) < 0.05
    assert scores["normalised_mutual_information"] < 0.1


def test_clustering_scores_agree_with_their_definitions() -> None:
    embeddings, labels = blobs(spread=6.0, seed=2)
    found = KMeans(4, n_init=10, random_state=3).fit_predict(embeddings)
    together = {(a, b) for a, b in combinations(range(120), 2) if labels[a] == labels[b]}
    clustered = {(a, b) for a, b in combinations(range(120), 2) if found[a] == found[b]}
    by_chance = len(together) * len(clustered) / comb(120, 2)
    rand = (len(together & clustered) - by_chance) / ((len(together) + len(clustered)) / 2 - by_chance)
    scores = clustering_scores(embeddings, labels, 4, seed=3)
    assert scores["adjusted_rand_index"] == pytest.approx(rand)
    assert scores["normalised_mutual_information"] == pytest.approx(metrics.normalized_mutual_info_score(labels, found))


def test_clustering_is_reproducible() -> None:
    embeddings, labels = blobs(spread=20.0)
    assert clustering_scores(embeddings, labels, 6, seed=5) == clustering_scores(embeddings, labels, 6, seed=5)


def test_clustering_scores_become_json() -> None:
    scores = clustering_scores(*blobs(spread=1.0), clusters=4)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(("faces", "labels"), [(3, 3), (5, 4)])
def test_too_few_faces_are_refused(faces: int, labels: int) -> None:
    with pytest.raises(DatasetError, match=f"at least 4 faces .* got {faces} embeddings and {labels} labels"):
        clustering_scores(np.zeros((faces, 2)), np.zeros(labels, dtype=int), 4)
