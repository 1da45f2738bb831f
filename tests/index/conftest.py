import numpy as np
import pytest

from mien.index.mixture.sub_classes import SubClass, SubClasses
from mien.model.emotions import VOTE_COLUMNS

EMOTIONS = ("neutral", "happiness")


def sub_class(name: str, weight: float, centre: float) -> SubClass:
    difference = np.zeros(len(VOTE_COLUMNS))
    difference[2] = 0.25 if name == "happiness/2" else 0.0
    return SubClass(
        name,
        name.partition("/")[0],
        weight,
        np.full(3, centre),
        np.eye(3) * (1 + centre),
        ("a", "b"),
        np.full(len(VOTE_COLUMNS), 0.1),
        difference,
    )


@pytest.fixture
def sub_classes() -> SubClasses:
    each = (sub_class("neutral/1", 1.0, 0.0), sub_class("happiness/1", 0.7, 4.0), sub_class("happiness/2", 0.3, 8.0))
    return SubClasses(EMOTIONS, each, {"a": 0, "b": 1, "c": 2}, (1, 2))
