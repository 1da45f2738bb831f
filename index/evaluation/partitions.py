"""Partitions of the same faces: how far two of them agree, and which part of one is which part of the other.

Source: Hubert, Arabie: *Comparing Partitions*, 1985 (the adjusted Rand index).
"""

from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_PARTS: Final = 8
"""The most parts that are matched: their 40,320 orders are tried out in a moment, those of many more are not."""


def adjusted_rand_index(one: NDArray[np.integer], other: NDArray[np.integer]) -> float:
    """Agreement of two partitions on pairs of faces, corrected for chance.

    Args:
        one: (n,) part of each face, from 0 on.
        other: (n,) part of each face in another partition; parts need not have the same numbers.

    Returns:
        1 for the same partition, about 0 for an unrelated one, below 0 for one that agrees less than by chance.
        Two partitions that both put all faces together, or all apart, are the same.
    """
    table = np.zeros((int(one.max(initial=0)) + 1, int(other.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(table, (one, other), 1)
    together = _pairs(table)
    in_one, in_other = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    by_chance = in_one * in_other / max(1, _pairs(np.array([len(one)])))
    most = (in_one + in_other) / 2
    return 1.0 if most == by_chance else float((together - by_chance) / (most - by_chance))


def cheapest_pairs(cost: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Match rows with columns one to one, so that the sum of their costs is the least there is.

    Args:
        cost: (r, c), at most ``MOST_PARTS`` of each. Of the longer side some stay without a partner.

    Returns:
        Pairs of row and column in ascending order, as many as the shorter side has.

    Raises:
        ValueError: there are more rows or columns.
    """
    rows, columns = cost.shape
    if max(rows, columns) > MOST_PARTS:
        raise ValueError(f"expected at most {MOST_PARTS} parts on each side, got {rows} and {columns}")
    if rows > columns:
        return sorted((row, column) for column, row in cheapest_pairs(cost.T))
    best = min(
        permutations(range(columns), rows), key=lambda order: sum(cost[row, column] for row, column in enumerate(order))
    )
    return list(enumerate(best))


def _pairs(counts: NDArray[np.int64]) -> int:
    """How many pairs there are within groups of these sizes."""
    return int((counts * (counts - 1) // 2).sum())
