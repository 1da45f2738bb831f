"""The eight emotions of FER+, and the labels that follow from the votes of raters for these or other emotions.

Source: Barsoum, Zhang, Canton Ferrer, Zhang: *Training Deep Networks for Facial Expression Recognition
with Crowd-Sourced Label Distribution*, arXiv 1608.01041.
"""

from collections.abc import Iterable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

EMOTIONS: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The eight emotions in FER+ order. A network, a mixture or a bundle has its own tuple of emotions, often this one."""

NO_EMOTION: Final = ("unknown", "NF")
"""The last columns of votes: for no emotion, and (NF) for a picture that is not a face."""

VOTE_COLUMNS: Final = (*EMOTIONS, *NO_EMOTION)
"""The ten columns of a FER+ label file."""

UNLABELLED: Final = -1
"""The label of a face that a protocol leaves out."""

Protocol = Literal["majority", "argmax"]

EmotionPrior = Literal["uniform", "data"]
"""Weights of the emotions in a posterior: all the same, or their shares of the training faces."""

SPELLINGS: Final = {
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "contemptuous": "contempt",
}


def emotion_of(name: str) -> str:
    """The emotion of FER+ that a name stands for; any other name is returned in lower case.

    Example:
        >>> emotion_of("Happy"), emotion_of("Sleepy")
        ('happiness', 'sleepy')
    """
    small = name.strip().lower()
    return SPELLINGS.get(small, small)


def vote_columns(emotions: tuple[str, ...]) -> tuple[str, ...]:
    """(c + 2,) the columns of votes for c emotions."""
    return (*emotions, *NO_EMOTION)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Different names of emotions: those of FER+ in its order, then the others in alphabetical order."""
    given = set(names)
    return (*(name for name in EMOTIONS if name in given), *sorted(given.difference(EMOTIONS)))


def drop_single_votes(votes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Set counts of one to zero: Barsoum et al. treat a single vote as an outlier. The only vote of a face stays.

    Args:
        votes: (n, c + 2) counts, columns as in ``vote_columns``.

    Returns:
        (n, c + 2) int64 counts.
    """
    several = votes.sum(axis=1, keepdims=True) > 1
    return np.where((votes <= 1) & several, 0, votes).astype(np.int64)


def labels(votes: NDArray[np.integer], protocol: Protocol = "majority") -> NDArray[np.int64]:
    """The emotion of each face under a protocol, or ``UNLABELLED``.

    ``majority`` is the strict majority of Barsoum et al.: single votes are dropped, and a face is labelled if its
    top column has more than half of the remaining votes and is an emotion. ``argmax`` labels each face whose top
    column (the first one of ties) is an emotion. A face without votes has no label.

    Args:
        votes: (n, c + 2) counts, columns as in ``vote_columns``.
        protocol: ``majority`` or ``argmax``.

    Returns:
        (n,) int64 indices into the c emotions, or ``UNLABELLED``.
    """
    counts = drop_single_votes(votes) if protocol == "majority" else votes.astype(np.int64)
    top = counts.argmax(axis=1)
    kept = (top < votes.shape[1] - len(NO_EMOTION)) & (counts.max(axis=1) > 0)
    if protocol == "majority":
        kept &= counts.max(axis=1) * 2 > counts.sum(axis=1)
    return np.where(kept, top, UNLABELLED)


def distribution(votes: NDArray[np.integer]) -> NDArray[np.float32]:
    """The share of each emotion among the votes for an emotion.

    Args:
        votes: (n, c + 2) counts, columns as in ``vote_columns``.

    Returns:
        (n, c) float32 rows that sum to 1; all zero for a face without a vote for an emotion.
    """
    counts = votes[:, : -len(NO_EMOTION)].astype(np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares.astype(np.float32)
