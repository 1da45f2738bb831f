"""Tracking: which face of a frame is a face of an earlier frame.

Boxes of successive frames are compared by their distance-IoU, which also tells near from far for boxes that do not
overlap. How far a face may move grows with the time since it was last seen. Among several faces that are near enough,
the one with the most similar expression is taken: an embedding does not identify people, but a face seldom changes its
expression in the moment in which it passes another.

Sources: distance-IoU from Zheng et al.: *Distance-IoU Loss*, AAAI 2020; prediction and greedy matching of boxes from
Bewley et al.: *Simple Online and Realtime Tracking*, ICIP 2016.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DETECT_EVERY: Final = 3
"""Frames from one search of the whole frame for faces to the next, unless told otherwise."""

MAX_GAP_S: Final = 1.0
"""A face that is not found for longer than this starts a new track."""

MIN_DISTANCE_IOU: Final = -0.1
"""Distance-IoU below which two boxes at the same time are different faces: 0.6 of a face's width apart."""

DISTANCE_IOU_PER_S: Final = -0.3
"""Change of that limit for each second since the face was seen: after one, it may have moved by two widths."""

MAX_GROWTH: Final = 2.0
"""Largest factor by which the size of a face changes between two frames."""

EMBEDDING_WEIGHT: Final = 0.05
"""Weight of the distance between two embeddings against the distance-IoU of their boxes. The centroids of two emotions,
which are 4 to 6 apart, count for a quarter."""

SMOOTHING: Final = 0.5
"""Share of the old value when a track's speed and embedding are updated."""

PREDICTION_S: Final = 0.5
"""A face is predicted to keep its speed for this long, and then to stop."""


@dataclass
class _Track:
    number: int
    box: NDArray[np.float64]  # (4,) x, y, width, height
    embedding: NDArray[np.float64]  # (d,)
    seen_s: float
    speed: NDArray[np.float64]  # (2,) of the box's centre, per second


class Tracker:
    """Numbers the tracks of faces over successive frames, from 1; a number is not used again.

    Memory does not grow with the number of frames, since tracks that have ended are removed.
    """

    def __init__(self, max_gap_s: float = MAX_GAP_S) -> None:
        """Start without a track.

        Args:
            max_gap_s: a face that is not found for longer than this starts a new track.
        """
        self._longest_gap_s = max_gap_s
        self._tracks: list[_Track] = []
        self._count = 0

    def __len__(self) -> int:
        """The number of tracks that may continue."""
        return len(self._tracks)

    def follow(self, time_s: float, boxes: NDArray[np.floating], embeddings: NDArray[np.floating]) -> list[int]:
        """Assign the faces of the next frame to tracks.

        Args:
            time_s: of the frame; not before that of the last one.
            boxes: (n, 4) x, y, width and height, in the same unit for all frames.
            embeddings: (n, d).

        Returns:
            (n,) the number of each face's track.
        """
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self._longest_gap_s]
        places, points = np.asarray(boxes, np.float64), np.asarray(embeddings, np.float64)
        numbers = [0] * len(boxes)
        for row, face in self._matches(time_s, places, points):
            track = self._tracks[row]
            _update(track, time_s, places[face], points[face])
            numbers[face] = track.number
        for face, number in enumerate(numbers):
            if number == 0:
                self._count += 1
                numbers[face] = self._count
                self._tracks.append(_Track(self._count, places[face], points[face], time_s, np.zeros(2)))
        return numbers

    def _matches(
        self, time_s: float, boxes: NDArray[np.float64], embeddings: NDArray[np.float64]
    ) -> list[tuple[int, int]]:
        """Pairs of track and face, each at most once, best first."""
        if not self._tracks or not len(boxes):
            return []
        expected = np.stack([_predict(track, time_s) for track in self._tracks])
        near = distance_iou(expected, boxes)  # (tracks, faces)
        gaps_s = np.array([time_s - track.seen_s for track in self._tracks])
        possible = near > MIN_DISTANCE_IOU + DISTANCE_IOU_PER_S * np.minimum(gaps_s, 1.0)[:, None]
        sides = np.sqrt(boxes[:, 2:].prod(axis=1))[None]
        growth = sides / np.maximum(np.sqrt(expected[:, 2:].prod(axis=1))[:, None], 1e-9)
        possible &= (growth < MAX_GROWTH) & (growth > 1 / MAX_GROWTH)
        known = np.stack([track.embedding for track in self._tracks])
        distances = np.linalg.norm(known[:, None] - embeddings[None], axis=2)
        scores = np.where(possible, near - EMBEDDING_WEIGHT * distances, -np.inf)
        pairs = []
        while np.isfinite(best := scores.max()):
            row, face = (int(place[0]) for place in np.nonzero(scores == best))
            pairs.append((row, face))
            scores[row] = scores[:, face] = -np.inf
        return pairs


def distance_iou(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance-IoU of boxes: 1 for equal boxes, at most 0 for boxes that do not overlap, and near -1 for distant ones.

    It is the intersection over union, minus the squared distance of the centres divided by the squared diagonal of the
    box around both.

    Args:
        boxes: (n, 4) x, y, width and height.
        others: (m, 4) likewise.

    Returns:
        (n, m) float64.
    """
    low, high = boxes[:, None, :2], (boxes[:, :2] + boxes[:, 2:])[:, None]
    other_low, other_high = others[None, :, :2], (others[:, :2] + others[:, 2:])[None]
    shared = (np.minimum(high, other_high) - np.maximum(low, other_low)).clip(0).prod(axis=2)
    together = boxes[:, 2:].prod(axis=1)[:, None] + others[:, 2:].prod(axis=1)[None] - shared
    around = ((np.maximum(high, other_high) - np.minimum(low, other_low)) ** 2).sum(axis=2)
    apart = (((low + high) - (other_low + other_high)) ** 2).sum(axis=2) / 4
    nearness: NDArray[np.float64] = shared / np.maximum(together, 1e-9) - apart / np.maximum(around, 1e-9)
    return nearness


def _centre(box: NDArray[np.float64]) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = box[:2] + box[2:] / 2
    return centre


def _predict(track: _Track, time_s: float) -> NDArray[np.float64]:
    """(4,) the predicted box of a track."""
    shift = track.speed * min(time_s - track.seen_s, PREDICTION_S)
    return np.concatenate([track.box[:2] + shift, track.box[2:]])


def _update(track: _Track, time_s: float, box: NDArray[np.float64], embedding: NDArray[np.float64]) -> None:
    """Update a track by its face in a frame."""
    passed_s = time_s - track.seen_s
    if passed_s > 0:
        speed = (_centre(box) - _centre(track.box)) / passed_s
        track.speed = SMOOTHING * track.speed + (1 - SMOOTHING) * speed
    track.embedding = SMOOTHING * track.embedding + (1 - SMOOTHING) * embedding
    track.box, track.seen_s = box, time_s
