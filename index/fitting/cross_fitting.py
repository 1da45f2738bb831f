"""Cross-fitting: a figure on faces that what is scored was not fitted on, where there is but one set of faces."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mien.model.errors import DatasetError

FOLDS: Final = 5
"""Parts that the faces are split into."""


def folds_of(groups: NDArray[np.integer], *, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Split faces into parts of about the same size, near copies into the same one.

    Args:
        groups: (n,) the group of near copies of each face.
        folds: how many parts.
        seed: decides which face goes where.

    Returns:
        (n,) int64 from 0 to ``folds`` - 1.

    Raises:
        DatasetError: there are fewer groups than parts.
    """
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise DatasetError(f"cross-fitting wants at least {folds} faces that are no near copies, got {len(names)}")
    fold_of_group = np.random.default_rng(seed).permutation(len(names)) % folds
    return fold_of_group[member]


def cross_fitted(
    fold_of: NDArray[np.int64],
    fit_and_apply: Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """What each face gets from a fit on the faces of the other parts.

    Args:
        fold_of: (n,) the part of each face.
        fit_and_apply: called with the (n,) mask of the faces to fit on, and that of the faces to answer for; answers
            one row for each of these.

    Returns:
        (n, ...) the rows of all faces.
    """
    rows: list[NDArray[np.float64]] = []
    places: list[NDArray[np.int64]] = []
    for fold in np.unique(fold_of):
        own = fold_of == fold
        rows.append(fit_and_apply(~own, own))
        places.append(np.flatnonzero(own))
    return np.concatenate(rows)[np.argsort(np.concatenate(places))]
