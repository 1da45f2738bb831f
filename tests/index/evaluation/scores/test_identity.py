import numpy as np
import pytest

from mien.index.evaluation.scores.identity import identity_leakage
from mien.model.errors import DatasetError


def test_people_far_apart_are_told_apart() -> None:
    points = np.array([[0.0, 0], [0.1, 0], [9, 0], [9.1, 0]])
    leakage = identity_leakage(points, np.array([7, 7, 3, 3]), np.array([0, 1, 0, 1]))
    assert (leakage.auroc, leakage.recall_at_1) == (1.0, 1.0)
    assert leakage.chance_at_1 == pytest.approx(1 / 2)
    assert (leakage.queries, leakage.people) == (4, 2)


def test_faces_of_the_same_expression_are_not_compared() -> None:
    """The two neutral faces are nearest to each other, which does not count."""
    points = np.array([[0.0], [5.0], [0.1], [9.0]])
    leakage = identity_leakage(points, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert leakage.recall_at_1 == 0.5  # both neutral faces find the first person's smile, both smiles the second's
    assert leakage.auroc == 0.5


def test_auroc_of_random_embeddings_is_one_half() -> None:
    generator = np.random.default_rng(0)
    leakage = identity_leakage(generator.normal(size=(600, 8)), np.arange(600) // 2, np.arange(600) % 2)
    assert leakage.auroc == pytest.approx(0.5, abs=0.05)
    assert leakage.recall_at_1 < 0.02


def test_auroc_is_that_of_all_pairs_of_different_labels() -> None:
    generator = np.random.default_rng(1)
    points, people = generator.integers(0, 4, (30, 2)).astype(float), generator.integers(0, 5, 30)
    labels = generator.integers(0, 3, 30)
    same: list[float] = []
    different: list[float] = []
    for i in range(30):
        for j in range(i):
            if labels[i] != labels[j]:
                (same if people[i] == people[j] else different).append(float(np.linalg.norm(points[i] - points[j])))
    pairs = [(a < b) + (a == b) / 2 for a in same for b in different]
    assert identity_leakage(points, people, labels).auroc == pytest.approx(np.mean(pairs))


def test_person_with_one_face_is_no_query() -> None:
    points = np.array([[0.0], [1.0], [0.6]])
    leakage = identity_leakage(points, np.array([0, 0, 1]), np.array([0, 1, 0]))
    assert (leakage.queries, leakage.people, leakage.recall_at_1) == (2, 1, 0.5)


@pytest.mark.parametrize(
    ("subjects", "labels"), [([0, 0, 0], [0, 1, 2]), ([0, 1, 2], [0, 1, 2]), ([0, 0, 1], [1, 1, 1])]
)
def test_sets_without_pairs_are_refused(subjects: list[int], labels: list[int]) -> None:
    with pytest.raises(DatasetError, match="two people and two expressions of one of them"):
        identity_leakage(np.zeros((3, 2)), np.array(subjects), np.array(labels))
