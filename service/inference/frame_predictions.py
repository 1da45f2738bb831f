"""Predictions of successive frames: a face that has not changed since the last frame keeps its prediction."""

from collections.abc import Sequence

from mien.model.faces.reader import Face
from mien.service.inference.prediction import Prediction


class FramePredictions:
    """The prediction of the last frame of one video, for the next one.

    A face that has not changed is the same object in both (``mien.model.video.follower``).
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        self._last: Prediction | None = None

    def unknown(self, faces: Sequence[Face]) -> list[Face]:
        """Those of the next frame's faces that have to be predicted."""
        known = set() if self._last is None else {id(face) for face in self._last.faces}
        return [face for face in faces if id(face) not in known]

    def complete(self, faces: Sequence[Face], predicted: Prediction | None) -> Prediction | None:
        """The prediction of the next frame; None where it has no face.

        Args:
            faces: of the frame.
            predicted: of ``unknown(faces)``; None where there are none.
        """
        parts = [part for part in (self._last, predicted) if part is not None]
        if not faces or not parts:
            self._last = None
            return None
        both = parts[0] if len(parts) == 1 else Prediction.concatenate(parts)
        rows = {id(face): row for row, face in enumerate(both.faces)}
        self._last = both.take([rows[id(face)] for face in faces])
        return self._last
