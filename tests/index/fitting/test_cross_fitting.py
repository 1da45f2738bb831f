import numpy as np
import pytest

from mien.index.fitting.cross_fitting import cross_fitted, folds_of
from mien.model.errors import DatasetError


def test_parts_are_of_about_the_same_size_and_reproducible() -> None:
    groups = np.arange(1003)
    folds = folds_of(groups)
    assert sorted(np.bincount(folds).tolist()) == [200, 200, 201, 201, 201]
    assert (folds == folds_of(groups)).all()
    assert not (folds == folds_of(groups, seed=1)).all()


def test_near_copies_stay_together() -> None:
    groups = np.random.default_rng(0).integers(-40, 40, 500)
    folds = folds_of(groups)
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(DatasetError, match="at least 5 faces that are no near copies, got 4"):
        folds_of(np.array([1, 2, 3, 4, 4, 4]))


def test_each_face_is_answered_for_by_a_fit_on_the_others() -> None:
    values = np.random.default_rng(0).normal(size=53)
    folds = folds_of(np.arange(53))

    def mean_of_others(others: np.ndarray, own: np.ndarray) -> np.ndarray:
        assert not (others & own).any()
        assert (others | own).all()
        return np.stack([np.full(own.sum(), values[others].mean()), values[own]], axis=1)

    answers = cross_fitted(folds, mean_of_others)
    assert answers.shape == (53, 2)
    np.testing.assert_array_equal(answers[:, 1], values)
    for row in range(53):
        assert answers[row, 0] == pytest.approx(values[folds != folds[row]].mean())
