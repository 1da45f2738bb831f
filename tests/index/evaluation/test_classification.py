import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn import metrics

from mien.index.evaluation.classification import classification_scores, confusion_counts, normalised_mutual_information
from mien.model.errors import DatasetError

NAMES = ("joy", "fear", "anger", "sadness")


def random_faces(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, n, p=[0.6, 0.25, 0.1, 0.05])
    return labels, np.where(rng.random(n) < 0.6, labels, rng.integers(0, 4, n))


def test_a_case_done_by_hand() -> None:
    scores = classification_scores(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("joy", "fear"))
    assert scores.faces == 4
    assert scores.confusion == [[2, 1], [0, 1]]
    assert scores.accuracy == 3 / 4
    assert scores.recall_per_class == {"joy": pytest.approx(2 / 3), "fear": 1.0}
    assert scores.macro_recall == pytest.approx((2 / 3 + 1) / 2)
    assert scores.macro_precision == pytest.approx((1 + 1 / 2) / 2)
    assert scores.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)


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
    assert scores.macro_precision == pytest.approx(np.mean(precision))
    assert scores.macro_recall == pytest.approx(np.mean(recall))
    assert scores.macro_f1 == pytest.approx(np.mean(f1))
    assert list(scores.recall_per_class.values()) == pytest.approx(recall)


def test_scores_agree_with_scikit_learn() -> None:
    labels, predicted = random_faces(seed=1)
    scores = classification_scores(labels, predicted, NAMES)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(labels, predicted, average="macro")
    assert (scores.macro_precision, scores.macro_recall, scores.macro_f1) == pytest.approx((precision, recall, f1))
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert scores.confusion == metrics.confusion_matrix(labels, predicted).tolist()
    assert scores.normalised_mutual_information == pytest.approx(
        metrics.normalized_mutual_info_score(labels, predicted)
    )


def test_a_class_that_no_label_has_takes_no_part_but_its_predictions_are_mistakes() -> None:
    scores = classification_scores(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), ("joy", "fear", "anger"))
    assert scores.recall_per_class["anger"] is None
    assert scores.macro_recall == (1 / 2 + 1) / 2
    assert scores.macro_precision == 1.0
    assert scores.accuracy == 3 / 4


def test_a_class_that_was_never_predicted_has_precision_and_f1_of_zero() -> None:
    scores = classification_scores(np.array([0, 0, 1]), np.array([0, 0, 0]), ("joy", "fear"))
    assert scores.macro_precision == pytest.approx((2 / 3 + 0) / 2)
    assert scores.macro_f1 == pytest.approx((4 / 5 + 0) / 2)


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
    assert normalised_mutual_information(confusion_counts(labels, predicted, 4)) == pytest.approx(
        2 * information / (label_entropy + predicted_entropy)
    )


@pytest.mark.parametrize(
    ("contingency", "expected"),
    [
        ([[3, 0], [0, 5]], 1.0),
        ([[0, 3], [5, 0]], 1.0),  # other names, same partition
        ([[2, 4], [3, 6]], 0.0),  # independent
        ([[4, 4], [0, 0]], 0.0),  # one of the two puts all in one part
        ([[7, 0], [0, 0]], 1.0),  # both do
    ],
)
def test_nmi_at_its_ends(contingency: list[list[int]], expected: float) -> None:
    nmi = normalised_mutual_information(np.array(contingency))
    assert nmi == pytest.approx(expected, abs=1e-12)
    assert 0 <= nmi <= 1


def test_order_of_faces_and_dtype_do_not_matter() -> None:
    labels, predicted = random_faces()
    order = np.random.default_rng(3).permutation(len(labels))
    expected = classification_scores(labels, predicted, NAMES)
    assert classification_scores(labels[order].astype(np.int8), predicted[order].astype(np.uint8), NAMES) == expected


def test_scores_become_json() -> None:
    labels, predicted = random_faces()
    scores = asdict(classification_scores(labels, predicted, (*NAMES, "disgust")))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([], [], "one label and one prediction per face"),
        ([0, 1], [0], r"got \(2,\) labels and \(1,\) predictions"),
        ([0, -1], [0, 1], "labels from 0 to 1, got -1 to 0"),
        ([0, 1], [0, 2], "predictions from 0 to 1, got 0 to 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        classification_scores(np.array(labels, dtype=int), np.array(predicted, dtype=int), ("joy", "fear"))
