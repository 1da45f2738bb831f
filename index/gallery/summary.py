"""A summary of matches by sub-class: how many there are of each, how near, and how raters voted on them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mien.index.gallery.face import GalleryFace
from mien.index.gallery.results import GalleryMatch
from mien.model.emotions import VOTE_COLUMNS


@dataclass(frozen=True)
class SubClassCount:
    """The matches of one sub-class.

    Attributes:
        emotion: that the mixture gives them.
        sub_class: of the emotion; None where the bundle has none.
        faces: how many they are.
        nearest: distance of the nearest.
        votes: mean share of the raters' votes for each of ``VOTE_COLUMNS`` that any rater gave, over those of them that
            were voted on; empty without any.
    """

    emotion: str | None
    sub_class: str | None
    faces: int
    nearest: float
    votes: dict[str, float]


@dataclass(frozen=True)
class Summary:
    """The matches of one query.

    Attributes:
        faces: how many they are.
        farthest: distance of the last; None without any.
        sub_classes: with most faces first, of the same number the nearest first.
    """

    faces: int
    farthest: float | None
    sub_classes: list[SubClassCount]


def summarise(matches: Sequence[GalleryMatch]) -> Summary:
    """Summarise matches, nearest first."""
    groups: dict[tuple[str | None, str | None], list[GalleryMatch]] = {}
    for match in matches:
        groups.setdefault((match.face.emotion, match.face.sub_class), []).append(match)
    counts = [
        SubClassCount(emotion, sub_class, len(own), own[0].distance, mean_votes([match.face for match in own]))
        for (emotion, sub_class), own in groups.items()
    ]
    counts.sort(key=lambda count: (-count.faces, count.nearest))
    return Summary(len(matches), matches[-1].distance if matches else None, counts)


def mean_votes(faces: Sequence[GalleryFace]) -> dict[str, float]:
    """Mean share of the votes for each of ``VOTE_COLUMNS``, over the faces that have votes in their metadata."""
    shares: Counter[str] = Counter()
    voted = 0
    for face in faces:
        votes = face.metadata.get("votes")
        numbers = {name: votes.get(name) for name in VOTE_COLUMNS} if isinstance(votes, dict) else {}
        counts = {name: count for name, count in numbers.items() if isinstance(count, int | float) and count > 0}
        if counts:
            voted += 1
            total = sum(counts.values())
            shares.update({name: count / total for name, count in counts.items()})
    return {name: shares[name] / voted for name in VOTE_COLUMNS if name in shares}
