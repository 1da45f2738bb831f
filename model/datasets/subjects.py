"""Splits of a data set by the people it shows, so that no one is in two parts."""

from collections.abc import Sequence

import numpy as np

from mien.model.datasets.base import LabelledPhotographs
from mien.model.errors import DatasetError


def subject_split(
    photographs: LabelledPhotographs, shares: Sequence[float], seed: int = 0
) -> tuple[LabelledPhotographs, ...]:
    """Deal the subjects of a data set out to parts; each part keeps the order of the photographs.

    The subjects are shuffled by ``seed``, and each goes to the part that lacks most of its share of photographs. The
    same set, shares and seed give the same parts, in whatever order the photographs stand.

    Args:
        photographs: a set whose subjects are known.
        shares: how much of the photographs each part should get, above 0 and summing to 1: ``(0.8, 0.2)``, or
            ``(0.1,) * 10`` for tenfold cross-validation.
        seed: of the shuffle.

    Raises:
        DatasetError: the subjects are not known, or too few for every part to get one.
        ValueError: the shares are not what they should be.
    """
    if not shares or min(shares) <= 0 or not np.isclose(sum(shares), 1):
        raise ValueError(f"expected shares above 0 that sum to 1, got {tuple(shares)}")
    if photographs.subjects is None:
        raise DatasetError(f"{photographs.name}: expected a set whose subjects are known, got one where they are not")
    names, row_subjects, counts = np.unique(photographs.subjects, return_inverse=True, return_counts=True)
    wanted = np.array(shares) * len(photographs)
    part_of = np.empty(len(names), dtype=np.int64)
    for subject in np.random.default_rng(seed).permutation(len(names)):
        part_of[subject] = wanted.argmax()
        wanted[part_of[subject]] -= counts[subject]
    if len(set(part_of.tolist())) < len(shares):
        raise DatasetError(
            f"{photographs.name}: expected a subject for each of {len(shares)} parts with shares {tuple(shares)}, "
            f"got {len(names)} subjects"
        )
    parts = part_of[row_subjects]
    return tuple(photographs.take(parts == part) for part in range(len(shares)))
