"""What is said of each face over a video: mean posterior, and how long it showed what."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.service.schemas.video import TrackedFace, TrackLine


@dataclass
class _Sum:
    """A track so far.

    Attributes:
        posterior: (c,) sum.
        named: (c,) frames in which each emotion was named.
    """

    first_s: float
    last_s: float
    frames: int
    posterior: NDArray[np.float64]
    named: NDArray[np.int64]
    typicality: float
    known: int


class Timelines:
    """Sums over the frames of a video, one for each track; no frame is kept."""

    def __init__(self, emotions: tuple[str, ...]) -> None:
        """Start without a track.

        Args:
            emotions: (c,) names, in the order of posteriors.
        """
        self._emotions = emotions
        self._sums: dict[int, _Sum] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, time_s: float, faces: list[TrackedFace]) -> None:
        """Count the faces of a frame."""
        for face in faces:
            own = self._sums.get(face.track)
            if own is None:
                count = len(self._emotions)
                own = _Sum(time_s, time_s, 0, np.zeros(count), np.zeros(count, np.int64), 0.0, 0)
                self._sums[face.track] = own
            own.last_s = time_s
            own.frames += 1
            own.posterior += [face.posterior[emotion] for emotion in self._emotions]
            own.named[self._emotions.index(face.emotion)] += 1
            own.typicality += face.typicality
            own.known += face.known

    def lines(self) -> list[TrackLine]:
        """What is said of each track, in their order."""
        return [
            TrackLine(
                track=number,
                first_s=own.first_s,
                last_s=own.last_s,
                frames=own.frames,
                posterior=dict(zip(self._emotions, (own.posterior / own.frames).tolist(), strict=True)),
                shares={
                    emotion: count / own.frames
                    for emotion, count in zip(self._emotions, own.named.tolist(), strict=True)
                    if count
                },
                typicality=own.typicality / own.frames,
                known=own.known / own.frames,
            )
            for number, own in sorted(self._sums.items())
        ]
