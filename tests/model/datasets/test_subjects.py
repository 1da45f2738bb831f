from pathlib import Path

import numpy as np
import pytest

from mien.model.datasets.base import LabelledPhotographs
from mien.model.datasets.subjects import subject_split
from mien.model.errors import DatasetError


def photographs_of(counts: dict[str, int], seed: int = 0) -> LabelledPhotographs:
    subjects = [subject for subject, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(subjects))
    return LabelledPhotographs(
        "made",
        tuple(Path(f"{row}.png") for row in order),
        order % 8,
        tuple(subjects[row] for row in order),
        cropped=False,
        boxes=None,
        left_out={},
    )


def people(part: LabelledPhotographs) -> set[str]:
    assert part.subjects is not None
    return set(part.subjects)


COUNTS = {f"S{number:03d}": 1 + number % 7 for number in range(100)}


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.7, 0.15, 0.15), (0.1,) * 10])
def test_nobody_is_in_two_parts_and_everything_is_in_one(shares: tuple[float, ...]) -> None:
    photographs = photographs_of(COUNTS)
    parts = subject_split(photographs, shares, seed=3)
    assert len(parts) == len(shares)
    assert sum(len(people(part)) for part in parts) == len(COUNTS)
    assert set.union(*map(people, parts)) == set(COUNTS)
    assert sorted(path for part in parts for path in part.paths) == sorted(photographs.paths)
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * len(photographs)) <= max(COUNTS.values())
        rows = [photographs.paths.index(path) for path in part.paths]
        assert rows == sorted(rows)
        assert part.labels.tolist() == photographs.labels[rows].tolist()


def test_parts_hang_on_the_seed_and_not_on_the_order() -> None:
    first = [people(part) for part in subject_split(photographs_of(COUNTS), (0.5, 0.5), seed=1)]
    assert [people(part) for part in subject_split(photographs_of(COUNTS, seed=9), (0.5, 0.5), seed=1)] == first
    assert [people(part) for part in subject_split(photographs_of(COUNTS), (0.5, 0.5), seed=2)] != first


def test_ten_women_in_two_parts() -> None:
    """As JAFFE: the deal goes on until each part has its share."""
    training, validation = subject_split(photographs_of({f"W{number}": 21 for number in range(10)}), (0.8, 0.2))
    assert (len(people(training)), len(people(validation))) == (8, 2)


def test_what_cannot_be_split() -> None:
    photographs = photographs_of({"A": 3, "B": 3})
    with pytest.raises(DatasetError, match=r"made: expected a subject for each of 3 parts .* got 2 subjects"):
        subject_split(photographs, (0.4, 0.3, 0.3))
    for shares in ((), (1.0, 0.0), (0.5, 0.6), (1.5, -0.5)):
        with pytest.raises(ValueError, match="shares above 0 that sum to 1"):
            subject_split(photographs, shares)
    nameless = LabelledPhotographs("web", photographs.paths, photographs.labels, None, False, None, {})
    with pytest.raises(DatasetError, match="web: expected a set whose subjects are known"):
        subject_split(nameless, (0.5, 0.5))
