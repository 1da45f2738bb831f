import numpy as np
import pytest

from mien.index.evaluation.held_out import cross_fit, fold_numbers
from mien.model.errors import DatasetError


def test_folds_are_of_about_the_same_size_and_reproducible() -> None:
    groups = np.arange(1003)
    folds = fold_numbers(groups)
    assert sorted(np.bincount(folds).tolist()) == [200, 200, 201, 201, 201]
    assert (folds == fold_numbers(groups)).all()
    assert not (folds == fold_numbers(groups, seed=1)).all()


def test_near_copies_are_in_the_same_fold() -> None:
    groups = np.random.default_rng(0).integers(-40, 40, 500)
    folds = fold_numbers(groups)
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(DatasetError, match="at least 5 faces that are no near copies, got 4"):
        fold_numbers(np.array([1, 2, 3, 4, 4, 4]))


def test_each_face_gets_its_row_from_a_fit_on_the_other_folds() -> None:
    values = np.random.default_rng(0).normal(size=53)
    folds = fold_numbers(np.arange(53))

    def mean_of_others(others: np.ndarray, own: np.ndarray) -> np.ndarray:
        assert not (others & own).any()
        assert (others | own).all()
        return np.stack([np.full(own.sum(), values[others].mean()), values[own]], axis=1)

    rows = cross_fit(folds, mean_of_others)
    assert rows.shape == (53, 2)
    np.testing.assert_array_equal(rows[:, 1], values)
    for row in range(53):
        assert rows[row, 0] == pytest.approx(values[folds != folds[row]].mean())
