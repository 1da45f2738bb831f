import numpy as np
import pytest

from mien.index.gallery.vectors.flat import ExactSearch


@pytest.mark.parametrize("queries", [1, 3, 64])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_search_agrees_with_brute_force(queries: int, k: int) -> None:
    generator = np.random.default_rng(queries)
    points = generator.normal(size=(500, 64)).astype(np.float32)
    asked = generator.normal(size=(queries, 64)).astype(np.float32)
    rows, distances = ExactSearch(points).search(asked, k)
    for query in range(queries):
        expected = np.linalg.norm(points.astype(np.float64) - asked[query], axis=1)
        order = np.argsort(expected, kind="stable")[:k]
        assert (rows[query] == order).all()
        np.testing.assert_allclose(distances[query], expected[order])


def test_point_finds_itself_at_distance_zero_far_from_the_origin() -> None:
    points = (1000 + np.random.default_rng(0).normal(size=(100, 64))).astype(np.float32)
    rows, distances = ExactSearch(points).search(points, 1)
    assert (rows[:, 0] == np.arange(100)).all()
    assert (distances == 0).all()


def test_equal_distances_are_sorted_by_row() -> None:
    points = np.zeros((20, 64), dtype=np.float32)
    rows, _ = ExactSearch(points).search(points[:1], 20)
    assert rows[0].tolist() == list(range(20))
