"""Tracks: which face of a frame is the one that was seen before.

Where a face is says most. Boxes of successive frames are compared by their distance-IoU, which goes on to tell near
from far where they no longer overlap; how far a face may have moved grows with the time since it was seen. Among
several that are near enough, an expression like the last one decides: an embedding tells expressions apart, not
people, but a face seldom changes its expression in the instant in which it passes another.

Source of the measure: Zheng et al.: *Distance-IoU Loss*, AAAI 2020. Source of the idea to predict boxes and join them
greedily or optimally: Bewley et al.: *Simple Online and Realtime Tracking*, ICIP 2016.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_GAP_S: Final = 1.0
"""A face that is not found for so long starts a new track when it comes back."""

FARTHEST: Final = -0.1
"""Distance-IoU below which two boxes of the same instant are two faces: 0.6 of a face's width apart."""

FARTHER_PER_S: Final = -0.3
"""What a second adds to it; after one, faces may be two widths apart."""

GROWTH: Final = 2.0
"""Between two frames a face becomes at most this much wider or narrower."""

UNLIKE: Final = 0.05
"""What each unit of distance between two embeddings takes from the nearness of their boxes: the centroids of two
emotions, 4 to 6 apart, come to a quarter."""

SMOOTHING: Final = 0.5
"""Share of what was known in a track's speed and embedding, once it is seen again."""

FORESIGHT_S: Final = 0.5
"""A face is taken to move on as it did for so long, then to stay."""


@dataclass
class _Track:
    number: int
    box: NDArray[np.float64]  # (4,) x, y, width, height
    embedding: NDArray[np.float64]  # (d,)
    seen_s: float
    speed: NDArray[np.float64]  # (2,) of the middle, per second


class Tracker:
    """Gives each face of one frame after the other the number of its track. Numbers count from 1 and do not come again.

    Memory does not grow with the number of frames: faces that are gone are forgotten.
    """

    def __init__(self, max_gap_s: float = MAX_GAP_S) -> None:
        """Start without a track.

        Args:
            max_gap_s: a face that is not found for so long starts a new track when it comes back.
        """
        self._longest_gap_s = max_gap_s
        self._tracks: list[_Track] = []
        self._count = 0

    def __len__(self) -> int:
        """Tracks that may go on."""
        return len(self._tracks)

    def follow(self, time_s: float, boxes: NDArray[np.floating], embeddings: NDArray[np.floating]) -> list[int]:
        """The tracks of a frame's faces.

        Args:
            time_s: of the frame; it never goes back.
            boxes: (n, 4) x, y, width and height, in any unit that stays the same.
            embeddings: (n, d).

        Returns:
            (n,) numbers.
        """
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self._longest_gap_s]
        places, points = np.asarray(boxes, np.float64), np.asarray(embeddings, np.float64)
        numbers = [0] * len(boxes)
        for row, face in self._joined(time_s, places, points):
            track = self._tracks[row]
            _see(track, time_s, places[face], points[face])
            numbers[face] = track.number
        for face, number in enumerate(numbers):
            if number == 0:
                self._count += 1
                numbers[face] = self._count
                self._tracks.append(_Track(self._count, places[face], points[face], time_s, np.zeros(2)))
        return numbers

    def _joined(
        self, time_s: float, boxes: NDArray[np.float64], embeddings: NDArray[np.float64]
    ) -> list[tuple[int, int]]:
        """Pairs of track and face, the surest first, each at most once."""
        if not self._tracks or not len(boxes):
            return []
        expected = np.stack([_expected(track, time_s) for track in self._tracks])
        near = distance_iou(expected, boxes)  # (tracks, faces)
        gaps_s = np.array([time_s - track.seen_s for track in self._tracks])
        possible = near > FARTHEST + FARTHER_PER_S * np.minimum(gaps_s, 1.0)[:, None]
        sides = np.sqrt(boxes[:, 2:].prod(axis=1))[None]
        grown = sides / np.maximum(np.sqrt(expected[:, 2:].prod(axis=1))[:, None], 1e-9)
        possible &= (grown < GROWTH) & (grown > 1 / GROWTH)
        known = np.stack([track.embedding for track in self._tracks])
        unlike = np.linalg.norm(known[:, None] - embeddings[None], axis=2)
        sure = np.where(possible, near - UNLIKE * unlike, -np.inf)
        pairs = []
        while np.isfinite(best := sure.max()):
            row, face = (int(place[0]) for place in np.nonzero(sure == best))
            pairs.append((row, face))
            sure[row] = sure[:, face] = -np.inf
        return pairs


def distance_iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """How near boxes are to each other: 1 for the same, 0 and less for those apart, towards -1 for those far apart.

    Intersection over union, less the squared distance of the middles over that across the box around both.

    Args:
        boxes: (n, 4) x, y, width and height.
        others: (m, 4) likewise.

    Returns:
        (n, m).
    """
    low, high = boxes[:, None, :2], (boxes[:, :2] + boxes[:, 2:])[:, None]
    other_low, other_high = others[None, :, :2], (others[:, :2] + others[:, 2:])[None]
    shared = (np.minimum(high, other_high) - np.maximum(low, other_low)).clip(0).prod(axis=2)
    together = boxes[:, 2:].prod(axis=1)[:, None] + others[:, 2:].prod(axis=1)[None] - shared
    around = ((np.maximum(high, other_high) - np.minimum(low, other_low)) ** 2).sum(axis=2)
    apart = (((low + high) - (other_low + other_high)) ** 2).sum(axis=2) / 4
    nearness: NDArray[np.float64] = shared / np.maximum(together, 1e-9) - apart / np.maximum(around, 1e-9)
    return nearness


def _middle(box: NDArray[np.float64]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = box[:2] + box[2:] / 2
    return middle


def _expected(track: _Track, time_s: float) -> NDArray[np.float64]:
    """(4,) where a face that was seen before should be by now."""
    moved = track.speed * min(time_s - track.seen_s, FORESIGHT_S)
    return np.concatenate([track.box[:2] + moved, track.box[2:]])


def _see(track: _Track, time_s: float, box: NDArray[np.float64], embedding: NDArray[np.float64]) -> None:
    """A face was found again."""
    passed_s = time_s - track.seen_s
    if passed_s > 0:
        speed = (_middle(box) - _middle(track.box)) / passed_s
        track.speed = SMOOTHING * track.speed + (1 - SMOOTHING) * speed
    track.embedding = SMOOTHING * track.embedding + (1 - SMOOTHING) * embedding
    track.box, track.seen_s = box, time_s
