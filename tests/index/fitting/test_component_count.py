import numpy as np

from mien.index.fitting.component_count import Candidate, choose_counts, try_counts
from tests.support.clouds import two_clouds


def test_two_clouds_have_two_components() -> None:
    faces, _ = two_clouds()
    candidates = try_counts(faces, 3, np.eye(12), halvings=3, restarts=2)
    assert [each.count for each in candidates] == [1, 2, 3]
    assert candidates[1].agreement > 0.95
    gain, error = candidates[1].gain_over(candidates[0])
    assert gain > 5 * error > 0
    assert choose_counts(candidates)[0] == 2


def test_near_copies_are_in_the_same_half() -> None:
    """All faces are in one group, which cannot be halved."""
    faces, _ = two_clouds(count=40)
    copies = type(faces)(faces.points, faces.weights, faces.clear, np.zeros(40, dtype=np.int64))
    assert try_counts(copies, 2, np.eye(12)) == []


def test_counts_that_halves_do_not_agree_on_are_not_supported() -> None:
    def candidate(count: int, likelihood: float, agreement: float) -> Candidate:
        spread = np.random.default_rng(count).normal(0, 0.1, 500)
        return Candidate(count, likelihood + spread, agreement, 100.0)

    one, two, three, four = (
        candidate(1, 0, 1.0),
        candidate(2, 1, 0.9),
        candidate(3, 2, 0.3),
        candidate(4, 1.0, 0.9),
    )
    assert choose_counts([one, two, three, four]) == [2, 1], "three is not found again, four is no likelier than two"
    assert choose_counts([]) == [1]
