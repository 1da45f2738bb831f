import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mien.index.evaluation.partitions import adjusted_rand_index, cheapest_pairs


def test_agreement_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for parts in (2, 3, 7):
        one = generator.integers(0, parts, 200)
        other = np.where(generator.random(200) < 0.7, one, generator.integers(0, parts + 1, 200))
        assert adjusted_rand_index(one, other) == pytest.approx(adjusted_rand_score(one, other))


def test_names_of_parts_do_not_matter() -> None:
    assert adjusted_rand_index(np.array([0, 0, 1, 2]), np.array([5, 5, 0, 1])) == 1


def test_a_case_by_hand() -> None:
    # Of six pairs two are together in the one and one in the other, which is one of the two.
    assert adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2])) == pytest.approx(
        (1 - 2 * 1 / 6) / ((2 + 1) / 2 - 2 * 1 / 6)
    )
    assert adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(-0.5)


def test_unrelated_partitions_agree_by_chance() -> None:
    generator = np.random.default_rng(1)
    assert abs(adjusted_rand_index(generator.integers(0, 4, 5000), generator.integers(0, 3, 5000))) < 0.01


@pytest.mark.parametrize("parts", [np.zeros(5, dtype=np.int64), np.arange(5), np.array([], dtype=np.int64)])
def test_all_together_or_all_apart_twice_is_the_same(parts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
    assert adjusted_rand_index(parts, parts) == 1


def test_the_cheapest_pairs_are_not_those_of_a_greedy_choice() -> None:
    # Greedy takes the 0 and pays 10 for it.
    assert cheapest_pairs(np.array([[0.0, 1.0], [1.0, 10.0]])) == [(0, 1), (1, 0)]


def test_the_longer_side_leaves_some_without_a_partner() -> None:
    cost = np.array([[5.0, 1.0, 9.0], [1.0, 2.0, 9.0]])
    assert cheapest_pairs(cost) == [(0, 1), (1, 0)]
    assert cheapest_pairs(cost.T) == [(0, 1), (1, 0)]
    assert cheapest_pairs(np.empty((0, 3))) == []


def test_pairs_are_those_of_scipy() -> None:
    linear_sum_assignment = pytest.importorskip("scipy.optimize").linear_sum_assignment
    cost = np.random.default_rng(2).random((5, 6))
    rows, columns = linear_sum_assignment(cost)
    assert cheapest_pairs(cost) == list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_too_many_parts() -> None:
    with pytest.raises(ValueError, match="at most 8 parts on each side, got 2 and 9"):
        cheapest_pairs(np.zeros((2, 9)))
