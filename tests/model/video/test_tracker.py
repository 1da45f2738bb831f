"""Faces over time: numbers that stay with a face."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.video.tracker import Tracker, distance_iou

STEP_S = 0.1
SAME = np.zeros(4)


def box(x: float, y: float = 100.0, side: float = 80.0) -> NDArray[np.float64]:
    """The box of a face around a centre."""
    return np.array([x - side / 2, y - side / 2, side, side])


def follow(tracker: Tracker, time_s: float, *boxes: NDArray[np.float64]) -> list[int]:
    return tracker.follow(time_s, np.array(boxes).reshape(-1, 4), np.zeros((len(boxes), 4)))


def test_face_that_moves_keeps_its_number() -> None:
    tracker = Tracker()
    numbers = [follow(tracker, step * STEP_S, box(100 + 30 * step)) for step in range(30)]
    assert numbers == [[1]] * 30


@pytest.mark.parametrize("seed", range(5))
def test_jitter_and_order_of_boxes_do_not_matter(seed: int) -> None:
    """Faces come in any order, and their boxes are off by some pixels."""
    generator = np.random.default_rng(seed)
    tracker = Tracker()
    middles = np.array([100.0, 260.0, 420.0, 580.0])
    for step in range(50):
        order = generator.permutation(4)
        boxes = [box(middles[face] + generator.normal(0, 5), 100 + generator.normal(0, 5)) for face in order]
        numbers = follow(tracker, step * STEP_S, *boxes)
        if step == 0:
            expected = dict(zip(order.tolist(), numbers, strict=True))
        assert dict(zip(order.tolist(), numbers, strict=True)) == expected


def test_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    tracker = Tracker(max_gap_s=1.0)
    assert follow(tracker, 0.0, box(100)) == [1]
    assert follow(tracker, 0.1) == []
    assert follow(tracker, 0.8, box(110)) == [1]
    assert follow(tracker, 1.9, box(110)) == [2]
    assert len(tracker) == 1, "tracks that ended are removed"


def test_face_that_moves_on_behind_something_is_found_again() -> None:
    tracker = Tracker()
    for step in range(10):
        follow(tracker, step * STEP_S, box(100 + 40 * step))
    assert follow(tracker, 13 * STEP_S, box(100 + 40 * 13)) == [1]


def test_two_that_cross_keep_their_numbers() -> None:
    """They pass each other, and for three frames the detector finds only one of them."""
    tracker = Tracker()
    for step in range(41):
        left, right = box(100 + 20 * step), box(900 - 20 * step, 110)
        if 19 <= step <= 21:
            numbers = follow(tracker, step * STEP_S, left)
            assert numbers == [1], step
        else:
            assert follow(tracker, step * STEP_S, left, right) == [1, 2], step


def test_expression_decides_between_two_that_are_as_near() -> None:
    smile, frown = np.array([5.0, 0, 0, 0]), np.array([0, 5.0, 0, 0])
    tracker = Tracker()
    first = tracker.follow(0.0, np.stack([box(100), box(140)]), np.stack([smile, frown]))
    assert first == [1, 2]
    assert tracker.follow(0.1, np.stack([box(119), box(121)]), np.stack([frown, smile])) == [2, 1]


def test_changed_expression_alone_starts_no_track() -> None:
    tracker = Tracker()
    assert tracker.follow(0.0, box(100)[None], np.array([[9.0, 0, 0, 0]])) == [1]
    assert tracker.follow(0.1, box(103)[None], np.array([[0, 0, 9.0, 0]])) == [1]


def test_face_elsewhere_or_of_another_size_starts_a_track() -> None:
    tracker = Tracker()
    assert follow(tracker, 0.0, box(100)) == [1]
    assert follow(tracker, 0.1, box(400)) == [2]
    assert follow(tracker, 0.2, box(400, side=10)) == [3]
    assert follow(tracker, 0.3, box(100), box(400), box(250)) == [1, 2, 4]


def test_numbers_are_not_reused_and_tracks_are_forgotten() -> None:
    tracker = Tracker()
    seen: set[int] = set()
    for step in range(500):
        numbers = follow(tracker, step * 2.0, box(100), box(500))
        assert not seen & set(numbers)
        seen.update(numbers)
        assert len(tracker) == 2


def test_distance_iou_by_hand() -> None:
    unit = np.array([[0.0, 0, 2, 2]])
    others = np.array([[0.0, 0, 2, 2], [1, 0, 2, 2], [2, 0, 2, 2], [6, 0, 2, 2], [0.5, 0.5, 1, 1]])
    expected = [[1.0, 1 / 3 - 1 / 13, 0 - 4 / 20, 0 - 36 / 68, 1 / 4]]
    np.testing.assert_allclose(distance_iou(unit, others), expected)
