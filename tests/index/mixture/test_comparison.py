import numpy as np
import pytest

from mien.index.bundle.bundle import Bundle
from mien.index.mixture.comparison import compare_points, directions

NAMES = ("a", "b", "c")
CENTROIDS = np.array([[3.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 3.0, 0]])


def test_step_between_two_emotions_has_their_shares() -> None:
    found = {each.emotion: each for each in directions(NAMES, CENTROIDS, np.array([-1.0, 1.0, 0, 0]))}
    assert found["a"].share == pytest.approx(0.5)
    assert found["b"].share == pytest.approx(0.5)
    assert found["c"].share == pytest.approx(0)
    assert (found["a"].towards, found["b"].towards) == (False, True)


def test_step_at_right_angles_to_all_emotions_has_no_shares() -> None:
    across = directions(NAMES, CENTROIDS, np.array([0, 0, 0, 2.0]))
    assert sum(each.share for each in across) == pytest.approx(0)
    both = directions(NAMES, CENTROIDS, np.array([-1.0, 1.0, 0, np.sqrt(2)]))
    assert sum(each.share for each in both) == pytest.approx(0.5)


def test_shares_sum_to_the_part_of_the_step_in_the_span_of_the_centroids(shipped_bundle: Bundle) -> None:
    mixture = shipped_bundle.mixture
    arms = mixture.centroids - mixture.centroids.mean(axis=0)
    basis = np.linalg.svd(arms)[2][: len(arms) - 1]
    for seed in range(5):
        step = np.random.default_rng(seed).normal(size=64)
        found = directions(mixture.emotions, mixture.centroids, step)
        inside = np.square(basis @ step).sum() / np.square(step).sum()
        assert sum(each.share for each in found) == pytest.approx(inside)
        assert [each.share for each in found] == sorted((each.share for each in found), reverse=True)


def test_point_compared_with_itself(shipped_bundle: Bundle) -> None:
    point = shipped_bundle.gallery.embeddings[3]
    found = compare_points(shipped_bundle.mixture, shipped_bundle.sub_classes, point, point)
    assert found.distance == 0
    assert found.overlap == pytest.approx(1)
    assert found.emotions[0] == found.emotions[1]
    assert all(each.share == 0 for each in found.directions)


def test_centroids_of_two_emotions_overlap_little(shipped_bundle: Bundle) -> None:
    mixture = shipped_bundle.mixture
    happy, sad = (mixture.emotions.index(name) for name in ("happiness", "sadness"))
    found = compare_points(
        shipped_bundle.mixture, shipped_bundle.sub_classes, mixture.centroids[happy], mixture.centroids[sad]
    )
    assert found.emotions == ("happiness", "sadness")
    assert found.overlap < 0.3
    assert {each.emotion for each in found.directions[:2]} == {"happiness", "sadness"}
    assert found.distance == pytest.approx(float(np.linalg.norm(mixture.centroids[happy] - mixture.centroids[sad])))
