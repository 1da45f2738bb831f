import numpy as np
import pytest
from numpy.typing import NDArray

from mien.model.faces.regions import regions_around


def marked(*cells: tuple[int, int], size: tuple[int, int] = (12, 16)) -> NDArray[np.bool_]:
    grid = np.zeros(size, dtype=bool)
    for row, column in cells:
        grid[row, column] = True
    return grid


def test_nothing_marked_is_no_region() -> None:
    assert regions_around(marked(), 2) == []


def test_region_is_the_smallest_around_its_cells() -> None:
    assert regions_around(marked((2, 3), (4, 5)), 2) == [(3, 2, 6, 5)]


@pytest.mark.parametrize(("gap", "count"), [(2, 2), (3, 2), (4, 1)])
def test_regions_are_cut_where_the_gap_is_wide_enough(gap: int, count: int) -> None:
    assert len(regions_around(marked((1, 3), (1, 7)), gap)) == count


def test_cuts_go_on_inside_what_was_cut() -> None:
    corners = [(0, 0), (0, 15), (11, 0), (11, 15)]
    assert sorted(regions_around(marked(*corners), 2)) == [
        (0, 0, 1, 1),
        (0, 11, 1, 12),
        (15, 0, 16, 1),
        (15, 11, 16, 12),
    ]


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1])
def test_every_marked_cell_is_in_exactly_one_region(share: float) -> None:
    grid = np.random.default_rng(3).random((40, 30)) < share
    covered = np.zeros(grid.shape, dtype=int)
    for left, top, right, bottom in regions_around(grid, 2):
        covered[top:bottom, left:right] += 1
    assert covered.max(initial=0) <= 1
    assert (covered[grid] == 1).all()
