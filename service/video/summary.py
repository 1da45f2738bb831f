"""Summary of each track of a video: mean posterior, and share of the frames with each emotion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.service.answers.video import TrackedFace, VideoTrack


@dataclass
class _Totals:
    """A track so far.

    Attributes:
        posterior: (c,) sum.
        nearest: (c,) frames with each nearest emotion.
        typicality: sum.
        known: frames with a known expression.
    """

    first_s: float
    last_s: float
    posterior: NDArray[np.float64]
    nearest: NDArray[np.int64]
    frames: int = 0
    typicality: float = 0.0
    known: int = 0


class TrackSummaries:
    """Running totals over the frames of a video, for each track."""

    def __init__(self, emotions: tuple[str, ...]) -> None:
        """Start without tracks.

        Args:
            emotions: (c,) names, in the order of the posteriors.
        """
        self._emotions = emotions
        self._totals: dict[int, _Totals] = {}

    def __len__(self) -> int:
        return len(self._totals)

    def add(self, time_s: float, faces: list[TrackedFace]) -> None:
        """Add the faces of a frame."""
        count = len(self._emotions)
        for face in faces:
            if face.track not in self._totals:
                self._totals[face.track] = _Totals(time_s, time_s, np.zeros(count), np.zeros(count, np.int64))
            totals = self._totals[face.track]
            totals.last_s = time_s
            totals.frames += 1
            totals.posterior += [face.posterior[emotion] for emotion in self._emotions]
            totals.nearest[self._emotions.index(face.emotion)] += 1
            totals.typicality += face.typicality
            totals.known += face.known

    def lines(self) -> list[VideoTrack]:
        """The summary of each track, by number."""
        return [
            VideoTrack(
                track=track,
                first_s=totals.first_s,
                last_s=totals.last_s,
                frames=totals.frames,
                posterior=dict(zip(self._emotions, (totals.posterior / totals.frames).tolist(), strict=True)),
                shares={
                    emotion: frames / totals.frames
                    for emotion, frames in zip(self._emotions, totals.nearest.tolist(), strict=True)
                    if frames
                },
                typicality=totals.typicality / totals.frames,
                known=totals.known / totals.frames,
            )
            for track, totals in sorted(self._totals.items())
        ]
