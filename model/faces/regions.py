"""Rectangles around the marked cells of a grid."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Region = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def regions_around(marked: NDArray[np.bool_], gap: int) -> list[Region]:
    """Cover the marked cells by rectangles, cut apart at empty rows and columns (the recursive XY cut).

    Source: Nagy, Seth: *Hierarchical representation of optically scanned documents*, ICPR 1984.

    Args:
        marked: (rows, columns).
        gap: marked rows or columns are parted where they lie further apart than this.

    Returns:
        The rectangles, in cells; they do not overlap.
    """
    return list(_cut(marked, 0, 0, gap))


def _cut(marked: NDArray[np.bool_], left: int, top: int, gap: int) -> Iterator[Region]:
    for axis in (0, 1):
        filled = np.flatnonzero(marked.any(axis=1 - axis))
        if not len(filled):
            return
        breaks = np.flatnonzero(np.diff(filled) > gap)
        firsts, lasts = filled[[0, *(breaks + 1)]], filled[[*breaks, -1]]
        if len(firsts) > 1:
            for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
                part = marked[first : last + 1] if axis == 0 else marked[:, first : last + 1]
                yield from _cut(part, left + first * axis, top + first * (1 - axis), gap)
            return
        marked = marked[filled[0] : filled[-1] + 1] if axis == 0 else marked[:, filled[0] : filled[-1] + 1]
        left, top = left + int(filled[0]) * axis, top + int(filled[0]) * (1 - axis)
    yield left, top, left + marked.shape[1], top + marked.shape[0]
